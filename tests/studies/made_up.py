"""Outcomes that nobody measured, for tests of what studies make of them."""

from collections.abc import Callable, Sequence

import torch

from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.study import CheckData, ComparisonData, Study
from clearhead.studies.table import Budget, Outcome, Trial, Values

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


def comparisons_of(study: Study, outcomes: Sequence[Outcome]) -> list[ComparisonData]:
    """A study's evidence, all of it comparisons."""
    evidence = study.evaluate(outcomes)
    found = [x for x in evidence if isinstance(x, ComparisonData)]
    assert len(found) == len(evidence)
    return found


def supported(evidence: ComparisonData | CheckData) -> bool:
    """Whether evidence without any spread is supported."""
    if isinstance(evidence, CheckData):
        return all(evidence.low <= x <= evidence.high for x in evidence.values)
    mean = sum(evidence.differences) / len(evidence.differences)
    if evidence.expects == "equal":
        return abs(mean) <= evidence.margin
    return mean >= evidence.margin


def check_study(study: Study, outcomes: Sequence[Outcome]) -> None:
    """Properties of every study: some lines of text, a figure with labelled axes."""
    lines = study.text(outcomes)
    assert lines
    assert not any("nan" in line for line in lines)
    if (study.name, len(outcomes)) not in _DRAWN:  # once for each budget, as drawing takes longest
        _DRAWN.add((study.name, len(outcomes)))
        figure = study.figure(outcomes)
        figure.draw_without_rendering()
        assert all(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes)


def outcomes_of(
    study: Study, values: Callable[[Trial], Values], *, budget: Budget = "full"
) -> list[bool]:
    """Whether each piece of evidence is supported, with text and figure checked."""
    measured = made_up(study, values, budget=budget)
    check_study(study, measured)
    return [supported(x) for x in study.evaluate(measured)]


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
