"""Configurations of the models: frozen dataclasses, validated when they are made.

This module does not import torch, so that the command line can show the settings quickly.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from clearhead._validate import (
    Rule,
    above,
    all_of,
    at_least_and_below,
    between,
    integer,
    number,
    validate,
)
from clearhead.errors import ConfigError

PosEmbed = Literal["learned", "sincos", "none"]
Pool = Literal["mean", "class"]

CERTAINTY_WEIGHTS = 11  # an intercept, and one for each of the certainty's features

FINITE = number("a finite number")
SIZE = Rule(
    "a positive integer, or (height, width)",
    lambda size: integer(1).accepts(size) or (all_of(integer(1)).accepts(size) and len(size) == 2),
)

Count = Annotated[int, integer(1)]
Size = Annotated[int | tuple[int, int], SIZE]
Positive = Annotated[float, above(0)]
Dropout = Annotated[float, at_least_and_below(0, 1)]
Threshold = Annotated[float, between(0, 1)]
Scale = Annotated[
    str | float,
    Rule(
        '"sqrt", "none", "learned" or a number',
        lambda scale: FINITE.accepts(scale) or scale in ("sqrt", "none", "learned"),
    ),
]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Base class of the configurations of all models."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, list):  # as JSON has them
                object.__setattr__(self, name, tuple(value))
        validate(self)


@dataclass(frozen=True, kw_only=True)
class ImageModelConfig(ModelConfig):
    """Input and output of an image classifier.

    Pixels (0 … 1) are normalised as (pixel - mean) / std; the defaults are MNIST's statistics.
    """

    image_size: Size = 28
    """Pixels a side, or height and width."""
    in_channels: Count = 1
    """Channels of an image: 1 is grey, 3 is colour."""
    num_classes: Count = 10
    """Number of classes."""
    class_names: tuple[str, ...] = ()
    """Names of the classes; empty: their numbers."""
    mean: Annotated[tuple[float, ...], all_of(FINITE)] = (0.1307,)
    """Mean of the pixels (0 … 1): one number, or one per channel."""
    std: Annotated[tuple[float, ...], all_of(above(0))] = (0.3081,)
    """Standard deviation of the pixels: one number, or one per channel."""
    # Half of a small CNN's predictions below 0.6 are wrong on MNIST's test digits, 1 in 270 above.
    doubtful_below: Threshold = 0.6
    """A prediction with a lower probability is doubtful; with 1, every prediction is, as suits a
    model that is not calibrated. At least `rejected_below`."""
    rejected_below: Threshold = 0.0
    """A picture whose most probable class has a lower probability gets no label."""
    threshold_temperature: Positive = 1.0
    """The logits are divided by it for the probability that is compared with these thresholds."""
    certainty_weights: Annotated[
        tuple[float, ...],
        Rule(
            f"none or {CERTAINTY_WEIGHTS} numbers",
            lambda xs: all_of(FINITE).accepts(xs) and len(xs) in (0, CERTAINTY_WEIGHTS),
        ),
    ] = ()
    """If given, the thresholds apply to a logistic regression with these weights instead."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.doubtful_below < self.rejected_below:
            raise ConfigError(
                f"doubtful_below ({self.doubtful_below}) must be at least rejected_below "
                f"({self.rejected_below})"
            )
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ConfigError(
                f"class_names has {len(self.class_names)} names for num_classes "
                f"{self.num_classes}; give one name per class, or none"
            )
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.in_channels):
                raise ConfigError(
                    f"{name} needs 1 or {self.in_channels} numbers (one per channel), "
                    f"got {len(getattr(self, name))}"
                )

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return pair(self.image_size)

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each class: `class_names`, or the numbers from 0."""
        return self.class_names or tuple(str(index) for index in range(self.num_classes))


@dataclass(frozen=True, kw_only=True)
class PatchModelConfig(ImageModelConfig):
    """An image classifier made of patches and of blocks of one width."""

    patch_size: Size = 7
    """Pixels a side of a patch, or height and width."""
    embed_dim: Count = 64
    """Size of a token's embedding."""
    depth: Count = 6
    """Number of blocks."""
    mlp_ratio: Positive = 4.0
    """Hidden size of a block's MLP, as a multiple of embed_dim."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = zip(("height", "width"), self.image_shape, self.patch_shape, strict=True)
        for side, image, patch in sizes:
            if image % patch:
                raise ConfigError(
                    f"image {side} ({image}) must be divisible by patch {side} ({patch})"
                )

    @property
    def patch_shape(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return pair(self.patch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        (height, width), (rows, columns) = self.image_shape, self.patch_shape
        return height // rows, width // columns


@dataclass(frozen=True, kw_only=True)
class ViTConfig(PatchModelConfig):
    """The Vision Transformer; the default is the digit classifier: 16 patches of 7 × 7 pixels."""

    stem_channels: Annotated[int, integer(0)] = 0
    """Channels of two 3 × 3 convolutions before the image is cut into patches; 0 for none."""
    patch_overlap: Annotated[int, integer(0)] = 0
    """Pixels by which each patch extends into its neighbours on every side."""
    num_heads: Count = 4
    """Attention heads in a block; each has embed_dim / num_heads dimensions."""
    pos_embed: PosEmbed = "learned"
    """Position embedding: learned, sines and cosines, or none."""
    num_registers: Annotated[int, integer(0)] = 0
    """Learned tokens beside the patches, which attention can use as memory or as a sink."""
    pool: Pool = "mean"
    """What the head classifies: the mean of the patch tokens, or a class token."""
    dropout: Dropout = 0.0
    """Dropout probability in attention and MLP while training."""
    key_dropout: Dropout = 0.0
    """Probability that a query does not attend to a key, in each layer, while training."""
    attention_scale: Scale = "sqrt"
    """Factor on the scores: sqrt is 1/√head_dim, none is 1, learned is a parameter per head."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_divisors(self, sincos_divisor=4)

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the first patch: the class token, if there is one, and the registers."""
        return (self.pool == "class") + self.num_registers


@dataclass(frozen=True, kw_only=True)
class MLPConfig(PatchModelConfig):
    """The Transformer without attention: patches, blocks of MLPs alone, mean.

    The default mlp_ratio 6 gives a block the parameters of an attention block of ratio 4.
    """

    mlp_ratio: Positive = 6.0
    """Hidden size of a block's MLP, as a multiple of embed_dim."""
    patch_conv: bool = False
    """Whether a 3 × 3 convolution between the patches takes the place of attention; with mlp_ratio
    4 it gives a block about the parameters of an attention block."""


@dataclass(frozen=True, kw_only=True)
class CNNConfig(ImageModelConfig):
    """A convolutional network: stages of two 3 × 3 convolutions, halved in size between them.

    The default widths give about as many parameters as the default Vision Transformer.
    """

    widths: Annotated[
        tuple[int, ...],
        Rule(
            "one positive integer per stage",
            lambda widths: bool(widths) and all_of(integer(1)).accepts(widths),
        ),
    ] = (32, 64, 134)
    """Channels of each stage."""

    def __post_init__(self) -> None:
        super().__post_init__()
        smallest = 2 ** (len(self.widths) - 1)
        if min(self.image_shape) < smallest:
            raise ConfigError(
                f"{len(self.widths)} stages need images of at least {smallest} × {smallest} "
                f"pixels, got {self.image_shape}"
            )


@dataclass(frozen=True, kw_only=True)
class TextConfig(ModelConfig):
    """The text Transformer: the Vision Transformer's encoder, with words instead of patches."""

    vocabulary: tuple[str, ...] = ()
    """The words that the model knows; a word's id is its index."""
    context_length: Count = 32
    """Maximum length of a text, in words."""
    embed_dim: Count = 32
    """Size of a token's embedding."""
    depth: Count = 2
    """Number of blocks."""
    num_heads: Count = 4
    """Attention heads in a block; each has embed_dim / num_heads dimensions."""
    mlp_ratio: Positive = 2.0
    """Hidden size of a block's MLP, as a multiple of embed_dim."""
    pos_embed: PosEmbed = "learned"
    """Position embedding: learned, sines and cosines, or none."""
    dropout: Dropout = 0.0
    """Dropout probability in attention and MLP while training."""
    attention_scale: Scale = "sqrt"
    """Factor on the scores: sqrt is 1/√head_dim, none is 1, learned is a parameter per head."""
    causal: bool = False
    """Whether a word attends only to itself and earlier words (GPT) or to all (BERT)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_divisors(self, sincos_divisor=2)
        duplicates = sorted({word for word in self.vocabulary if self.vocabulary.count(word) > 1})
        if duplicates:
            raise ConfigError(f"vocabulary has duplicate words: {', '.join(duplicates)}")


def _check_divisors(config: ViTConfig | TextConfig, sincos_divisor: int) -> None:
    if config.embed_dim % config.num_heads:
        raise ConfigError(
            f"embed_dim ({config.embed_dim}) must be divisible by num_heads ({config.num_heads})"
        )
    if config.pos_embed == "sincos" and config.embed_dim % sincos_divisor:
        raise ConfigError(
            f'pos_embed "sincos" needs an embed_dim divisible by {sincos_divisor}, '
            f"got {config.embed_dim}"
        )


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width; of a square, one number is enough."""
    return (size, size) if isinstance(size, int) else size
