"""What a model is made of: frozen settings, checked when they are made.

Torch is not imported here, so that the command line can show these settings at once.
"""

from dataclasses import dataclass
from typing import Literal

from clearhead.errors import ConfigError

PosEmbed = Literal["learned", "sincos", "none"]
Pool = Literal["mean", "class"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The settings of any model."""


@dataclass(frozen=True, kw_only=True)
class ImageModelConfig(ModelConfig):
    """What every image classifier knows: what comes in, and what its answers are called.

    Pixels (0 … 1) enter as (pixel - mean) / std; the defaults are MNIST's own.
    """

    image_size: int | tuple[int, int] = 28
    """Pixels a side, or height and width."""
    in_channels: int = 1
    """1 is grey, 3 is colour."""
    num_classes: int = 10
    """How many answers there are."""
    class_names: tuple[str, ...] = ()
    """What they are called; none: by their numbers."""
    mean: tuple[float, ...] = (0.1307,)
    """Taken from the pixels (0 … 1): one number, or one a channel."""
    std: tuple[float, ...] = (0.3081,)
    """What they are divided by then: one number, or one a channel."""

    def __post_init__(self) -> None:
        for name in ("in_channels", "num_classes"):
            _at_least_one(name, getattr(self, name))
        _check_size(self, "image_size")
        for name in ("class_names", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ConfigError(
                f"class_names has {len(self.class_names)} names for num_classes "
                f"{self.num_classes}; give one name a class, or none"
            )
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.in_channels):
                raise ConfigError(
                    f"{name} needs 1 or {self.in_channels} numbers (one a channel), "
                    f"got {len(getattr(self, name))}"
                )
        if not all(deviation > 0 for deviation in self.std):
            raise ConfigError(f"std must be above 0, got {self.std}")

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else size

    @property
    def answers(self) -> tuple[str, ...]:
        """What the classes are called."""
        return self.class_names or tuple(str(index) for index in range(self.num_classes))


@dataclass(frozen=True, kw_only=True)
class PatchModelConfig(ImageModelConfig):
    """What a model knows that reads an image as patches and has blocks of one width."""

    patch_size: int | tuple[int, int] = 7
    """Pixels a side of a patch, or height and width."""
    embed_dim: int = 64
    """Numbers that stand for a patch."""
    depth: int = 6
    """Blocks, one after the other."""
    mlp_ratio: float = 4.0
    """Width of a block's MLP, in multiples of embed_dim."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_size(self, "patch_size")
        sizes = zip(("height", "width"), self.image_shape, self.patch_shape, strict=True)
        for side, image, patch in sizes:
            if image % patch:
                raise ConfigError(
                    f"image {side} ({image}) must be divisible by patch {side} ({patch})"
                )
        for name in ("embed_dim", "depth"):
            _at_least_one(name, getattr(self, name))
        if not self.mlp_ratio > 0:
            raise ConfigError(f"mlp_ratio must be above 0, got {self.mlp_ratio}")

    @property
    def patch_shape(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        size = self.patch_size
        return (size, size) if isinstance(size, int) else size

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        (height, width), (rows, columns) = self.image_shape, self.patch_shape
        return height // rows, width // columns


@dataclass(frozen=True, kw_only=True)
class ViTConfig(PatchModelConfig):
    """The Vision Transformer; the default is the digit reader: 16 patches of 7 × 7 pixels."""

    num_heads: int = 4
    """Heads of attention in a block; they share embed_dim."""
    pos_embed: PosEmbed = "learned"
    """How a patch's place is told: a learned vector, sines and cosines, or not at all."""
    pool: Pool = "mean"
    """What is classified: the mean over the patches, or a class token."""
    dropout: float = 0.0
    """Share of the numbers that is set to 0 while training."""
    attention_scale: str | float = "sqrt"
    """Scores are multiplied by it: sqrt is 1/√head_dim, none is 1, learned a factor a head."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_encoder(self)
        if self.pos_embed == "sincos" and self.embed_dim % 4:
            raise ConfigError(
                f'pos_embed "sincos" needs an embed_dim divisible by 4, got {self.embed_dim}'
            )
        if self.pool not in ("mean", "class"):
            raise ConfigError(f'pool must be "mean" or "class", got {self.pool!r}')

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the first patch: the class token, if there is one."""
        return 1 if self.pool == "class" else 0


@dataclass(frozen=True, kw_only=True)
class MLPConfig(PatchModelConfig):
    """The Transformer's shape without its attention: patches, blocks of MLPs alone, mean.

    The default mlp_ratio 6 gives a block the parameters of an attention block of ratio 4.
    """

    mlp_ratio: float = 6.0
    """Width of a block's MLP, in multiples of embed_dim."""


@dataclass(frozen=True, kw_only=True)
class CNNConfig(ImageModelConfig):
    """A plain convolutional network: stages of two 3 × 3 convolutions, halved between them.

    The default widths give about as many parameters as the default Vision Transformer.
    """

    widths: tuple[int, ...] = (32, 64, 134)
    """Channels of each stage."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "widths", tuple(self.widths))
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"widths needs one positive number a stage, got {self.widths}")
        smallest = 2 ** (len(self.widths) - 1)
        if min(self.image_shape) < smallest:
            raise ConfigError(
                f"{len(self.widths)} stages need images of at least {smallest} × {smallest} "
                f"pixels, got {self.image_shape}"
            )


@dataclass(frozen=True, kw_only=True)
class TextConfig(ModelConfig):
    """The text Transformer: the same encoder, with words instead of patches."""

    vocabulary: tuple[str, ...] = ()
    """The words that it knows, each known by its place."""
    context_length: int = 32
    """The longest text, in words."""
    embed_dim: int = 32
    """Numbers that stand for a word."""
    depth: int = 2
    """Blocks, one after the other."""
    num_heads: int = 4
    """Heads of attention in a block; they share embed_dim."""
    mlp_ratio: float = 2.0
    """Width of a block's MLP, in multiples of embed_dim."""
    pos_embed: PosEmbed = "learned"
    """How a word's place is told: a learned vector, sines and cosines, or not at all."""
    dropout: float = 0.0
    """Share of the numbers that is set to 0 while training."""
    attention_scale: str | float = "sqrt"
    """Scores are multiplied by it: sqrt is 1/√head_dim, none is 1, learned a factor a head."""
    causal: bool = False
    """A word sees itself and the words before it alone, as in GPT; else all words, as in BERT."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        twice = sorted({word for word in self.vocabulary if self.vocabulary.count(word) > 1})
        if twice:
            raise ConfigError(f"vocabulary has words that come twice: {', '.join(twice)}")
        for name in ("context_length", "embed_dim", "depth"):
            _at_least_one(name, getattr(self, name))
        if not self.mlp_ratio > 0:
            raise ConfigError(f"mlp_ratio must be above 0, got {self.mlp_ratio}")
        _check_encoder(self)
        if self.pos_embed == "sincos" and self.embed_dim % 2:
            raise ConfigError(f'pos_embed "sincos" needs an even embed_dim, got {self.embed_dim}')


def _check_encoder(config: ViTConfig | TextConfig) -> None:
    _at_least_one("num_heads", config.num_heads)
    if config.embed_dim % config.num_heads:
        raise ConfigError(
            f"embed_dim ({config.embed_dim}) must be divisible by num_heads ({config.num_heads})"
        )
    if config.pos_embed not in ("learned", "sincos", "none"):
        raise ConfigError(
            f'pos_embed must be "learned", "sincos" or "none", got {config.pos_embed!r}'
        )
    _check_scale(config.attention_scale)
    if not 0.0 <= config.dropout < 1.0:
        raise ConfigError(f"dropout must be at least 0 and below 1, got {config.dropout}")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, got {value}")


def _check_scale(scale: str | float) -> None:
    if isinstance(scale, str) and scale not in ("sqrt", "none", "learned"):
        raise ConfigError(
            f'attention_scale must be "sqrt", "none", "learned" or a number, got {scale!r}'
        )


def _check_size(config: ImageModelConfig, name: str) -> None:
    size = getattr(config, name)
    if isinstance(size, list):  # as JSON gives it back
        size = tuple(size)
        object.__setattr__(config, name, size)
    if isinstance(size, tuple) and len(size) != 2:
        raise ConfigError(f"{name} must be one number or (height, width), got {size}")
    _at_least_one(name, min(size) if isinstance(size, tuple) else size)
