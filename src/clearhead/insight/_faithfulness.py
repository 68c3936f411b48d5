"""Whether a map shows what matters to a prediction, compared with random orders of the patches.

The measure is the area under deletion and insertion curves (see `perturbation`).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from statistics import fmean
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight.forward import Model, Progress, probabilities
from clearhead.insight.perturbation import (
    Baseline,
    Curves,
    deletion_curves,
    random_orders,
    ranked,
)
from clearhead.insight.stats import mean_interval
from clearhead.insight.tokens import Grid

Verdict = Literal["better than", "no better than", "worse than"]


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


def _gain(differences: Float[Tensor, " batch"], confidence: float) -> Gain:
    """From the differences of the images, of which there are at least two."""
    interval = mean_interval(differences, confidence)
    assert interval is not None  # noqa: S101
    return Gain(mean=float(differences.mean()), interval=interval)


@dataclass(frozen=True, kw_only=True, repr=False)
class CurveResult:
    """Deletion or insertion by one map: mean curves, areas of each image, gain over random orders.

    `random_areas` are means over the random orders.
    """

    fractions: tuple[float, ...]
    curve: tuple[float, ...]
    random_curve: tuple[float, ...]
    areas: tuple[float, ...]
    random_areas: tuple[float, ...]
    gain: Gain

    @property
    def area(self) -> float:
        """The mean area under the curve."""
        return fmean(self.areas)

    def __repr__(self) -> str:
        return f"area {self.area:.3f} against {fmean(self.random_areas):.3f}"


@dataclass(frozen=True, kw_only=True)
class MapFaithfulness:
    """Faithfulness of one map: deletion (less area is better) and insertion (more is better).

    `gain` over random orders is the mean of both gains, image by image, so that the verdict is one
    comparison. A random order has the same mean area in both, so it cancels out, and its noise
    with it.
    """

    name: str
    deletion: CurveResult
    insertion: CurveResult
    gain: Gain

    @property
    def symmetric_gain(self) -> float:
        """Mean area under insertion less that under deletion: the symmetric relevance gain (SRG).

        (Blücher, Vielhaben & Strodthoff 2024, arXiv 2401.06654.)
        """
        return self.insertion.area - self.deletion.area

    def __str__(self) -> str:
        return (
            f"{self.name} is {self.gain.verdict} random: gain {self.gain}, "
            f"deletion {self.deletion}, insertion {self.insertion}"
        )


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """Faithfulness of several maps, measured on the same images in the same way."""

    maps: Mapping[str, MapFaithfulness]
    total: int
    baseline: Baseline
    num_orders: int
    confidence: float

    def __str__(self) -> str:
        header = (
            f"{self.total} images, baseline {self.baseline}, {self.num_orders} random orders of "
            f"each image, {self.confidence:.0%} intervals"
        )
        return "\n".join([header, *map(str, self.maps.values())])

    def gain(self, name: str, over: str) -> Gain:
        """Gain of one map over another: the mean of deletion and insertion, as over random."""
        for wanted in (name, over):
            if wanted not in self.maps:
                raise InputError(f"no map named {wanted!r}; expected one of {', '.join(self.maps)}")
        first, second = (
            torch.tensor([x.deletion.areas, x.insertion.areas], dtype=torch.float64).diff(dim=0)[0]
            for x in (self.maps[name], self.maps[over])
        )
        return _gain((first - second) / 2, self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """All curves, areas and gains, as plain data."""
        return asdict(self)


def faithfulness(
    model: Model,
    images: Float[Tensor, "batch channels height width"],
    maps: Mapping[str, Float[Tensor, "batch patches"]],
    *,
    grid: Grid,
    baseline: Baseline,
    classes: Int[Tensor, " batch"] | None = None,
    num_orders: int = 5,
    steps: int | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    batch_size: int = 250,
    progress: Progress | None = None,
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
        classes: The class of each image whose probability is measured, of shape (batch,); by
            default the predicted one.
        num_orders: Random orders for each image.
        steps: Steps of a curve; by default one for each patch.
        seed: Seed of the random orders, and of the order of equally important patches.
        confidence: Coverage of the intervals.
        batch_size: Images in a forward pass.
        progress: Called after each curve.

    Returns:
        For each map the deletion and the insertion curve, and the gain over random orders with its
        interval.

    Raises:
        InputError: If there are no maps or fewer than two images, or shapes do not match.
        ConfigError: For an option out of range.
    """
    _check(images, maps, grid, num_orders)
    if classes is None:
        classes = probabilities(model, images, batch_size=batch_size).argmax(1)
    generator = torch.Generator().manual_seed(seed)
    done = count(1)

    def deletion(order: Tensor) -> Curves:
        curves = deletion_curves(
            model, images, order, classes,
            grid=grid, baseline=baseline, steps=steps, batch_size=batch_size,
        )  # fmt: skip
        if progress is not None:
            progress(next(done), num_orders + 2 * len(maps))
        return curves

    random = [
        deletion(random_orders(len(images), grid.num_patches, generator)) for _ in range(num_orders)
    ]
    # the opposite of a random order is as random
    control = Curves(
        random[0].fractions, torch.stack([x.probabilities for x in random]).mean(dim=0)
    )
    results = {}
    for name, importance in maps.items():
        order = ranked(importance, generator)
        deleted, inserted = deletion(order), deletion(order.flip(1)).reversed()
        gains = control.areas - deleted.areas, inserted.areas - control.areas
        results[name] = MapFaithfulness(
            name=name,
            deletion=_result(deleted, control, gains[0], confidence),
            insertion=_result(inserted, control.reversed(), gains[1], confidence),
            gain=_gain((gains[0] + gains[1]) / 2, confidence),
        )
    return Faithfulness(
        maps=results,
        total=len(images),
        baseline=baseline,
        num_orders=num_orders,
        confidence=confidence,
    )


def _result(
    curves: Curves, control: Curves, gains: Float[Tensor, " batch"], confidence: float
) -> CurveResult:
    return CurveResult(
        fractions=tuple(curves.fractions.tolist()),
        curve=tuple(curves.probabilities.mean(0).tolist()),
        random_curve=tuple(control.probabilities.mean(0).tolist()),
        areas=tuple(curves.areas.tolist()),
        random_areas=tuple(control.areas.tolist()),
        gain=_gain(gains, confidence),
    )


def _check(images: Tensor, maps: Mapping[str, Tensor], grid: Grid, num_orders: int) -> None:
    grid.patch_shape(images)
    if num_orders < 1:
        raise ConfigError(f"num_orders must be at least 1, got {num_orders}")
    if len(images) < 2:
        raise InputError(f"an interval needs at least two images, got {len(images)}")
    if not maps:
        raise InputError("expected at least one map, got none")
    expected = (len(images), grid.num_patches)
    for name, importance in maps.items():
        if tuple(importance.shape) != expected:
            raise InputError(
                f"map {name!r} must be {expected} (images, patches), got {tuple(importance.shape)}"
            )
