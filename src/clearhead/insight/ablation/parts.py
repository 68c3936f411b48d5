"""The parts of a model's attention that can be removed, and where they are."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from clearhead.errors import CaptureError, ConfigError, InputError
from clearhead.insight.answers import Model, probabilities
from clearhead.insight.tokens import Grid, check_tokens
from clearhead.recording._capture import intervene
from clearhead.recording._record import AttentionRecord


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of a model's attention; None is all of them.

    `layer` is a name that `capture` gives, `patch` counts row by row over the grid. With a patch,
    the part is what that patch answers to every query, its own included, as a key and a value;
    its token still goes on from layer to layer. `Part()` is all attention.
    """

    layer: str | None = None
    head: int | None = None
    patch: int | None = None

    def __post_init__(self) -> None:
        for name, number in (("head", self.head), ("patch", self.patch)):
            if number is not None and number < 0:
                raise ConfigError(f"{name} must be at least 0, got {number}")

    def __str__(self) -> str:
        head = "all heads" if self.head is None else f"head {self.head}"
        of = "" if self.patch is None else f"patch {self.patch} in "
        return f"{of}{head} of {self.layer or 'all layers'}"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many heads and keys one attention has."""

    heads: int
    keys: int


def every_head(model: Model, images: Tensor) -> tuple[Part, ...]:
    """Each head of each layer, as a part; `images` are what the model takes, one is enough."""
    sizes = attention_sizes(model, images)
    return tuple(Part(layer=x, head=head) for x in sizes for head in range(sizes[x].heads))


def every_layer(model: Model, images: Tensor) -> tuple[Part, ...]:
    """Each whole attention layer, as a part."""
    return tuple(Part(layer=layer) for layer in attention_sizes(model, images))


def every_patch(grid: Grid, layer: str | None = None) -> tuple[Part, ...]:
    """Each patch's answers, in one layer or in all of them."""
    return tuple(Part(layer=layer, patch=patch) for patch in range(grid.num_patches))


def attention_sizes(model: Model, images: Tensor) -> dict[str, Sizes]:
    """The sizes of every attention that the first image passes, by name, in the order of calls.

    Raises `NothingCapturedError` where there is none.
    """
    found: dict[str, Sizes] = {}

    def note(record: AttentionRecord) -> None:
        found[record.name] = Sizes(heads=record.output.shape[-3], keys=record.key.shape[-2])

    probabilities(model, images[:1], around=lambda _: intervene(note))
    return found


def check_parts(parts: Sequence[Part], sizes: dict[str, Sizes], grid: Grid | None) -> None:
    """Raise unless every part is there: layer, head, and patch on that grid."""
    for part in parts:
        if part.layer is not None and part.layer not in sizes:
            raise CaptureError(f"no attention named {part.layer!r}; there is {', '.join(sizes)}")
        if part.patch is not None:
            _check_patch(part.patch, grid)
        for layer in [part.layer] if part.layer else sizes:
            _check_layer(part, layer, sizes[layer], grid)


def _check_patch(patch: int, grid: Grid | None) -> None:
    if grid is None:
        raise ConfigError("to remove a patch, say where the patches are: grid=Grid(...)")
    if patch >= grid.num_patches:
        raise InputError(f"patch {patch} is not on a grid of {grid.rows} × {grid.columns}")


def _check_layer(part: Part, layer: str, size: Sizes, grid: Grid | None) -> None:
    if part.head is not None and part.head >= size.heads:
        raise InputError(f"{layer} has {size.heads} heads, and none with the number {part.head}")
    if part.patch is not None and grid is not None:
        check_tokens(grid, size.keys, layer)
