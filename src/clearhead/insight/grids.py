"""The grid of a model's patches, read from the model itself."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from clearhead.errors import ConfigError
from clearhead.insight.tokens import Grid

CLASS, DISTILLATION, REGISTER = "class token", "distillation token", "register"

# What models call the parameters that stand before the patches, in the order in which they stand.
PREFIX_PARAMETERS = (
    (("cls_token", "class_token", "class_embedding"), CLASS),
    (("dist_token", "distillation_token"), DISTILLATION),
    (("reg_token", "register_tokens"), REGISTER),
)

Size = int | tuple[int, int]


def grid_of(model: nn.Module, image_size: Size | None = None) -> Grid:
    """Rows and columns of a model's patches, and the tokens before them, as the model says.

    Reads our Vision Transformer (`grid`, `num_prefix_tokens`), timm (`patch_embed.grid_size`,
    `num_prefix_tokens`), transformers (`config.image_size`, `config.patch_size`, and the parameters
    of class token and registers) and torchvision. `image_size`, in pixels, says how large the
    images are where that differs from the size the model was made for, as with DINOv2.

    Raises `ConfigError` where the model does not say.
    """
    for read in (_from_clearhead, _from_timm, _from_transformers, _from_torchvision):
        grid = read(model, image_size)
        if grid is not None:
            return grid
    raise ConfigError(
        f"{type(model).__name__} does not say how its patches lie; give it by hand: "
        'Grid(rows, columns, num_prefix_tokens=1, prefix_names=("class token",))'
    )


def _from_clearhead(model: nn.Module, image_size: Size | None) -> Grid | None:
    grid, prefix = getattr(model, "grid", None), getattr(model, "num_prefix_tokens", None)
    if not (isinstance(grid, tuple) and isinstance(prefix, int)):
        return None
    if image_size is not None and _pair(image_size) != model.config.image_shape:  # type: ignore[union-attr]
        raise ConfigError(
            f"this model reads images of {model.config.image_shape} pixels only, "  # type: ignore[union-attr]
            f"got image_size {image_size}"
        )
    return _grid(grid[0], grid[1], prefix, model)


def _from_timm(model: nn.Module, image_size: Size | None) -> Grid | None:
    embed = getattr(model, "patch_embed", None)
    shape, prefix = getattr(embed, "grid_size", None), getattr(model, "num_prefix_tokens", None)
    if shape is None or not isinstance(prefix, int):
        return None
    if image_size is not None:
        shape = _divided(_pair(image_size), _pair(embed.patch_size))  # type: ignore[union-attr]
    return _grid(*_pair(shape), prefix, model)


def _from_transformers(model: nn.Module, image_size: Size | None) -> Grid | None:
    config = getattr(model, "config", None)
    part = model
    if getattr(config, "vision_config", None) is not None:
        config, part = config.vision_config, getattr(model, "vision_model", model)  # type: ignore[union-attr]
    pixels = image_size or getattr(config, "image_size", None)
    patch = getattr(config, "patch_size", None)
    if pixels is None or patch is None or hasattr(config, "image_shape"):
        return None
    if any(getattr(config, name, None) for name in ("window_size", "depths")):
        return None  # windows, or stages with grids of their own
    names = tuple(_prefix_names(part))
    if any(name.endswith("detection_tokens") for name, _ in part.named_parameters()):
        return None  # tokens after the patches as well
    return Grid(*_divided(_pair(pixels), _pair(patch)), len(names), names)


def _from_torchvision(model: nn.Module, image_size: Size | None) -> Grid | None:
    patch, pixels = getattr(model, "patch_size", None), getattr(model, "image_size", None)
    if not (isinstance(patch, int) and isinstance(pixels, int) and hasattr(model, "class_token")):
        return None
    return Grid(*_divided(_pair(image_size or pixels), _pair(patch)), 1, (CLASS,))


def _grid(rows: int, columns: int, prefix: int, model: nn.Module) -> Grid:
    names = tuple(_prefix_names(model))
    return Grid(rows, columns, prefix, names if len(names) == prefix else ())


def _prefix_names(model: nn.Module) -> Iterator[str]:
    leaves = {name.rpartition(".")[2]: x for name, x in model.named_parameters()}
    for parameters, called in PREFIX_PARAMETERS:
        for parameter in parameters:
            if parameter not in leaves:
                continue
            if called == REGISTER:
                yield from (f"{called} {i + 1}" for i in range(leaves[parameter].shape[-2]))
            else:
                yield called


def _divided(pixels: tuple[int, int], patch: tuple[int, int]) -> tuple[int, int]:
    return pixels[0] // patch[0], pixels[1] // patch[1]


def _pair(size: Any) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
