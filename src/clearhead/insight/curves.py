"""Deletion and insertion curves: whether a map shows what matters to a prediction.

(Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
Models", arXiv 1806.07421, section 4.3; with patches in place of pixels, because a patch is the
smallest part of an image that attention weights refer to.) If a map does, the probability of the
class falls early when the patches that it ranks first are deleted, and rises early when they are
inserted first.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight.forward import Classes, Model, class_of_each, probabilities
from clearhead.insight.perturbation import Baseline, Removal
from clearhead.insight.stats import mean_interval
from clearhead.insight.tokens import Grid, grid_for

Verdict = Literal["better than", "no better than", "worse than"]


class Curves(NamedTuple):
    """The probability of one class for each image, at fractions of patches deleted (inserted)."""

    fractions: Float[Tensor, " points"]
    probabilities: Float[Tensor, "batch points"]

    @property
    def areas(self) -> Float[Tensor, " batch"]:
        """The area under each curve, by the trapezoidal rule: between 0 and 1."""
        return torch.trapezoid(self.probabilities, self.fractions, dim=1)

    def reversed(self) -> "Curves":
        """Deletion as insertion in the opposite order."""
        return Curves(1 - self.fractions.flip(0), self.probabilities.flip(1))


def random_orders(
    images: int, patches: int, generator: torch.Generator
) -> Int[Tensor, "batch patches"]:
    """One random order of the patches for each image."""
    return torch.rand(images, patches, generator=generator, dtype=torch.float64).argsort(dim=1)


def ranked(
    importance: Float[Tensor, "batch patches"], generator: torch.Generator
) -> Int[Tensor, "batch patches"]:
    """The patches of each image, the most important first; equals in random order.

    In the order of the grid they would favour its first rows: a map of zeros would delete from the
    top down.
    """
    if importance.dim() != 2 or importance.isnan().any():
        raise InputError(
            f"importance must be (batch, patches) without NaN, got {tuple(importance.shape)}"
            + (" with NaN" if importance.isnan().any() else "")
        )
    shuffled = random_orders(len(importance), importance.shape[1], generator)
    places = importance.cpu().gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return shuffled.gather(1, places)


def deletion_curves(
    removal: Removal, order: Int[Tensor, "batch patches"], *, steps: int | None = None
) -> Curves:
    """Remove the patches in this order, and measure the probability of each image's class.

    The patches are removed in `steps` steps of (nearly) equal size, by default one at a time. The
    score is the probability, whatever `removal.score` is. Insertion in an order is deletion in the
    opposite order, `reversed()`: both contain the same images.

    Raises `InputError` if shapes or orders are wrong, `ConfigError` if `steps` is out of range.
    """
    images, classes, patches = removal.images, removal.classes, removal.grid.num_patches
    if order.shape != (len(images), patches) or classes.shape != (len(images),):
        raise InputError(
            f"{len(images)} images of {patches} patches need an order of that shape and one class "
            f"each, got {tuple(order.shape)} and {tuple(classes.shape)}"
        )
    if not torch.equal(order.cpu().sort(dim=1).values, torch.arange(patches).expand(order.shape)):
        raise InputError(f"an order must name each patch from 0 to {patches - 1} once")
    steps = patches if steps is None else steps
    if not 1 <= steps <= patches:
        raise ConfigError(f"steps must be between 1 and {patches}, the patches, got {steps}")
    deleted = torch.tensor([round(step * patches / steps) for step in range(steps + 1)])
    kept = order.cpu().argsort(dim=1)[:, None] >= deleted[:, None]
    scores = replace(removal, score="probability").scores(kept)
    return Curves(deleted.double() / patches, scores)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Mean difference of areas between two rankings, more is better, with its interval."""

    mean: float
    interval: tuple[float, float]

    @property
    def verdict(self) -> Verdict:
        """Better or worse only where the interval excludes 0."""
        low, high = self.interval
        if low > 0:
            return "better than"
        return "worse than" if high < 0 else "no better than"

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.mean:+.3f} ({low:+.3f} to {high:+.3f})"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Faithfulness:
    """Deletion and insertion of patches in the order of several maps, on the same images.

    Attributes:
        deletion: By map, the curves as patches are deleted: less area is better.
        insertion: By map, the curves as patches are inserted: more area is better.
        random: Mean of the curves as patches are deleted in random orders.
        gains: By map, the gain over random orders, as `gain` returns it.
        baseline: What replaced the patches.
        num_orders: Random orders of each image.
        confidence: Coverage of the intervals.
    """

    deletion: Mapping[str, Curves]
    insertion: Mapping[str, Curves]
    random: Curves
    gains: Mapping[str, Gain]
    baseline: Baseline
    num_orders: int
    confidence: float

    def gain(self, name: str, over: str) -> Gain:
        """Gain of one map over another: mean of the gains in deletion and insertion, by image.

        Random orders have the same mean area in deletion and insertion. So the gain over them is
        half of the area under insertion less that under deletion, the symmetric relevance gain
        (SRG, Blücher, Vielhaben & Strodthoff 2024, arXiv 2401.06654).
        """
        for wanted in (name, over):
            if wanted not in self.gains:
                raise InputError(
                    f"no map named {wanted!r}; expected one of {', '.join(self.gains)}"
                )
        first, second = (self.insertion[x].areas - self.deletion[x].areas for x in (name, over))
        return _gain((first - second) / 2, self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """All gains, mean curves, and areas of each image, as plain data."""
        sides = {"deletion": self.deletion, "insertion": self.insertion}
        return {
            "baseline": asdict(self.baseline),
            "num_orders": self.num_orders,
            "confidence": self.confidence,
            "random": _plain(self.random),
            "maps": {
                name: {"gain": asdict(gain)} | {k: _plain(x[name]) for k, x in sides.items()}
                for name, gain in self.gains.items()
            },
        }

    def __repr__(self) -> str:
        def area(curves: Curves) -> float:
            return float(curves.areas.mean())

        header = (
            f"{len(self.random.probabilities)} images, baseline {self.baseline}, "
            f"{self.num_orders} random orders of each image, {self.confidence:.0%} intervals"
        )
        deletion, insertion = area(self.random), area(self.random.reversed())
        lines = (
            f"{name} is {gain.verdict} random: gain {gain}, "
            f"deletion area {area(self.deletion[name]):.3f} against {deletion:.3f}, "
            f"insertion area {area(self.insertion[name]):.3f} against {insertion:.3f}"
            for name, gain in self.gains.items()
        )
        return "\n".join([header, *lines])


def faithfulness(
    model: Model,
    images: Float[Tensor, "batch channels height width"],
    maps: Mapping[str, Float[Tensor, "batch patches"]],
    *,
    grid: Grid,
    baseline: Baseline,
    classes: Classes | None = None,
    num_orders: int = 5,
    steps: int | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    batch_size: int = 250,
) -> Faithfulness:
    """Measure maps by the change of the prediction when their patches are deleted or inserted.

    The measure is the area under the curve of the probability against the share of patches that are
    deleted or inserted, the most important first (Petsiuk, Das & Saenko 2018, arXiv 1806.07421). A
    map is compared with random orders of the patches of the same image. On digits every map that
    separates foreground from background is better than random orders; add
    `baseline.difference(images, grid)` as a map that does no more than that.

    Args:
        model: A module, or a function from images to logits of shape (batch, classes).
        images: Normalised images of shape (batch, channels, height, width), at least two.
        maps: By name, the importance of each patch, of shape (batch, patches); the largest number
            is the most important.
        grid: The patches.
        baseline: What replaces a patch.
        classes: The class of each image whose probability is measured, of shape (batch,), or one
            for all; by default the predicted one.
        num_orders: Random orders for each image.
        steps: Steps of a curve; by default one for each patch.
        seed: Seed of the random orders, and of the order of equally important patches.
        confidence: Coverage of the intervals.
        batch_size: Images in a forward pass.

    Returns:
        For each map the deletion and the insertion curves, and the gain over random orders with its
        interval.

    Raises:
        InputError: If there are fewer than two images, they are not finite floats, or shapes do not
            match.
        ConfigError: For an option out of range.
    """
    grid_for(model, images, grid)  # raises unless they are finite floats that the grid divides
    if num_orders < 1:
        raise ConfigError(f"num_orders must be at least 1, got {num_orders}")
    if len(images) < 2:
        raise InputError(f"an interval needs at least two images, got {len(images)}")
    shape = len(images), grid.num_patches
    maps = {name: torch.as_tensor(importance) for name, importance in maps.items()}
    for name, importance in maps.items():
        if tuple(importance.shape) != shape:
            raise InputError(
                f"map {name!r} must be {shape} (images, patches), got {tuple(importance.shape)}"
            )
    if classes is None:
        classes = probabilities(model, images, batch_size=batch_size).argmax(1)
    classes = class_of_each(classes, len(images))
    generator = torch.Generator().manual_seed(seed)
    removal = Removal(model, images, classes, grid=grid, baseline=baseline, batch_size=batch_size)
    deletion = partial(deletion_curves, removal, steps=steps)
    # the opposite of a random order is as random
    controls = [deletion(random_orders(*shape, generator)) for _ in range(num_orders)]
    fractions = controls[0].fractions
    random = Curves(fractions, torch.stack([x.probabilities for x in controls]).mean(dim=0))
    orders = {name: ranked(importance, generator) for name, importance in maps.items()}
    deleted = {name: deletion(order) for name, order in orders.items()}
    inserted = {name: deletion(order.flip(1)).reversed() for name, order in orders.items()}
    return Faithfulness(
        deletion=deleted,
        insertion=inserted,
        random=random,
        gains={x: _gain((inserted[x].areas - deleted[x].areas) / 2, confidence) for x in maps},
        baseline=baseline,
        num_orders=num_orders,
        confidence=confidence,
    )


def _gain(differences: Float[Tensor, " batch"], confidence: float) -> Gain:
    interval = mean_interval(differences, confidence)
    assert interval is not None  # noqa: S101, there are at least two images
    return Gain(mean=float(differences.mean()), interval=interval)


def _plain(curves: Curves) -> dict[str, list[float]]:
    mean, areas = curves.probabilities.mean(0), curves.areas
    return {"fractions": curves.fractions.tolist(), "mean": mean.tolist(), "areas": areas.tolist()}
