"""Outcomes that nobody measured, for tests of what studies make of them."""

from collections.abc import Callable, Sequence

from clearhead.studies._unconverted import Comparison, Study
from clearhead.studies.table import Budget, Outcome, Trial, Values

_DRAWN: set[str] = set()


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


def comparisons_of(study: Study, outcomes: Sequence[Outcome]) -> list[Comparison]:
    """A study's evidence, all of it comparisons."""
    found = [one for one in study.evidence(outcomes) if isinstance(one, Comparison)]
    assert len(found) == len(study.evidence(outcomes))
    return found


def as_claimed(comparison: Comparison) -> bool:
    """Whether a difference without any spread comes out as claimed; the spread is the rule's."""
    mean = sum(comparison.differences) / len(comparison.differences)
    if comparison.expects == "equal":
        return abs(mean) <= comparison.margin
    return mean >= comparison.margin


def check_study(study: Study, outcomes: Sequence[Outcome]) -> None:
    """What holds for every study: three sentences at most, a figure with labelled axes."""
    sentences = study.sentences(outcomes)
    assert 1 <= len(sentences) <= 3
    assert all(sentence.endswith(".") and "nan" not in sentence for sentence in sentences)
    figure = study.figure(outcomes)
    if study.name not in _DRAWN:  # drawing takes longest
        figure.draw_without_rendering()
        _DRAWN.add(study.name)
    assert all(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes)


def check_trials(study: Study) -> None:
    """Trials differ by name, have the seeds that they are given, and are of this study."""
    for budget in ("quick", "full"):
        seeds = range(7, 7 + study.seeds[budget])
        trials = study.trials(budget, seeds)
        assert len({trial.name for trial in trials}) == len(trials)
        assert {trial.study for trial in trials} == {study.name}
        assert {trial.seed for trial in trials} == set(seeds)
    assert study.seeds["full"] >= 12  # fewer could not be decided after Holm's correction
