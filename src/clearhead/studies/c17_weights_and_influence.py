"""C17: attention weights show what mattered: stronger attention, stronger influence on the output.

Jain & Wallace (2019, "Attention is not Explanation", arXiv 1902.10186) find weights of recurrent
text models weakly correlated with gradients and with leaving words out; Wiegreffe & Pinter (2019,
"Attention is not not Explanation", arXiv 1908.04626) answer that this asks too much of them.
Serrano & Smith (2019, arXiv 1906.03731) erase what is attended to. Kobayashi et al. (2020, arXiv
2004.10102) multiply weights with the length of the values.

Here in digit readers: each patch is silenced in all layers, and the size of the change is ranked
within the image against four maps made of weights, and against two controls, random numbers and
the ink of a patch. A digit's ink is both attended to and needed, so a map can be right without
knowing anything of the model: only what it says beyond the ink speaks for it. Deletion and
insertion change the pixels instead. Silencing leaves a patch its own token, which still enters
the mean before the head; deletion does not, but shows the reader images that it was not trained
on.

Silencing acts on all layers, so "weights" are taken in two ways: those of the last layer, which
are shown most often, and all layers multiplied (rollout). The second was added after a first run
of three seeds had shown that the two answer differently.

Cost, one thread of a shared EPYC (Zen 4): 12 s for a small reader (9 of them training), 8 s for
the shipped one; quick about 40 s, full about 4 minutes.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from matplotlib.figure import Figure
from torch import Tensor

from clearhead.data.pixels import normalize
from clearhead.insight.baselines import Baseline
from clearhead.insight.colours import KEY, OUTLINE, QUERY
from clearhead.insight.drawing import new_figure
from clearhead.insight.faithfulness import faithfulness, visible_change
from clearhead.insight.grids import grid_of
from clearhead.insight.standard_maps import RAW, RELEVANCE, ROLLOUT, VALUES, standard_maps
from clearhead.models.build import load
from clearhead.models.vit import VisionTransformer
from clearhead.studies.contenders import train_contender
from clearhead.studies.digits import unseen_digits
from clearhead.studies.paired_points import draw_differences
from clearhead.studies.selection import outcomes_of
from clearhead.studies.silencing import rank_correlations, silencing_effects
from clearhead.studies.study import Budget, Comparison, Evidence, Outcome, Study, Trial, Values
from clearhead.training.order import generator_for

RANDOM, INK = "random", "ink"
MAPS = (RAW, VALUES, RELEVANCE, ROLLOUT, INK, RANDOM)
CURVE_STEPS = 8

# Rank correlation; borrowed from Cohen (1988, "Statistical Power Analysis"), who calls 0.3 medium.
MARGIN = 0.3
# Beyond the ink, less would do: what he calls small.
INK_MARGIN = 0.1
# Mean probability under a curve: five points more, over the whole of it.
AREA_MARGIN = 0.05


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Small readers, trained with each seed; the shipped one, on other images with each."""
    size = {"images": 100 if budget == "quick" else 200}
    training = {"digits": 3_000, "steps": 300}
    shipped = seeds[:1] if budget == "quick" else seeds[:4]
    return (
        *(Trial(study=STUDY.name, arm="small", seed=x, settings=size | training) for x in seeds),
        *(Trial(study=STUDY.name, arm="shipped", seed=x, settings=size) for x in shipped),
    )


def run(trial: Trial) -> Values:
    """Train a reader, or take the shipped one, and hold its maps against its answers."""
    settings = trial.settings
    model = load()
    if trial.arm == "small":
        model = train_contender(
            "vit", digits=settings["digits"], steps=settings["steps"], seed=trial.seed
        )
    return influence(cast("VisionTransformer", model), settings["images"], trial.seed)


def influence(model: VisionTransformer, images: int, seed: int) -> Values:
    """For every map: mean rank correlation with silencing, and (insertion - deletion) / 2."""
    digits = unseen_digits(images, seed)
    pixels = normalize(digits.images, model.config)
    grid, paper = grid_of(model), Baseline.black(model.config)
    last = cast("Any", model.blocks[-1]).attn.proj
    maps: dict[str, Tensor] = dict(standard_maps(model, pixels, grid, projection=last))
    maps[INK] = visible_change(pixels, grid, paper)
    maps[RANDOM] = torch.rand(
        images, grid.num_patches, generator=generator_for("random map", seed), dtype=torch.float64
    )
    effects = silencing_effects(model, pixels, grid)
    curves = faithfulness(
        model, pixels, maps, grid=grid, baseline=paper, orders=1, steps=CURVE_STEPS, seed=seed
    )
    return {
        "correlation": {
            name: float(rank_correlations(maps[name], effects).mean()) for name in MAPS
        },
        "area": {
            name: (curves.maps[name].insertion.area - curves.maps[name].deletion.area) / 2
            for name in MAPS
        },
        "effect": float(effects.mean()),
        "largest_effect": float(effects.amax(dim=1).mean()),
    }


def evidence(outcomes: Sequence[Outcome]) -> tuple[Evidence, ...]:
    """Weights go with influence, more than chance and more than ink; and rank patches well."""
    return (
        Comparison(
            name="raw attention, against random numbers (ink not taken off): correlation with "
            "silencing",
            unit="rank correlation",
            first=_small(outcomes, "correlation", RAW),
            second=_small(outcomes, "correlation", RANDOM),
            margin=MARGIN,
        ),
        Comparison(
            name="raw attention, against the ink: correlation with silencing",
            unit="rank correlation",
            first=_small(outcomes, "correlation", RAW),
            second=_small(outcomes, "correlation", INK),
            margin=INK_MARGIN,
        ),
        Comparison(
            name="rollout, against the ink: correlation with silencing",
            unit="rank correlation",
            first=_small(outcomes, "correlation", ROLLOUT),
            second=_small(outcomes, "correlation", INK),
            margin=INK_MARGIN,
        ),
        Comparison(
            name="raw attention, against random orders (ink not taken off): insertion and deletion",
            unit="mean probability",
            first=_small(outcomes, "area", RAW),
            second=_small(outcomes, "area", RANDOM),
            margin=AREA_MARGIN,
        ),
    )


def _small(outcomes: Sequence[Outcome], measure: str, name: str) -> tuple[float, ...]:
    return tuple(float(outcome.values[measure][name]) for outcome in outcomes_of(outcomes, "small"))


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Correlations in small readers, areas, and the shipped one."""
    correlation = {name: _mean(outcomes, "small", "correlation", name) for name in MAPS}
    area = {name: _mean(outcomes, "small", "area", name) for name in MAPS}
    shipped = {name: _mean(outcomes, "shipped", "correlation", name) for name in MAPS}
    seeds = len(outcomes_of(outcomes, "small"))
    return (
        f"In {seeds} small readers the last layer's weights had a mean rank correlation of "
        f"{correlation[RAW]:.2f} with the effect of silencing a patch, value-weighted norms "
        f"{correlation[VALUES]:.2f}, all layers' weights multiplied (rollout) "
        f"{correlation[ROLLOUT]:.2f}, weights times gradients {correlation[RELEVANCE]:.2f}, ink "
        f"alone {correlation[INK]:.2f} and random numbers {correlation[RANDOM]:.2f}.",
        f"Under insertion less deletion (halved) weights reached {area[RAW]:.2f}, value-weighted "
        f"norms {area[VALUES]:.2f}, rollout {area[ROLLOUT]:.2f}, weights times gradients "
        f"{area[RELEVANCE]:.2f}, ink {area[INK]:.2f} and random orders {area[RANDOM]:.2f}.",
        f"In the shipped reader the correlations were {shipped[RAW]:.2f} (weights), "
        f"{shipped[VALUES]:.2f} (value-weighted), {shipped[ROLLOUT]:.2f} (rollout), "
        f"{shipped[RELEVANCE]:.2f} (with gradients) and "
        f"{shipped[INK]:.2f} (ink): one model, described and not tested.",
    )


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Left: correlations by map. Middle: areas by map. Right: what decides."""
    drawing = new_figure(14, 4.6)
    panels = drawing.subplots(1, 3)
    labels = ("rank correlation with the effect of silencing", "(insertion - deletion) / 2")
    for axes, measure, label in zip(panels, ("correlation", "area"), labels, strict=False):
        for arm, colour, marker, shift in (
            ("small", QUERY, "o", -0.12),
            ("shipped", KEY, "s", 0.12),
        ):
            found = outcomes_of(outcomes, arm)
            for place, name in enumerate(MAPS):
                numbers = [outcome.values[measure][name] for outcome in found]
                axes.plot(
                    numbers,
                    [place + shift] * len(numbers),
                    marker,
                    color=colour,
                    alpha=0.5,
                    markersize=5,
                    label=f"{arm} reader{'s' if arm == 'small' else ''}" if place == 0 else None,
                )
        axes.set_yticks(range(len(MAPS)), MAPS)
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.axvline(0.0, color=OUTLINE, linewidth=0.6)
    panels[0].legend(fontsize=8)
    draw_differences(
        panels[2],
        [x for x in evidence(outcomes) if isinstance(x, Comparison)],
        "correlation, probability",
    )
    drawing.suptitle("What weights, and other maps, say about what silencing a patch does")
    return drawing


def _mean(outcomes: Sequence[Outcome], arm: str, measure: str, name: str) -> float:
    numbers = [float(x.values[measure][name]) for x in outcomes_of(outcomes, arm)]
    return sum(numbers) / len(numbers)


STUDY = Study(
    name="weights-and-influence",
    claim="C17",
    statement=(
        "Attention weights show what mattered: stronger attention, stronger influence on the "
        "output."
    ),
    hypothesis=(
        "Within an image, the last layer's weights correlate with the effect of silencing a patch "
        f"by at least {MARGIN} more than random numbers and {INK_MARGIN} more than its ink, and so "
        f"do all layers' weights multiplied ({INK_MARGIN} more than its ink); as an order "
        f"for insertion and deletion the last layer's gain {AREA_MARGIN} over random orders."
    ),
    conditions=(
        "ViTs of two layers and four heads, trained on 3,000 digits of MNIST for 300 steps, one "
        "for each seed; the shipped reader beside them. 200 unseen digits (quick: 100)."
    ),
    measure=(
        "Spearman's correlation over 16 patches, mean over images; area under insertion less area "
        "under deletion, halved."
    ),
    seeds={"quick": 3, "full": 12},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=(
        "Jain & Wallace 2019, Attention is not Explanation, arXiv 1902.10186",
        "Wiegreffe & Pinter 2019, Attention is not not Explanation, arXiv 1908.04626",
        "Serrano & Smith 2019, Is Attention Interpretable?, arXiv 1906.03731",
        "Kobayashi et al. 2020, Attention is Not Only a Weight, arXiv 2004.10102",
    ),
)
