"""Deletion and insertion curves: what an answer becomes as patches go, or come.

(Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
Models", arXiv 1806.07421, section 4.3; with patches in place of pixels, since attention knows no
smaller part of an image.) If a map says what matters, the probability of the answer falls early
when the patches that it ranks first are deleted, and rises early when they are inserted first.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight.answers import Model, batches, probabilities
from clearhead.insight.mattered.baselines import Baseline
from clearhead.insight.tokens import Grid


class Curves(NamedTuple):
    """The probability of one class for each image, at growing fractions of patches deleted.

    For insertion, of patches inserted.
    """

    fractions: Float[Tensor, " points"]
    probabilities: Float[Tensor, "batch points"]

    @property
    def areas(self) -> Float[Tensor, " batch"]:
        """The area under each curve, by the trapezoidal rule: between 0 and 1."""
        return torch.trapezoid(self.probabilities, self.fractions, dim=1)


def ranked(
    importance: Float[Tensor, "batch patches"], generator: torch.Generator
) -> Int[Tensor, "batch patches"]:
    """The patches of each image, the most important first; equals in random order.

    In the order of the grid they would favour its first rows: a map of zeros would delete from the
    top down, and not be a random one.
    """
    if importance.dim() != 2 or importance.isnan().any():
        raise InputError(
            f"importance must be (batch, patches) without NaN, got {tuple(importance.shape)}"
            + (" with NaN" if importance.isnan().any() else "")
        )
    shuffled = random_orders(len(importance), importance.shape[1], generator)
    places = importance.cpu().gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return shuffled.gather(1, places)


def random_orders(
    images: int, patches: int, generator: torch.Generator
) -> Int[Tensor, "batch patches"]:
    """One random order of the patches for each image."""
    return torch.rand(images, patches, generator=generator, dtype=torch.float64).argsort(dim=1)


def deletion_curves(
    model: Model,
    images: Float[Tensor, "batch channels height width"],
    order: Int[Tensor, "batch patches"],
    classes: Int[Tensor, " batch"],
    *,
    grid: Grid,
    baseline: Baseline,
    steps: int | None = None,
    batch_size: int = 250,
) -> Curves:
    """Take the patches out in this order, and follow the probability of one class an image.

    In `steps` steps of (nearly) equal size; default: one patch at a time.
    """
    _check_order(images, order, classes, grid.num_patches)
    removed = _points(grid.num_patches, steps)
    parts = [
        _batch_curves(model, *batch, grid=grid, baseline=baseline, removed=removed)
        for batch in zip(*(batches(x, batch_size) for x in (images, order, classes)), strict=True)
    ]
    fractions = torch.tensor(removed, dtype=torch.float64) / grid.num_patches
    return Curves(fractions, torch.cat(parts))


def insertion_curves(
    model: Model,
    images: Float[Tensor, "batch channels height width"],
    order: Int[Tensor, "batch patches"],
    classes: Int[Tensor, " batch"],
    *,
    grid: Grid,
    baseline: Baseline,
    steps: int | None = None,
    batch_size: int = 250,
) -> Curves:
    """Put the patches into the baseline in this order.

    The same images as those of a deletion in the opposite order, met from the other end.
    """
    deleted = deletion_curves(
        model,
        images,
        order.flip(1),
        classes,
        grid=grid,
        baseline=baseline,
        steps=steps,
        batch_size=batch_size,
    )
    return Curves(1 - deleted.fractions.flip(0), deleted.probabilities.flip(1))


def patched(
    images: Float[Tensor, "batch channels height width"],
    instead: Float[Tensor, "batch channels height width"],
    kept: Bool[Tensor, "batch patches"],
    grid: Grid,
) -> Float[Tensor, "batch channels height width"]:
    """The images where a patch is kept, and `instead` where it is not."""
    height, width = patch_shape(images, grid)
    cells = kept.view(-1, 1, grid.rows, grid.columns)
    pixels = cells.repeat_interleave(height, dim=2).repeat_interleave(width, dim=3)
    return torch.where(pixels, images, instead)


def patch_shape(
    images: Float[Tensor, "batch channels height width"], grid: Grid
) -> tuple[int, int]:
    """Height and width of a patch in pixels, for patches side by side that fill the image."""
    if images.dim() != 4 or images.shape[2] % grid.rows or images.shape[3] % grid.columns:
        raise InputError(
            f"images must be (batch, channels, height, width) that {grid.rows} × {grid.columns} "
            f"patches fill, got {tuple(images.shape)}"
        )
    return images.shape[2] // grid.rows, images.shape[3] // grid.columns


def _batch_curves(
    model: Model,
    images: Tensor,
    order: Tensor,
    classes: Tensor,
    *,
    grid: Grid,
    baseline: Baseline,
    removed: list[int],
) -> Float[Tensor, "batch points"]:
    instead = baseline.of(images)
    ranks = order.argsort(dim=1).to(images.device)
    rows = torch.arange(len(images))
    points = [
        probabilities(
            model, patched(images, instead, ranks >= number, grid), batch_size=len(images)
        )[rows, classes.cpu()]
        for number in removed
    ]
    return torch.stack(points, dim=1)


def _points(patches: int, steps: int | None) -> list[int]:
    """How many patches are gone at each point of a curve, both ends included."""
    steps = patches if steps is None else steps
    if not 1 <= steps <= patches:
        raise ConfigError(f"steps must lie between 1 and {patches}, the patches, got {steps}")
    return [round(step * patches / steps) for step in range(steps + 1)]


def _check_order(images: Tensor, order: Tensor, classes: Tensor, patches: int) -> None:
    if order.shape != (len(images), patches) or classes.shape != (len(images),):
        raise InputError(
            f"{len(images)} images of {patches} patches need an order of that shape and one class "
            f"each, got {tuple(order.shape)} and {tuple(classes.shape)}"
        )
    if not torch.equal(order.cpu().sort(dim=1).values, torch.arange(patches).expand(order.shape)):
        raise InputError(f"an order must name each patch from 0 to {patches - 1} once")
