"""Whether a map shows what mattered to the answer, or any map would do as well.

    result = faithfulness(model, images, maps, grid=grid, baseline=Baseline.black(model.config))
    print(result)

The measure is the area under deletion and insertion curves (see `curves`), for each map and for
random orders of the same images' patches.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight.answers import Model, probabilities
from clearhead.insight.mattered.baselines import Baseline
from clearhead.insight.mattered.curves import (
    Curves,
    deletion_curves,
    insertion_curves,
    patch_shape,
    random_orders,
    ranked,
)
from clearhead.insight.paired import mean_interval
from clearhead.insight.tokens import Grid

Verdict = Literal["better than", "no better than", "worse than"]

# Told how many curves are done, and of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much better one ranking of the patches is than another, image by image.

    `mean` is the mean difference between their areas, so signed that more is better, with its
    interval (Student's t). `verdict` says better or worse only where the interval leaves out 0.
    """

    mean: float
    interval: tuple[float, float]

    @property
    def verdict(self) -> Verdict:
        """In words, to stand before the name of the other ranking."""
        low, high = self.interval
        if low > 0:
            return "better than"
        return "worse than" if high < 0 else "no better than"

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.mean:+.3f} ({low:+.3f} to {high:+.3f})"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One map under one measure: its mean curve, its areas, and the gain over random orders.

    `areas` and `random_areas` have one number for each image, the latter a mean over the orders.
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
        return sum(self.areas) / len(self.areas)

    @property
    def random_area(self) -> float:
        """The mean area under the curve of random orders."""
        return sum(self.random_areas) / len(self.random_areas)


@dataclass(frozen=True, kw_only=True)
class MapFaithfulness:
    """How faithful one map is: its deletion (less area is better) and insertion (more is).

    `gain` over random orders is the mean of both gains, image by image, so that the verdict is one
    comparison and not two chances to win. A random order has the same mean area either way, so the
    control drops out of this mean, and its noise with it.
    """

    name: str
    deletion: Measured
    insertion: Measured
    gain: Gain

    def __str__(self) -> str:
        measures = {"deletion": self.deletion, "insertion": self.insertion}
        areas = ", ".join(
            f"{kind} area {measure.area:.3f} against {measure.random_area:.3f}"
            for kind, measure in measures.items()
        )
        return f"{self.name} is {self.gain.verdict} random: gain {self.gain}, {areas}"


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """The faithfulness of several maps, measured on the same images in the same way."""

    maps: Mapping[str, MapFaithfulness]
    total: int
    baseline: Baseline
    orders: int
    confidence: float

    def __str__(self) -> str:
        header = (
            f"{self.total} images, baseline {self.baseline}, {self.orders} random orders an image, "
            f"{self.confidence:.0%} intervals"
        )
        return "\n".join([header, *map(str, self.maps.values())])

    def gain(self, name: str, over: str) -> Gain:
        """One map's gain over another one: the mean of deletion and insertion, as over random."""
        for wanted in (name, over):
            if wanted not in self.maps:
                raise InputError(f"no map named {wanted!r}; there is {', '.join(self.maps)}")
        first, second = self.maps[name], self.maps[over]
        return _gain(
            _numbers(second.deletion.areas) - _numbers(first.deletion.areas),
            _numbers(first.insertion.areas) - _numbers(second.insertion.areas),
            confidence=self.confidence,
        )


def faithfulness(
    model: Model,
    images: Float[Tensor, "batch channels height width"],
    maps: Mapping[str, Float[Tensor, "batch patches"]],
    *,
    grid: Grid,
    baseline: Baseline,
    classes: Int[Tensor, " batch"] | None = None,
    orders: int = 5,
    steps: int | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    batch_size: int = 250,
    progress: Progress | None = None,
) -> Faithfulness:
    """Measure maps, whoever made them, by what happens to the answer without their patches.

    `images` are what the model takes; `maps` give each patch of each image a number, more for more
    important. Followed is the probability of `classes`, by default what the model answers. The
    control is the mean over `orders` random orders of each image's patches, so that the comparison
    is within the image; `seed` decides them, and the order of equally important patches. A map
    beats random orders already when it tells ink from paper: compare it with `visible_change`, as
    one more map, to see whether it knows more.
    """
    _check(images, maps, grid, orders)
    if classes is None:
        classes = probabilities(model, images, batch_size=batch_size).argmax(1)
    report = _Report(progress, orders + 2 * len(maps))
    generator = torch.Generator().manual_seed(seed)

    def curves(make: Callable[..., Curves], order: Tensor) -> Curves:
        made = make(
            model,
            images,
            order,
            classes,
            grid=grid,
            baseline=baseline,
            steps=steps,
            batch_size=batch_size,
        )
        report()
        return made

    patches = grid.num_patches
    control = _mean_curves(
        [
            curves(deletion_curves, random_orders(len(images), patches, generator))
            for _ in range(orders)
        ]
    )
    measured = {}
    for name, importance in maps.items():
        order = ranked(importance, generator)
        deleted, inserted = curves(deletion_curves, order), curves(insertion_curves, order)
        measured[name] = _compared(name, deleted, inserted, control, confidence)
    return Faithfulness(
        maps=measured,
        total=len(images),
        baseline=baseline,
        orders=orders,
        confidence=confidence,
    )


def visible_change(
    images: Float[Tensor, "batch channels height width"], grid: Grid, baseline: Baseline
) -> Float[Tensor, "batch patches"]:
    """How much of each patch the baseline changes: the mean of `|pixel - baseline|`.

    A map that knows nothing of the model: ink on paper, for digits and a blank baseline.
    """
    height, width = patch_shape(images, grid)
    changes = (images - baseline.of(images)).abs().mean(dim=1)
    cells: Tensor = changes.unflatten(2, (grid.columns, width)).unflatten(1, (grid.rows, height))
    return cells.mean(dim=(2, 4)).flatten(1)


class _Report:
    """Counts, and tells whoever wants to know."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._total)


def _mean_curves(several: list[Curves]) -> Curves:
    stacked = torch.stack([curves.probabilities for curves in several])
    return Curves(several[0].fractions, stacked.mean(dim=0))


def _from_the_end(curves: Curves) -> Curves:
    """Random deletions as random insertions: the opposite of a random order is as random."""
    return Curves(1 - curves.fractions.flip(0), curves.probabilities.flip(1))


def _compared(
    name: str, deleted: Curves, inserted: Curves, control: Curves, confidence: float
) -> MapFaithfulness:
    by_deletion, by_insertion = control.areas - deleted.areas, inserted.areas - control.areas
    return MapFaithfulness(
        name=name,
        deletion=_measured(deleted, control, _gain(by_deletion, confidence=confidence)),
        insertion=_measured(
            inserted, _from_the_end(control), _gain(by_insertion, confidence=confidence)
        ),
        gain=_gain(by_deletion, by_insertion, confidence=confidence),
    )


def _measured(curves: Curves, control: Curves, gain: Gain) -> Measured:
    return Measured(
        fractions=tuple(curves.fractions.tolist()),
        curve=tuple(curves.probabilities.mean(0).tolist()),
        random_curve=tuple(control.probabilities.mean(0).tolist()),
        areas=tuple(curves.areas.tolist()),
        random_areas=tuple(control.areas.tolist()),
        gain=gain,
    )


def _gain(*measures: Float[Tensor, " batch"], confidence: float) -> Gain:
    differences = torch.stack(measures).mean(dim=0)
    interval = mean_interval(differences, confidence)
    if interval is None:
        raise InputError("one image gives no interval; measure maps on at least two")
    return Gain(mean=float(differences.mean()), interval=interval)


def _numbers(areas: tuple[float, ...]) -> Float[Tensor, " batch"]:
    return torch.tensor(areas, dtype=torch.float64)


def _check(images: Tensor, maps: Mapping[str, Tensor], grid: Grid, orders: int) -> None:
    patch_shape(images, grid)
    if orders < 1:
        raise ConfigError(f"orders must be at least 1, got {orders}")
    if len(images) < 2:
        raise InputError(f"maps are measured on at least two images, got {len(images)}")
    if not maps:
        raise InputError("nothing to measure: there are no maps")
    expected = (len(images), grid.num_patches)
    for name, importance in maps.items():
        if tuple(importance.shape) != expected:
            raise InputError(
                f"map {name!r} must be {expected} (images, patches), got {tuple(importance.shape)}"
            )
