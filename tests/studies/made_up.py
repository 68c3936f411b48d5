"""Outcomes that nobody measured, for tests of what studies make of them."""

from collections.abc import Callable, Sequence

import torch

from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.hypotheses import Sample
from clearhead.studies.study import Study
from clearhead.studies.table import Budget, Outcome, Table, Trial, Values
from clearhead.studies.verdict import judge_study

_DRAWN: set[tuple[str, int]] = set()


def made_up(
    study: Study,
    values: Callable[[Trial], Values],
    *,
    budget: Budget = "full",
    seeds: range | None = None,
) -> tuple[Outcome, ...]:
    """An outcome for every trial of a study, the last first: nobody may count on an order."""
    trials = study.trials(budget, seeds or range(100, 100 + study.seeds[budget]))
    return tuple(Outcome(trial=trial, values=values(trial)) for trial in reversed(trials))


def samples_of(study: Study, outcomes: Sequence[Outcome]) -> list[Sample]:
    """Every hypothesis of a study with its values."""
    table = Table(outcomes)
    return [hypothesis.sample(table) for hypothesis in study.hypotheses]


def supported(sample: Sample) -> bool:
    """Whether values without any spread lie in the predicted range."""
    low, high = sample.hypothesis.region
    if sample.hypothesis.kind == "exact":
        return all(low <= x <= high for x in sample.values)
    return low <= sum(sample.values) / len(sample.values) <= high


def check_study(study: Study, outcomes: Sequence[Outcome]) -> None:
    """Properties of every study: some lines of text, a figure with labelled axes."""
    lines = study.text(outcomes)
    assert bool(lines) == bool(study.summaries)
    assert not any("nan" in line for line in lines)
    if (study.name, len(outcomes)) not in _DRAWN:  # once for each budget, as drawing takes longest
        _DRAWN.add((study.name, len(outcomes)))
        figure = study.figure(outcomes)
        figure.draw_without_rendering()
        assert all(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes)


def outcomes_of(
    study: Study, values: Callable[[Trial], Values], *, budget: Budget = "full"
) -> list[bool]:
    """Whether each hypothesis is supported, with text and figure checked."""
    measured = made_up(study, values, budget=budget)
    check_study(study, measured)
    return [supported(x) for x in samples_of(study, measured)]


def random_images(count: int) -> torch.Tensor:
    """Normalised images of noise."""
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(2))


def random_classifier(
    seed: int, std: float, *, embed_dim: int, num_heads: int
) -> VisionTransformer:
    """A classifier with weights so large that its attention differs from image to image."""
    torch.manual_seed(seed)
    config = ViTConfig(depth=2, embed_dim=embed_dim, num_heads=num_heads)
    model = VisionTransformer(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model


def part_outcomes(
    study: Study, values: Callable[[Trial], Values], *, budget: Budget = "full"
) -> dict[str, str]:
    """The outcome of each part by its name, with text and figure checked."""
    measured = made_up(study, values, budget=budget)
    check_study(study, measured)
    return {x.name: x.outcome for x in judge_study(study, Table(measured)).parts}


def not_supported(outcomes: dict[str, str]) -> set[str]:
    """The names of the parts that are neither supported nor merely described."""
    return {name for name, x in outcomes.items() if x not in ("supported", "described")}
