"""Outcomes that nobody measured, for tests of what studies make of them."""

from collections.abc import Callable, Sequence

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


def check_trials(study: Study, *, min_seeds: int = 12) -> None:
    """Trials differ by name, have the seeds that they are given, and are of this study."""
    for budget in ("quick", "full"):
        seeds = range(7, 7 + study.seeds[budget])
        trials = study.trials(budget, seeds)
        assert len({trial.name for trial in trials}) == len(trials)
        assert {trial.study for trial in trials} == {study.name}
        assert {trial.seed for trial in trials} == set(seeds)
    assert study.seeds["full"] >= min_seeds  # fewer could not be decided after Holm's correction
