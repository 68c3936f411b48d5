"""What the tokens of a model stand for: patches of an image, or the words of a text.

Nothing is guessed from the number of tokens: 17 of them may be a class token and 4 × 4 patches, or
a sentence. `grid_of` reads the grid from the model.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from clearhead.errors import ConfigError, InputError

CLASS, DISTILLATION, REGISTER = "class token", "distillation token", "register"

# Names of the parameters whose tokens precede the patches, in the order of the tokens.
PREFIX_PARAMETERS = {
    "cls_token": CLASS,
    "class_token": CLASS,
    "class_embedding": CLASS,
    "dist_token": DISTILLATION,
    "distillation_token": DISTILLATION,
    "reg_token": REGISTER,
    "register_tokens": REGISTER,
}

Size = int | tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """Patches in rows and columns, row by row, after the prefix tokens.

    Args:
        rows: Rows of patches.
        columns: Columns of patches.
        num_prefix_tokens: Tokens before the first patch, such as a class token and registers.
        prefix_names: Their names; by default "prefix token 1" and so on.

    Raises:
        ConfigError: If there is no row or column, or there are not as many names as prefix tokens.
    """

    rows: int
    columns: int
    num_prefix_tokens: int = 0
    prefix_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or self.num_prefix_tokens < 0:
            raise ConfigError(
                "a grid needs at least one row and one column and no negative num_prefix_tokens, "
                f"got {self.rows} × {self.columns} after {self.num_prefix_tokens}"
            )
        object.__setattr__(self, "prefix_names", tuple(self.prefix_names))
        if self.prefix_names and len(self.prefix_names) != self.num_prefix_tokens:
            raise ConfigError(
                f"prefix_names has {len(self.prefix_names)} names for {self.num_prefix_tokens} "
                "prefix tokens; give one name for each token, or none"
            )

    @property
    def num_patches(self) -> int:
        """Number of patches."""
        return self.rows * self.columns

    @property
    def num_tokens(self) -> int:
        """Number of tokens, prefix tokens included."""
        return self.num_prefix_tokens + self.num_patches

    def names(self) -> tuple[str, ...]:
        """Name of each token: "class token", "patch 2 (row 1, column 2)", counted from 1.

        Returns:
            The names, in the order of the tokens.
        """
        numbered = (f"prefix token {number + 1}" for number in range(self.num_prefix_tokens))
        return (
            *(self.prefix_names or numbered),
            *(
                f"patch {patch + 1} (row {patch // self.columns + 1}, "
                f"column {patch % self.columns + 1})"
                for patch in range(self.num_patches)
            ),
        )

    def token(self, row: int, column: int) -> int:
        """Index of a patch among the tokens; row and column count from 1, as in its name.

        Args:
            row: Of the patch, from 1.
            column: Of the patch, from 1.

        Returns:
            The index, from 0, prefix tokens included.

        Raises:
            InputError: There is no such patch.
        """
        if not (1 <= row <= self.rows and 1 <= column <= self.columns):
            raise InputError(
                f"no patch at row {row}, column {column}; "
                f"there are {self.rows} rows and {self.columns} columns, counted from 1"
            )
        return self.num_prefix_tokens + (row - 1) * self.columns + column - 1

    def fold(self, x: Float[Tensor, "*batch tokens"]) -> Float[Tensor, "*batch rows columns"]:
        """The values of the patches, arranged as the patches are.

        Args:
            x: A number for each token.

        Returns:
            The numbers of the patches.

        Raises:
            InputError: There is another number of tokens.
        """
        check_tokens(self, x.shape[-1])
        patches: Tensor = x[..., self.num_prefix_tokens :]
        return patches.reshape(*x.shape[:-1], self.rows, self.columns)

    def prefix(self, x: Float[Tensor, "*batch tokens"]) -> Float[Tensor, "*batch prefix"]:
        """The values of the tokens before the first patch.

        Args:
            x: A number for each token.

        Returns:
            The numbers of the prefix tokens.

        Raises:
            InputError: There is another number of tokens.
        """
        check_tokens(self, x.shape[-1])
        return x[..., : self.num_prefix_tokens]

    def patch_shape(self, images: Float[Tensor, "batch channels height width"]) -> tuple[int, int]:
        """Height and width of a patch in pixels.

        Args:
            images: Images of any size that the rows and columns of patches divide.

        Returns:
            Height and width.

        Raises:
            InputError: The images do not divide evenly into patches.
        """
        if images.dim() != 4 or images.shape[2] % self.rows or images.shape[3] % self.columns:
            raise InputError(
                "images must be (batch, channels, height, width), divided evenly by "
                f"{self.rows} × {self.columns} patches, got {tuple(images.shape)}"
            )
        return images.shape[2] // self.rows, images.shape[3] // self.columns

    def to_pixels(
        self,
        patches: Shaped[Tensor, "*batch patches"],
        images: Float[Tensor, "_ channels height width"],
    ) -> Shaped[Tensor, "*batch 1 height width"]:
        """The value of each pixel's patch, for images of that size.

        Args:
            patches: A value for each patch.
            images: Images of the wanted size.

        Returns:
            A value for each pixel, in one channel.

        Raises:
            InputError: As in `patch_shape`.
        """
        height, width = self.patch_shape(images)
        cells: Tensor = patches.unflatten(-1, (1, self.rows, self.columns))
        return cells.repeat_interleave(height, dim=-2).repeat_interleave(width, dim=-1)

    def patch_means(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch rows columns"]:
        """Mean of each patch over its channels and pixels.

        Args:
            images: Images, as in `patch_shape`.

        Returns:
            A mean for each patch.

        Raises:
            InputError: As in `patch_shape`.
        """
        height, width = self.patch_shape(images)
        cells = images.mean(dim=1).reshape(-1, self.rows, height, self.columns, width)
        return cells.mean(dim=(2, 4))


@dataclass(frozen=True)
class Words:
    """The tokens of a text, in order; measures of distance treat them as a grid of one row.

    Args:
        tokens: The tokens as a tokenizer writes them, such as
            `tokenizer.convert_ids_to_tokens(ids)` of transformers.

    Raises:
        ConfigError: For a single string or an empty sequence.
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.tokens, str):
            raise ConfigError(
                f"Words needs a sequence of tokens, got one string {self.tokens!r}; "
                "split it as the model's tokenizer does"
            )
        object.__setattr__(self, "tokens", tuple(self.tokens))
        if not self.tokens:
            raise ConfigError("Words needs at least one token, got none")

    rows = 1
    num_prefix_tokens = 0

    @property
    def num_tokens(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    columns = num_patches = num_tokens

    def names(self) -> tuple[str, ...]:
        """The tokens themselves.

        Returns:
            The tokens.
        """
        return self.tokens


Tokens: TypeAlias = Grid | Words


def coordinates(tokens: Tokens) -> Float[Tensor, "patches 2"]:
    """Row and column of every patch (or word), counted from 0, in patches."""
    rows, columns = torch.arange(tokens.rows), torch.arange(tokens.columns)
    return torch.cartesian_prod(rows, columns).reshape(-1, 2).double()


def check_tokens(tokens: Tokens, count: int, where: str = "") -> None:
    """Raise `InputError` unless there are as many tokens as `tokens` names."""
    if count == tokens.num_tokens:
        return
    if isinstance(tokens, Words):
        expected = f"{tokens.num_tokens} words"
    else:
        prefix = f"{tokens.num_prefix_tokens} + " if tokens.num_prefix_tokens else ""
        expected = f"{prefix}{tokens.rows} × {tokens.columns} = {tokens.num_tokens} tokens"
    raise InputError(
        f"{where and where + ': '}expected {expected}, got {count} tokens; give the tokens of this "
        "layer (with windows or after pooling it has others), or choose other layers"
    )


def grid_of(model: nn.Module, image_size: Size | None = None) -> Grid:
    """The grid of a model's patches and the tokens before them, as the model declares it.

    Reads clearhead's Vision Transformer and timm's models (`num_prefix_tokens` and the size of the
    grid), transformers (`config.image_size`, `config.patch_size`, and the parameters of class token
    and registers) and torchvision.

    Args:
        model: The model.
        image_size: Size of the images in pixels, one number or (height, width), where it differs
            from the size that the model was made for, as with DINOv2.

    Returns:
        Rows and columns of patches, and the names of the tokens before them.

    Raises:
        ConfigError: If the model does not declare its grid.
    """
    for read in (_clearhead_grid, _timm_grid, _transformers_grid, _torchvision_grid):
        if (grid := read(model, image_size)) is not None:
            return grid
    raise ConfigError(
        f"{type(model).__name__} does not declare the grid of its patches; give it by hand: "
        'Grid(rows, columns, num_prefix_tokens=1, prefix_names=("class token",))'
    )


def grid_for(model: Any, images: Any, grid: Grid | None) -> Grid:
    """The given grid, or the one that the model declares for images of this size.

    Raises `InputError` unless the images are finite floats that its patches divide evenly, and
    `ConfigError` if there is no grid.
    """
    if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point():
        shape = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else ""
        raise InputError(
            "expected normalised images, floats of shape (batch, channels, height, width), got "
            f"{shape or type(images).__name__}"
        )
    if not len(images):
        raise InputError("expected at least one image, got none")
    if not bool(images.isfinite().all()):
        raise InputError("the images have NaN or infinite pixels")
    if grid is None and not isinstance(model, nn.Module):
        raise ConfigError(
            "to divide images for a function, give the grid of patches: grid=Grid(rows, columns)"
        )
    grid = grid or grid_of(model, (images.shape[2], images.shape[3]))
    grid.patch_shape(images)
    return grid


def _clearhead_grid(model: Any, image_size: Size | None) -> Grid | None:
    shape, prefix = getattr(model, "grid", None), getattr(model, "num_prefix_tokens", None)
    if not (isinstance(shape, tuple) and isinstance(prefix, int)):
        return None
    if image_size is not None and _pair(image_size) != model.config.image_shape:
        raise ConfigError(
            f"this model takes images of {model.config.image_shape} pixels only, "
            f"got image_size {image_size}"
        )
    return _grid(shape, prefix, model)


def _timm_grid(model: Any, image_size: Size | None) -> Grid | None:
    embed = getattr(model, "patch_embed", None)
    shape, prefix = getattr(embed, "grid_size", None), getattr(model, "num_prefix_tokens", None)
    if embed is None or shape is None or not isinstance(prefix, int):
        return None
    if image_size is not None and _pair(image_size) != embed.img_size:
        shape = _divided(image_size, embed.patch_size)
    return _grid(shape, prefix, model)


def _transformers_grid(model: Any, image_size: Size | None) -> Grid | None:
    config, encoder = getattr(model, "config", None), model
    if config is not None and getattr(config, "vision_config", None) is not None:
        config, encoder = config.vision_config, getattr(model, "vision_model", model)
    pixels = image_size or getattr(config, "image_size", None)
    patch = getattr(config, "patch_size", None)
    if pixels is None or patch is None or hasattr(config, "image_shape"):
        return None
    if any(getattr(config, name, None) for name in ("window_size", "depths")):
        return None  # windows, or stages with grids of their own
    if any(name.endswith("detection_tokens") for name, _ in encoder.named_parameters()):
        return None  # tokens after the patches as well
    return _grid(_divided(pixels, patch), None, encoder)


def _torchvision_grid(model: Any, image_size: Size | None) -> Grid | None:
    patch, pixels = getattr(model, "patch_size", None), getattr(model, "image_size", None)
    if not (isinstance(patch, int) and isinstance(pixels, int) and hasattr(model, "class_token")):
        return None
    return _grid(_divided(image_size or pixels, patch), 1, model)


def _grid(shape: Size, num_prefix: int | None, model: nn.Module) -> Grid:
    parameters = {name.rpartition(".")[2]: x for name, x in model.named_parameters()}
    names: list[str] = []
    for parameter, name in PREFIX_PARAMETERS.items():
        if parameter in parameters and name == REGISTER:
            names += [f"{name} {i + 1}" for i in range(parameters[parameter].shape[-2])]
        elif parameter in parameters:
            names.append(name)
    num_prefix = len(names) if num_prefix is None else num_prefix
    return Grid(*_pair(shape), num_prefix, tuple(names) if len(names) == num_prefix else ())


def _divided(pixels: Size, patch: Size) -> tuple[int, int]:
    (height, width), (rows, columns) = _pair(pixels), _pair(patch)
    return height // rows, width // columns


def _pair(size: Any) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
