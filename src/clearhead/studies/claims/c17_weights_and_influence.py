"""C17: attention weights show what mattered: stronger attention, stronger influence on the output.

Jain & Wallace (2019, "Attention is not Explanation", arXiv 1902.10186) find weights of recurrent
text models weakly correlated with gradients and with leaving words out; Wiegreffe & Pinter (2019,
"Attention is not not Explanation", arXiv 1908.04626) answer that this asks too much of them.
Serrano & Smith (2019, arXiv 1906.03731) erase what is attended to. Kobayashi et al. (2020, arXiv
2004.10102) multiply weights with the length of the values.

Here in digit readers: each patch is silenced in all layers, and the size of the change is ranked
within the image against four maps made of weights, a plain gradient by the pixels, and two
controls, random numbers and the ink of a patch. A digit's ink is both attended to and needed, so a
map can be right without knowing anything of the model: only what it says beyond the ink speaks for
it, which is its partial correlation given the ink (by ranks, which take off most of what goes with
ink and not all). Silencing takes a patch out of all attention, so by its making it favours maps of
all layers' attention, rollout before all. It leaves a patch its own token, which still enters the
mean before the head. Deletion and insertion change the pixels instead, and there the order by ink
is a rival; but they show the reader images that it was not trained on.

Silencing acts on all layers, so "weights" are taken in two ways: those of the last layer, which
are shown most often, and all layers multiplied (rollout). The second was added after a first run
of three seeds had shown that the two answer differently. After a first full run, in which weights
had been asked to correlate more than ink does, partial correlations took that place, and orders
by ink and the gradient were added.

Cost, one thread of a shared EPYC (Zen 4): 13 s for a small reader (9 of them training), 9 s for
the shipped one; quick about 45 s, full about 4 minutes.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from matplotlib.figure import Figure
from torch import Tensor

from clearhead.data import normalize
from clearhead.insight import faithfulness
from clearhead.insight.importance import RAW, RELEVANCE, ROLLOUT, VALUES, standard_maps
from clearhead.insight.perturbation import Baseline
from clearhead.insight.plots import KEY, OUTLINE, QUERY, new_figure
from clearhead.insight.tokens import grid_of
from clearhead.models import load
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.studies._unconverted import (
    Comparison,
    Evidence,
    Study,
    draw_differences,
    outcomes_of,
)
from clearhead.studies.measures.classifiers import train_compared_model, unseen_digits
from clearhead.studies.measures.influence import (
    partial_rank_correlations,
    pixel_gradients,
    rank_correlations,
    silencing_effects,
)
from clearhead.studies.table import Budget, Outcome, Trial, Values
from clearhead.training.batches import generator_for

RANDOM, INK, GRADIENT = "random", "ink", "pixel gradient"
MAPS = (RAW, VALUES, RELEVANCE, ROLLOUT, GRADIENT, INK, RANDOM)
BEYOND = tuple(name for name in MAPS if name != INK)
CURVE_STEPS = 8

# Rank correlation; borrowed from Cohen (1988, "Statistical Power Analysis"), who calls 0.3 medium.
MARGIN = 0.3
# Beyond the ink, less would do: what he calls small.
INK_MARGIN = 0.1
# Mean probability under a curve: five points more, over the whole of it.
AREA_MARGIN = 0.05
# Against an order by ink, which is no bad one, less would do.
INK_AREA_MARGIN = 0.02


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Small readers, trained with each seed; the shipped one, on other images with each."""
    size = {"images": 100 if budget == "quick" else 200}
    training = {"digits": 3_000, "steps": 300}
    shipped = seeds[:1] if budget == "quick" else seeds[:4]
    return (
        *(
            Trial(study=STUDY.name, condition="small", seed=x, settings=size | training)
            for x in seeds
        ),
        *(Trial(study=STUDY.name, condition="shipped", seed=x, settings=size) for x in shipped),
    )


def run(trial: Trial) -> Values:
    """Train a reader, or take the shipped one, and hold its maps against its answers."""
    settings = trial.settings
    model: ImageModel = load()
    if trial.condition == "small":
        model = train_compared_model(
            "vit", digits=settings["digits"], steps=settings["steps"], seed=trial.seed
        )
    return influence(cast("VisionTransformer", model), settings["images"], trial.seed)


def influence(model: VisionTransformer, images: int, seed: int) -> Values:
    """For every map: mean rank correlation with silencing, and (insertion - deletion) / 2.

    `beyond_ink` are the partial correlations, given the ink.
    """
    digits = unseen_digits(images, seed)
    pixels = normalize(digits.images, model.config)
    grid, paper = grid_of(model), Baseline.black(model.config)
    last = cast("Any", model.blocks[-1]).attn.proj
    maps: dict[str, Tensor] = dict(standard_maps(model, pixels, grid, projection=last))
    maps[GRADIENT] = pixel_gradients(model, pixels, grid)
    maps[INK] = ink = paper.difference(pixels, grid)
    maps[RANDOM] = torch.rand(
        images, grid.num_patches, generator=generator_for("random map", seed), dtype=torch.float64
    )
    effects = silencing_effects(model, pixels, grid)
    curves = faithfulness(
        model, pixels, maps, grid=grid, baseline=paper, num_orders=1, steps=CURVE_STEPS, seed=seed
    )
    return {
        "correlation": {
            name: float(rank_correlations(maps[name], effects).mean()) for name in MAPS
        },
        "beyond_ink": {
            name: float(partial_rank_correlations(maps[name], effects, ink).mean())
            for name in BEYOND
        },
        "area": {
            name: (curves.maps[name].insertion.area - curves.maps[name].deletion.area) / 2
            for name in MAPS
        },
        "effect": float(effects.mean()),
        "largest_effect": float(effects.amax(dim=1).mean()),
    }


def evidence(outcomes: Sequence[Outcome]) -> tuple[Evidence, ...]:
    """Weights go with influence, more than chance and beyond ink; and order patches well."""
    return (
        Comparison(
            name="raw attention, against random numbers (ink not taken off): correlation with "
            "silencing",
            unit="rank correlation",
            first=_small(outcomes, "correlation", RAW),
            second=_small(outcomes, "correlation", RANDOM),
            margin=MARGIN,
        ),
        *(_beyond_ink(outcomes, name) for name in (RAW, ROLLOUT)),
        Comparison(
            name="raw attention, against random orders (ink not taken off): insertion and deletion",
            unit="mean probability",
            first=_small(outcomes, "area", RAW),
            second=_small(outcomes, "area", RANDOM),
            margin=AREA_MARGIN,
        ),
        *(
            Comparison(
                name=f"{name}, against the order by ink: insertion and deletion",
                unit="mean probability",
                first=_small(outcomes, "area", name),
                second=_small(outcomes, "area", INK),
                margin=INK_AREA_MARGIN,
            )
            for name in (RAW, ROLLOUT)
        ),
    )


def _beyond_ink(outcomes: Sequence[Outcome], name: str) -> Comparison:
    partial = _small(outcomes, "beyond_ink", name)
    return Comparison(
        name=f"{name}, beyond the ink (partial, given it), against 0: correlation with silencing",
        unit="rank correlation",
        first=partial,
        second=(0.0,) * len(partial),
        margin=INK_MARGIN,
    )


def _small(outcomes: Sequence[Outcome], measure: str, name: str) -> tuple[float, ...]:
    return tuple(float(outcome.values[measure][name]) for outcome in outcomes_of(outcomes, "small"))


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Correlations in small readers, areas, and the shipped one."""
    correlation = {name: _mean(outcomes, "small", "correlation", name) for name in MAPS}
    area = {name: _mean(outcomes, "small", "area", name) for name in MAPS}
    shipped = {name: _mean(outcomes, "shipped", "correlation", name) for name in MAPS}
    beyond = {name: _mean(outcomes, "small", "beyond_ink", name) for name in BEYOND}
    seeds = len(outcomes_of(outcomes, "small"))
    return (
        f"In {seeds} small readers the last layer's weights had a mean rank correlation of "
        f"{correlation[RAW]:.2f} with the effect of silencing a patch, value-weighted norms "
        f"{correlation[VALUES]:.2f}, all layers' weights multiplied (rollout) "
        f"{correlation[ROLLOUT]:.2f}, weights times gradients {correlation[RELEVANCE]:.2f}, plain "
        f"gradients by the pixels {correlation[GRADIENT]:.2f}, ink alone {correlation[INK]:.2f} "
        f"and random numbers {correlation[RANDOM]:.2f}: the weights' less the ink's "
        f"{correlation[RAW] - correlation[INK]:+.2f}, rollout's "
        f"{correlation[ROLLOUT] - correlation[INK]:+.2f}.",
        f"Beyond the ink (partial correlation) it was {beyond[RAW]:.2f} for weights, "
        f"{beyond[VALUES]:.2f} for value-weighted norms, {beyond[ROLLOUT]:.2f} for rollout, which "
        "silencing favours because it takes patches out of attention in all layers, "
        f"{beyond[RELEVANCE]:.2f} for weights times gradients and {beyond[GRADIENT]:.2f} for plain "
        f"gradients; under insertion less deletion (halved) these reached {area[RAW]:.3f}, "
        f"{area[VALUES]:.3f}, {area[ROLLOUT]:.3f}, {area[RELEVANCE]:.3f} and "
        f"{area[GRADIENT]:.3f}, the order by ink {area[INK]:.3f} and random orders "
        f"{area[RANDOM]:.3f}.",
        f"In the shipped reader the correlations were {shipped[RAW]:.2f} (weights), "
        f"{shipped[VALUES]:.2f} (value-weighted), {shipped[ROLLOUT]:.2f} (rollout), "
        f"{shipped[RELEVANCE]:.2f} (with gradients), {shipped[GRADIENT]:.2f} (plain gradients) and "
        f"{shipped[INK]:.2f} (ink): one model, described and not tested.",
    )


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Left: correlations by map. Middle: areas by map. Right: what decides."""
    drawing = new_figure(16, 5.4)
    panels = drawing.subplots(1, 3, width_ratios=(1, 1, 1.5))
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
        f"by at least {MARGIN} more than random numbers and, given its ink, still by "
        f"{INK_MARGIN}, and so (given its ink) do all layers' weights multiplied; as an order for "
        f"insertion and deletion the last layer's gain {AREA_MARGIN} over random orders, and both "
        f"{INK_AREA_MARGIN} over the order by ink."
    ),
    conditions=(
        "ViTs of two layers and four heads, trained on 3,000 digits of MNIST for 300 steps, one "
        "for each seed; the shipped reader beside them. 200 unseen digits (quick: 100)."
    ),
    measure=(
        "Spearman's correlation over 16 patches, mean over images, and partial, given the ink; "
        "area under insertion less area under deletion, halved. Silencing takes a patch out of "
        "attention in all layers, which favours rollout by its making."
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
