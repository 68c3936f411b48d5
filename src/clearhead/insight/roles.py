"""Which heads do something that untrained heads do not, with a label for what they attend to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.attention.multihead import MultiHeadAttention
from clearhead.data import normalize
from clearhead.errors import ConfigError, InputError
from clearhead.insight.foreground import Foreground
from clearhead.insight.measures import HeadMeasures, entropy, measure_heads
from clearhead.insight.tokens import grid_of
from clearhead.models.config import ViTConfig
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture

NO_CLEAR_ROLE = "no clear role"

# The label of each measure that qualifies for one. All are shares, so that they can be compared.
ROLES: Mapping[str, str] = MappingProxyType(
    {
        "itself_lift": "each patch itself",
        "neighbours_lift": "local: adjacent patches",
        "row_lift": "its own row",
        "column_lift": "its own column",
        "top_bottom_lift": "top patches to bottom patches, and back",
        "foreground_lift": "foreground patches",
        "background_lift": "background patches",
        "centre_lift": "centre of mass of the digit",
        "fixed_patch": "one fixed patch",
        "prefix": "class token and other prefix tokens",
    }
)

SEEDS = tuple(range(20))
MIN_SHARE = 0.1
MAX_LABELS = 2
MIN_MODELS = 3  # a leave-one-out standard deviation needs two others
Z = 1.96
MAX_SHIFT = 4

# Images for matching the entropy, whose mean varies little between images.
MATCHING_IMAGES = 20
HALVINGS = 25
MAX_FACTOR = 1e6


@dataclass(frozen=True)
class Evidence:
    """A measure of one head that exceeds every untrained head, and its threshold."""

    measure: str
    label: str
    value: float
    standard_error: float
    threshold: float


@dataclass(frozen=True, kw_only=True)
class HeadRole:
    """What one head attends to.

    Attributes:
        layer: Name of the layer.
        layer_index: The layer, from 0.
        head: The head, from 0.
        evidence: The measures that give it a label, largest first; empty for no clear role.
    """

    layer: str
    layer_index: int
    head: int
    evidence: tuple[Evidence, ...]

    @property
    def label(self) -> str:
        """At most two labels, or "no clear role"."""
        return "; ".join(x.label for x in self.evidence[:MAX_LABELS]) or NO_CLEAR_ROLE

    def __str__(self) -> str:
        values = ", ".join(
            f"{x.measure} {x.value:.0%} (threshold {x.threshold:.0%})"
            for x in self.evidence[:MAX_LABELS]
        )
        name = f"L{self.layer_index + 1} H{self.head + 1} ({self.layer})"
        return f"{name}: {self.label}{values and f' [{values}]'}"

    def to_dict(self) -> dict[str, Any]:
        """The head, its label and its evidence, as plain data; layer and head count from 0."""
        return asdict(self) | {"label": self.label}


def head_roles(
    model: ImageModel,
    images: UInt8[Tensor, "batch channels height width"],
    *,
    seeds: Sequence[int] = SEEDS,
    level: float = 0.05,
) -> tuple[HeadRole, ...]:
    """Measure the heads of a digit classifier and compare them with untrained ones.

    The baselines are untrained models of the same configuration, once as they are and once with
    matched entropy. The images are shifted at random first, with a fixed seed: in MNIST all centres
    of mass lie in one patch, where a head that follows the centre of mass and a head with a fixed
    patch would be measured alike.

    Args:
        model: A Vision Transformer of clearhead.
        images: Bytes of shape (batch, channels, height, width), before normalisation.
        seeds: Seeds of the untrained models.
        level: Family-wise error rate, as in `describe_heads`.

    Returns:
        The role of each head, layer after layer.

    Raises:
        ConfigError: For another kind of model, or too few seeds for the level.
    """
    if not isinstance(model, VisionTransformer):
        raise ConfigError(
            "head_roles needs untrained models of the same configuration, which it can make for "
            f"clearhead's VisionTransformer only, got {type(model).__module__}."
            f"{type(model).__name__}; for others: describe_heads(measures, *baselines)"
        )
    images = shift_images(images, MAX_SHIFT)
    foreground = Foreground.of(images, grid_of(model))
    pixels = normalize(images, model.config)
    measures = measure_heads(model, pixels, foreground=foreground)
    baselines = [
        untrained_heads(
            model.config, pixels, foreground=foreground, seeds=seeds, match_entropy=match
        )
        for match in (None, measures)
    ]
    return describe_heads(measures, *baselines, level=level)


def describe_heads(
    measures: HeadMeasures,
    *baselines: Sequence[HeadMeasures],
    level: float = 0.05,
    min_share: float = MIN_SHARE,
) -> tuple[HeadRole, ...]:
    """A label for each head, by comparison with untrained models on the same images.

    A measure in `ROLES` gives a head its label if its mean, less 1.96 standard errors, exceeds its
    threshold in every baseline and is at least `min_share`. The threshold corrects for the number
    of heads and of measures, so that an untrained model would get any label at all with
    probability `level` (single-step max-T, Westfall & Young 1993): the largest value of each
    measure over all heads of an untrained model becomes a z-score among the untrained models; the
    (1 - level) quantile of the largest z-score over the measures gives the threshold.

    Args:
        measures: The measures of the model.
        baselines: Measures of untrained models, at least 1/level - 1 in each: 19 for 0.05.
        level: Family-wise error rate.
        min_share: Smallest share of attention that can give a label.

    Returns:
        The role of each head, layer after layer.

    Raises:
        InputError: If there is no baseline, or it has other layers, heads, images or measures.
        ConfigError: If a baseline has too few models for the level.
    """
    if not baselines:
        raise InputError("describe_heads needs measures of untrained models: untrained_heads(...)")
    names = [name for name in ROLES if name in measures.estimates]
    limits = torch.stack([_thresholds(x, measures, names, level) for x in baselines]).amax(dim=0)
    thresholds = dict(zip(names, limits.tolist(), strict=True))
    return tuple(
        HeadRole(
            layer=layer,
            layer_index=index,
            head=head,
            evidence=_evidence(measures, (index, head), thresholds, min_share),
        )
        for index, layer in enumerate(measures.layers)
        for head in range(measures.num_heads)
    )


def untrained_heads(
    config: ViTConfig,
    images: Float[Tensor, "batch channels height width"],
    *,
    foreground: Foreground | None = None,
    seeds: Sequence[int] = SEEDS,
    match_entropy: HeadMeasures | None = None,
) -> tuple[HeadMeasures, ...]:
    """The measures of untrained models of one configuration, one for each seed.

    Initial weights give almost uniform attention, from which any trained head differs. With
    `match_entropy` the queries of every layer are scaled until the layer's mean entropy is that of
    the trained one: random attention of the same entropy, which is the harder control.

    Args:
        config: The configuration.
        images: Normalised images of shape (batch, channels, height, width).
        foreground: The foreground of the same images.
        seeds: Seeds of the initial weights.
        match_entropy: The measures of the trained model.

    Returns:
        The measures of each untrained model, as `measure_heads` gives them.
    """
    results = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = VisionTransformer(config).eval().to(images.device)
        if match_entropy is not None:
            entropies = match_entropy["entropy"].mean.mean(dim=1)
            _match_entropies(model, images[:MATCHING_IMAGES], entropies.tolist())
        results.append(measure_heads(model, images, foreground=foreground))
    return tuple(results)


def shift_images(
    images: UInt8[Tensor, "batch channels height width"], max_shift: int, seed: int = 0
) -> UInt8[Tensor, "batch channels height width"]:
    """Each image shifted at random by up to `max_shift` pixels in each direction, filled with 0."""
    if max_shift < 0:
        raise ConfigError(f"max_shift must be at least 0, got {max_shift}")
    generator = torch.Generator().manual_seed(seed)
    shifts = torch.randint(-max_shift, max_shift + 1, (len(images), 2), generator=generator)
    padded = torch.nn.functional.pad(images, (max_shift,) * 4)
    height, width = images.shape[-2:]
    starts = (max_shift - shifts).tolist()
    return torch.stack(
        [x[:, y : y + height, z : z + width] for x, (y, z) in zip(padded, starts, strict=True)]
    )


def _thresholds(
    baseline: Sequence[HeadMeasures], measures: HeadMeasures, names: list[str], level: float
) -> Float[Tensor, " measures"]:
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level must be between 0 and 1, got {level}")
    needed = max(math.ceil(1.0 / level - 1e-9) - 1, MIN_MODELS)
    if len(baseline) < needed:
        raise ConfigError(
            f"level {level} needs at least {needed} untrained models, got {len(baseline)}"
        )
    for untrained in baseline:
        sizes = {(x.num_images, len(x.layers), x.num_heads) for x in (untrained, measures)}
        if len(sizes) > 1 or not untrained.estimates.keys() >= set(names):
            raise InputError(
                "the untrained models must have as many layers and heads and the same measures of "
                "the same images; make them with untrained_heads"
            )
    largest = torch.stack([torch.stack([x[name].mean.max() for name in names]) for x in baseline])
    rank = math.ceil((1.0 - level) * (len(baseline) + 1) - 1e-9) - 1
    return largest.mean(dim=0) + _largest_z(largest).sort().values[rank] * largest.std(dim=0)


def _largest_z(largest: Float[Tensor, "models measures"]) -> Float[Tensor, " models"]:
    """The largest z-score of each model over the measures, by mean and deviation of the others."""
    count = len(largest)
    away = largest - largest.mean(dim=0)
    squares = (away**2).sum(dim=0) - away**2 * count / (count - 1)
    deviation = (squares.clamp_min(0.0) / (count - 2)).sqrt()
    z = away * count / (count - 1) / deviation.clamp_min(torch.finfo(deviation.dtype).tiny)
    return z.amax(dim=1)


def _evidence(
    measures: HeadMeasures, head: tuple[int, int], thresholds: dict[str, float], min_share: float
) -> tuple[Evidence, ...]:
    evidence = []
    for name, threshold in thresholds.items():
        mean, errors = measures[name]
        value, error = float(mean[head]), 0.0 if errors is None else float(errors[head])
        if value - Z * error > threshold and value >= min_share:
            label = ROLES[name]
            if name == "fixed_patch":
                token = int(measures.most_attended[head]) + measures.tokens.num_prefix_tokens
                label += f": {measures.tokens.names()[token]}"
            evidence.append(Evidence(name, label, value, error, threshold))
    return tuple(sorted(evidence, key=lambda x: -x.value))


@torch.no_grad()
def _match_entropies(model: VisionTransformer, images: Tensor, entropies: list[float]) -> None:
    """First layer first, because each changes the input of the next."""
    for layer, target in enumerate(entropies):
        with capture(layer) as recording:
            model(images)
        attention = cast("MultiHeadAttention", model.blocks[layer].attn)
        queries = slice(0, attention.num_heads * attention.head_dim)  # their initial bias is 0
        attention.qkv.weight[queries] *= _matching_factor(recording[0].scaled.double(), target)


def _matching_factor(scaled: Tensor, target: float) -> float:
    """The factor on the scores at which their softmax has that mean entropy, by bisection."""

    def too_even(factor: float) -> bool:
        return float(entropy((scaled * factor).softmax(dim=-1)).mean()) > target

    low, high = 0.0, 1.0
    while too_even(high) and high < MAX_FACTOR:
        low, high = high, high * 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if too_even(middle) else (low, middle)
    return high
