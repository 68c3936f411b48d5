"""C7: heads specialise: different heads look at different things, beyond what untrained heads do.

Voita et al. (2019, "Analyzing Multi-Head Self-Attention", arXiv 1905.09418) find a few heads with
plain roles in translation and can remove most others; Clark et al. (2019, "What Does BERT Look
At?", arXiv 1906.04341) find heads for syntax. Michel et al. (2019, arXiv 1905.10650) find many
redundant. Random heads differ too, so heads are held against those of untrained readers: as they
are, whose attention is almost even, so that all their heads are almost alike; and with attention
made as sharp as the trained one's, the harder control. The first tells what training changed, the
second what of that is more than being sharp.

Three things are asked: do the heads of a layer lie farther apart than untrained ones, of either
kind; do they earn a role (a measure beyond every untrained head, with a family level of 5 %); and
does it matter to the answer which head has which weights, when in each layer every head is given
another one's. How far the accuracy falls without a head is shown. That two heads look at different
things does not say that they look at something that people have a word for. And that heads cannot
be exchanged is necessary and not sufficient: heads whose weights are arbitrary, but always the
same, could not be exchanged either.

Cost, one thread of a shared EPYC (Zen 4): 17 s for a small reader (9 of them training), 25 s for
the shipped one; quick about 55 s, full about 4 minutes.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from matplotlib.figure import Figure
from torch import Tensor

from clearhead.data import normalize
from clearhead.insight.ablation import ablate
from clearhead.insight.foreground import Foreground
from clearhead.insight.forward import probabilities
from clearhead.insight.measures import HeadMeasures, measure_heads
from clearhead.insight.plots import KEY, MUTED, OUTLINE, QUERY, new_figure
from clearhead.insight.roles import (
    MAX_SHIFT,
    NO_CLEAR_ROLE,
    describe_heads,
    shift_images,
    untrained_heads,
)
from clearhead.insight.tokens import grid_of
from clearhead.models import load
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.recording import AttentionRecord, intervene
from clearhead.studies._unconverted import (
    Comparison,
    Study,
    draw_differences,
    outcomes_of,
    values_of,
)
from clearhead.studies.measures.classifiers import train_compared_model, unseen_digits
from clearhead.studies.table import Budget, Outcome, Trial, Values
from clearhead.training.batches import seed_of

# Roles at a level of 5 % need 19 untrained models; one more stands in the trained one's place.
UNTRAINED = 20
SHOWN = ("entropy", "distance")

APART_MARGIN = 5.0  # hundredths of the Jensen-Shannon distance, which ends at 100
ROLE_MARGIN = 25.0  # percentage points: one head in four
ANSWER_MARGIN = 1.0  # percentage points of digits


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Small readers, trained with each seed; the shipped one on other images with two."""
    size = {"images": 50 if budget == "quick" else 100, "unseen": 500}
    training = {"digits": 3_000, "steps": 300}
    return (
        *(
            Trial(study=STUDY.name, condition="small", seed=x, settings=size | training)
            for x in seeds
        ),
        *(
            Trial(study=STUDY.name, condition="shipped", seed=x, settings=size)
            for x in (seeds[:1] if budget == "quick" else seeds[:2])
        ),
    )


def run(trial: Trial) -> Values:
    """Train a reader, or take the shipped one, and measure its heads."""
    settings = trial.settings
    model: ImageModel = load()
    if trial.condition == "small":
        model = train_compared_model(
            "vit", digits=settings["digits"], steps=settings["steps"], seed=trial.seed
        )
    reader = cast("VisionTransformer", model)
    return {
        **beside_untrained(reader, settings["images"], trial.seed),
        **other_weights(reader, settings["unseen"], trial.seed),
    }


def beside_untrained(model: VisionTransformer, images: int, seed: int) -> Values:
    """How far heads lie apart and how many earn a role, in this reader and in untrained ones."""
    moved = shift_images(unseen_digits(images, seed).images, MAX_SHIFT, seed)
    foreground, pixels = Foreground.of(moved, grid_of(model)), normalize(moved, model.config)
    trained = measure_heads(model, pixels, foreground=foreground)
    seeds = [seed_of("untrained", seed, place) for place in range(UNTRAINED + 1)]
    fresh = untrained_heads(model.config, pixels, foreground=foreground, seeds=seeds)
    sharp = untrained_heads(
        model.config, pixels, foreground=foreground, seeds=seeds, match_entropy=trained
    )
    baselines = fresh[:-1], sharp[:-1]
    return {
        "apart": apart(trained),
        "apart_fresh": _mean([apart(one) for one in fresh]),
        "apart_sharp": _mean([apart(one) for one in sharp]),
        "roles": [role.label for role in describe_heads(trained, *baselines)],
        "roles_untrained": [role.label for role in describe_heads(sharp[-1], *baselines)],
        "heads": {name: trained[name].mean.flatten().tolist() for name in SHOWN},
        "heads_untrained": {name: sharp[-1][name].mean.flatten().tolist() for name in SHOWN},
    }


def apart(measures: HeadMeasures) -> float:
    """Jensen-Shannon distance of two heads of a layer, in hundredths, mean over all pairs."""
    heads = measures.num_heads
    pairs = torch.triu(torch.ones(heads, heads, dtype=torch.bool), diagonal=1)
    return 100 * float((1 - measures.agreement[:, pairs]).mean())


def other_weights(model: VisionTransformer, unseen: int, seed: int) -> Values:
    """Accuracy (per cent) with each head's own weights, with another's, with the layer's mean.

    And how far it falls without each head, whose mean output stands in its place.
    """
    digits = unseen_digits(unseen, seed)
    pixels = normalize(digits.images, model.config)
    heads = model.config.num_heads

    def accuracy(change: Callable[[AttentionRecord], Tensor] | None) -> float:
        around = None if change is None else lambda _: intervene(change)
        answers = probabilities(model, pixels, around=around).argmax(dim=1)
        return 100 * float((answers == digits.labels).double().mean())

    falls = ablate(model, pixels, digits.labels, "head")
    return {
        "accuracy": accuracy(None),
        "exchanged": _mean([accuracy(exchanged(by)) for by in range(1, heads)]),
        "shared": accuracy(shared),
        "falls": [100 * one.drop for one in falls],
    }


def exchanged(by: int) -> Callable[[AttentionRecord], Tensor]:
    """Every head of every layer gets the weights of the head `by` places before it."""

    def change(record: AttentionRecord) -> Tensor:
        return record.context_from(record.applied_weights.roll(by, dims=-3))

    return change


def shared(record: AttentionRecord) -> Tensor:
    """Every head of a layer gets the mean of all its heads' weights."""
    weights = record.applied_weights
    return record.context_from(weights.mean(dim=-3, keepdim=True).expand_as(weights))


def evidence(outcomes: Sequence[Outcome]) -> tuple[Comparison, ...]:
    """Farther apart than untrained heads, with roles that those have not, and not exchangeable."""
    small = outcomes_of(outcomes, "small")
    return (
        Comparison(
            name="heads apart: trained, against untrained as they are",
            unit="hundredths of the JS distance",
            first=values_of(outcomes, "small", "apart"),
            second=values_of(outcomes, "small", "apart_fresh"),
            margin=APART_MARGIN,
        ),
        Comparison(
            name="heads apart: trained, against untrained as sharp",
            unit="hundredths of the JS distance",
            first=values_of(outcomes, "small", "apart"),
            second=values_of(outcomes, "small", "apart_sharp"),
            margin=APART_MARGIN,
        ),
        Comparison(
            name="heads with a role: trained, against untrained as sharp",
            unit="percentage points of heads",
            first=tuple(_with_role(x.values["roles"]) for x in small),
            second=tuple(_with_role(x.values["roles_untrained"]) for x in small),
            margin=ROLE_MARGIN,
        ),
        Comparison(
            name="digits read with a head's own weights, against another head's",
            unit="percentage points",
            first=values_of(outcomes, "small", "accuracy"),
            second=values_of(outcomes, "small", "exchanged"),
            margin=ANSWER_MARGIN,
        ),
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Distances, exchanged weights, removed heads; the shipped reader."""
    small, shipped = outcomes_of(outcomes, "small"), outcomes_of(outcomes, "shipped")

    def mean(measure: str) -> float:
        return _mean(values_of(outcomes, "small", measure))

    roles, none = (
        _mean([_with_role(x.values[name]) for x in small]) for name in ("roles", "roles_untrained")
    )
    falls = [x.values["falls"] for x in small]
    return (
        f"In {len(small)} small readers the heads of a layer lie {mean('apart'):.0f} hundredths "
        f"of the Jensen-Shannon distance apart, untrained ones as they are "
        f"{mean('apart_fresh'):.1f} and as sharp as the trained {mean('apart_sharp'):.0f}; "
        f"{roles:.0f} % of heads earned a role, of untrained ones as sharp {none:.0f} %.",
        f"They read {mean('accuracy'):.1f} % of unseen digits, {mean('exchanged'):.1f} % when "
        f"every head got another one's weights (which shows that heads differ, not that they "
        f"specialise: any difference would do) and {mean('shared'):.1f} % when all got the mean; "
        f"without a single head accuracy fell by {_mean([_mean(x) for x in falls]):.1f} points in "
        f"the mean and {_mean([max(x) for x in falls]):.1f} for the head that mattered most.",
        f"In the shipped reader, for description, heads lie "
        f"{_mean([x.values['apart'] for x in shipped]):.0f} hundredths apart (untrained "
        f"{_mean([x.values['apart_fresh'] for x in shipped]):.1f}, as sharp "
        f"{_mean([x.values['apart_sharp'] for x in shipped]):.0f}), "
        f"{_mean([_with_role(x.values['roles']) for x in shipped]):.0f} % have a role, and with "
        f"exchanged weights it reads {_mean([x.values['exchanged'] for x in shipped]):.1f} %.",
    )


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Above: heads by entropy and distance, and falls. Below: what decides, each on its scale."""
    drawing = new_figure(13, 7)
    panels = drawing.subplots(2, 3)
    small = outcomes_of(outcomes, "small")
    for name, colour, words in (
        ("heads_untrained", MUTED, "untrained, as sharp"),
        ("heads", QUERY, "trained"),
    ):
        for place, outcome in enumerate(small):
            found = outcome.values[name]
            panels[0][0].plot(
                found["entropy"],
                found["distance"],
                "o",
                color=colour,
                alpha=0.5,
                markersize=4,
                label=words if place == 0 else None,
            )
    panels[0][0].set_xlabel("entropy of a query's weights (nats)")
    panels[0][0].set_ylabel("mean distance (patches)")
    panels[0][0].legend(fontsize=8)
    kinds = (
        ("apart", "trained"),
        ("apart_sharp", "untrained,\nas sharp"),
        ("apart_fresh", "untrained,\nas they are"),
    )
    for place, (name, _) in enumerate(kinds):
        for arm, colour in (("small", QUERY), ("shipped", KEY)):
            numbers = values_of(outcomes, arm, name)
            panels[0][1].plot([place] * len(numbers), numbers, "o", color=colour, alpha=0.5)
    panels[0][1].set_xticks(range(len(kinds)), [words for _, words in kinds])
    panels[0][1].set_ylabel("heads apart (hundredths of JS distance)")
    panels[0][1].set_title("small readers (blue), shipped (orange)", fontsize=9)
    for place, outcome in enumerate(small):
        falls = sorted(outcome.values["falls"], reverse=True)
        panels[0][2].plot(range(1, len(falls) + 1), falls, color=QUERY, alpha=0.5)
        if place == 0:
            panels[0][2].axhline(0.0, color=OUTLINE, linewidth=0.6)
    panels[0][2].set_xlabel("heads of a small reader, by what is lost without each")
    panels[0][2].set_ylabel("fall in accuracy (percentage points)")
    *apart_from, roles, answers = evidence(outcomes)
    for axes, group in zip(panels[1], (apart_from, [roles], [answers]), strict=True):
        draw_differences(axes, group, group[0].unit)
    drawing.suptitle("Heads of trained readers beside heads of untrained ones")
    return drawing


def _with_role(roles: Sequence[str]) -> float:
    return 100 * _mean([float(words != NO_CLEAR_ROLE) for words in roles])


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)


STUDY = Study(
    name="specialised-heads",
    claim="C7",
    statement=(
        "Heads specialise: different heads look at different things, beyond what untrained heads "
        "do."
    ),
    hypothesis=(
        f"Trained heads of a layer lie at least {APART_MARGIN:g} hundredths of the Jensen-Shannon "
        "distance farther apart than untrained ones, as those are and made as sharp; "
        f"{ROLE_MARGIN:g} points more of them earn a role than of untrained ones as sharp; and "
        f"with another head's weights {ANSWER_MARGIN:g} point fewer digits are read."
    ),
    conditions=(
        "ViTs of two layers and four heads, trained on 3,000 digits of MNIST for 300 steps, one "
        "for each seed, beside 21 untrained ones; 100 unseen digits (quick: 50), moved by up to 4 "
        "pixels; the shipped reader for description."
    ),
    measure=(
        "Jensen-Shannon distance between heads of a layer; share of heads with a role; accuracy on "
        "500 unseen digits."
    ),
    seeds={"quick": 3, "full": 12},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=(
        "Voita et al. 2019, Analyzing Multi-Head Self-Attention, arXiv 1905.09418",
        "Clark et al. 2019, What Does BERT Look At?, arXiv 1906.04341",
        "Michel et al. 2019, Are Sixteen Heads Really Better than One?, arXiv 1905.10650",
    ),
)
