"""What a head does, in words, where a measure earns them; else "no clear role"."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.data.pixels import normalize
from clearhead.errors import ConfigError, InputError
from clearhead.insight.grids import grid_of
from clearhead.insight.heads.measured import HeadMeasures, measure_heads
from clearhead.insight.heads.untrained import SEEDS, untrained_heads
from clearhead.insight.ink import ink_of
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer

NO_CLEAR_ROLE = "no clear role"

# The measures that earn words, and the words, which say no more than was measured. All are shares,
# so that the largest is the clearest.
ROLES: Mapping[str, str] = MappingProxyType(
    {
        "itself_lift": "each patch itself",
        "neighbours_lift": "local: the patches around",
        "row_lift": "along its own row",
        "column_lift": "along its own column",
        "top_bottom_lift": "links between top and bottom patches",
        "ink_lift": "patches with ink, wherever they lie",
        "blank_lift": "blank patches, wherever they lie",
        "centre_lift": "centre of mass of the digit",
        "fixed_place": "one fixed place",
        "prefix": "class token and other tokens that are no patches",
    }
)

LEAST_SHARE = 0.1
MOST_WORDS = 2
FEWEST_MODELS = 3  # whose spread can be told without each one
STANDARD_ERRORS = 1.96
MOST_PIXELS_MOVED = 4


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One measure of one head that is beyond every untrained head, and by how much."""

    measure: str
    words: str
    value: float
    error: float
    threshold: float


@dataclass(frozen=True, kw_only=True)
class HeadRole:
    """A head and what it does: `evidence` has the clearest measure first, or is empty."""

    layer: str
    head: int
    evidence: tuple[Evidence, ...]

    @property
    def words(self) -> str:
        """At most two roles in words, or "no clear role"."""
        return "; ".join(one.words for one in self.evidence[:MOST_WORDS]) or NO_CLEAR_ROLE

    def __str__(self) -> str:
        figures = ", ".join(
            f"{one.measure} {one.value:.0%} (threshold {one.threshold:.0%})"
            for one in self.evidence[:MOST_WORDS]
        )
        return f"{self.layer}, head {self.head + 1}: {self.words}" + (figures and f" [{figures}]")


def describe_heads(
    measures: HeadMeasures,
    *baselines: Sequence[HeadMeasures],
    level: float = 0.05,
    least: float = LEAST_SHARE,
) -> tuple[HeadRole, ...]:
    """Each head in words, held against the measures of untrained models on the same images.

    Words are earned by a measure in `ROLES` whose mean, less 1.96 standard errors, is beyond its
    threshold in every baseline, and at least `least` (a share of attention: what is significant
    but tiny is no role). The threshold corrects for the number of heads and of measures, so that
    an untrained model would earn any word at all with probability `level` (single-step max-T,
    Westfall & Young 1993): of each measure the largest value over all heads of an untrained model
    is taken, these are turned into z-scores among the untrained models, and the largest of them
    over the measures has its (1 - level) quantile at the threshold. That needs at least
    1/level - 1 untrained models: 19 for 0.05.
    """
    if not baselines:
        raise InputError("describe_heads needs measures of untrained models: untrained_heads(...)")
    chosen = [name for name in ROLES if name in measures.figures]
    thresholds = [_thresholds(baseline, measures, chosen, level) for baseline in baselines]
    highest = {name: max(each[name] for each in thresholds) for name in chosen}
    return tuple(
        HeadRole(
            layer=layer,
            head=head,
            evidence=_evidence(measures, (place, head), highest, least),
        )
        for place, layer in enumerate(measures.layers)
        for head in range(measures.num_heads)
    )


def head_roles(
    model: ImageModel,
    images: UInt8[Tensor, "batch channels height width"],
    *,
    seeds: Sequence[int] = SEEDS,
    level: float = 0.05,
    moved: int = MOST_PIXELS_MOVED,
) -> tuple[HeadRole, ...]:
    """Measure a digit reader's heads and describe them against untrained ones, as sharp and not.

    Images are first moved by up to `moved` pixels each way, always the same for the same images:
    in MNIST every centre of mass lies in one patch, so that a head which follows it looks like one
    that always asks that patch.
    """
    if not isinstance(model, VisionTransformer):
        raise ConfigError(
            "head_roles compares with untrained models of the same configuration, which it makes "
            f"of clearhead's VisionTransformer alone, got {type(model).__module__}."
            f"{type(model).__name__}; for others: describe_heads(measures, *baselines)"
        )
    images = move(images, moved)
    ink = ink_of(images, grid_of(model))
    pixels = normalize(images, model.config)
    measures = measure_heads(model, pixels, ink=ink)
    baselines = [
        untrained_heads(model.config, pixels, ink=ink, seeds=seeds, as_sharp_as=sharp)
        for sharp in (None, measures)
    ]
    return describe_heads(measures, *baselines, level=level)


def move(
    images: UInt8[Tensor, "batch channels height width"], most: int, seed: int = 0
) -> UInt8[Tensor, "batch channels height width"]:
    """Each image moved by up to `most` pixels in each direction; the corners it leaves are 0."""
    if most < 0:
        raise ConfigError(f"images can be moved by 0 pixels or more, got {most}")
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randint(-most, most + 1, (len(images), 2), generator=generator)
    padded = torch.nn.functional.pad(images, (most, most, most, most))
    height, width = images.shape[-2:]
    return torch.stack(
        [
            image[:, most - down : most - down + height, most - right : most - right + width]
            for image, (down, right) in zip(padded, steps.tolist(), strict=True)
        ]
    )


def _thresholds(
    baseline: Sequence[HeadMeasures], measures: HeadMeasures, chosen: list[str], level: float
) -> dict[str, float]:
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must lie between 0 and 1, got {level}")
    needed = max(math.ceil(1.0 / level - 1e-9) - 1, FEWEST_MODELS)
    if len(baseline) < needed:
        raise ConfigError(
            f"level {level} needs at least {needed} untrained models, got {len(baseline)}"
        )
    for one in baseline:
        if _sizes(one) != _sizes(measures) or any(name not in one.figures for name in chosen):
            raise InputError(
                "the untrained models must have as many layers and heads and the same measures of "
                "the same images; make them with untrained_heads"
            )
    largest = torch.stack(
        [torch.stack([one[name].mean.max() for name in chosen]) for one in baseline]
    )
    rank = math.ceil((1.0 - level) * (len(baseline) + 1) - 1e-9) - 1
    limit = _joint(largest).sort().values[rank]
    mean, deviation = largest.mean(dim=0), largest.std(dim=0)
    return dict(zip(chosen, (mean + limit * deviation).tolist(), strict=True))


def _sizes(measures: HeadMeasures) -> tuple[int, int, int]:
    return measures.num_images, len(measures.layers), measures.num_heads


def _joint(largest: Float[Tensor, "models measures"]) -> Float[Tensor, " models"]:
    """How far each model's most unusual measure lies from those of the other models, in z."""
    count = len(largest)
    away = largest - largest.mean(dim=0)
    squares = (away**2).sum(dim=0) - away**2 * count / (count - 1)
    deviation = (squares.clamp_min(0.0) / (count - 2)).sqrt()
    z = away * count / (count - 1) / deviation.clamp_min(torch.finfo(deviation.dtype).tiny)
    return z.amax(dim=1)


def _evidence(
    measures: HeadMeasures, head: tuple[int, int], highest: dict[str, float], least: float
) -> tuple[Evidence, ...]:
    found = []
    for name, threshold in highest.items():
        mean, errors = measures[name]
        value, error = float(mean[head]), 0.0 if errors is None else float(errors[head])
        if value - STANDARD_ERRORS * error > threshold and value >= least:
            words = ROLES[name]
            if name == "fixed_place":
                place = int(measures.most_asked[head]) + measures.tokens.num_prefix_tokens
                words += f": {measures.tokens.names()[place]}"
            found.append(
                Evidence(measure=name, words=words, value=value, error=error, threshold=threshold)
            )
    return tuple(sorted(found, key=lambda one: -one.value))
