"""Trials and a picture that several claims share: contenders against the number of digits."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from matplotlib.axes import Axes

from clearhead.studies.measures.classifiers import (
    COMPARED_MODELS,
    accuracy_on_unseen,
    train_compared_model,
)
from clearhead.studies.table import Outcome, Trial, Values

# Steps of 100 digits, by training digits: more digits, more steps, or nobody could use them.
STEPS = MappingProxyType({100: 200, 1_000: 300, 10_000: 500, 60_000: 600})
# For 10,000 digits four times as long, to see whether a gap closes with training.
LONG = 2_000
UNSEEN = 4_000

# What an accuracy of 100 % is drawn as, on an axis that has no zero.
LEAST_ERROR = 0.01
ERRORS_SHOWN = (0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50)


def learning_trials(
    study: str,
    arms: Iterable[str],
    seeds: range,
    *,
    digits: int,
    steps: int | None = None,
) -> tuple[Trial, ...]:
    """One trial for each arm and seed; `steps` by default as long as `STEPS` has it."""
    settings = {"digits": digits, "steps": steps or STEPS[digits], "unseen": UNSEEN}
    return tuple(
        Trial(study=study, condition=arm, seed=seed, settings=settings)
        for seed in seeds
        for arm in arms
    )


def run_learning(trial: Trial) -> Values:
    """Train the contender that the arm names, and let it read digits it has not seen."""
    settings = trial.settings
    model = train_compared_model(
        trial.condition, digits=settings["digits"], steps=settings["steps"], seed=trial.seed
    )
    return accuracy_on_unseen(model, unseen=settings["unseen"], seed=trial.seed)


def of_steps(outcomes: Sequence[Outcome], *, long: bool) -> list[Outcome]:
    """Those trained for `LONG` steps, or those trained as long as `STEPS` has it."""
    return [x for x in outcomes if (x.trial.settings.get("steps") == LONG) == long]


def mean_accuracies(
    outcomes: Sequence[Outcome], arm: str, *, long: bool = False
) -> Mapping[int, float]:
    """Mean accuracy over seeds, in per cent, by number of training digits."""
    found: dict[int, list[float]] = {}
    for outcome in of_steps(outcomes, long=long):
        if outcome.trial.condition == arm:
            found.setdefault(outcome.trial.settings["digits"], []).append(
                float(outcome.values["accuracy"])
            )
    return {digits: sum(x) / len(x) for digits, x in sorted(found.items())}


def long_trainings(outcomes: Sequence[Outcome], arms: Mapping[str, str], digits: int) -> str | None:
    """What `arms`, by their words, read after `LONG` steps, beside the same seeds' usual ones.

    None where nobody was trained so long.
    """
    trained = of_steps(outcomes, long=True)
    if not trained:
        return None
    seeds = {x.trial.seed for x in trained}
    usual = [x for x in outcomes if x.trial.seed in seeds]
    before, after = (
        {arm: mean_accuracies(some, arm, long=long)[digits] for arm in arms}
        for some, long in ((usual, False), (trained, True))
    )
    told = ", ".join(
        f"{before[arm]:.1f} to {after[arm]:.1f} % ({words})" for arm, words in arms.items()
    )
    return (
        f"with {LONG:,} steps instead of {STEPS[digits]} on {digits:,} digits accuracy went from "
        f"{told}, in {len(seeds)} trainings each, not judged"
    )


def draw_learning_curves(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    """Share of unseen digits read wrongly against training digits: each trial, and the means.

    The means of long trainings are hollow.
    """
    for arm, contender in COMPARED_MODELS.items():
        means = mean_accuracies(outcomes, arm)
        if not means:
            continue
        own = [outcome for outcome in outcomes if outcome.trial.condition == arm]
        axes.plot(
            [outcome.trial.settings["digits"] for outcome in own],
            [_error(outcome.values["accuracy"]) for outcome in own],
            contender.marker,
            color=contender.colour,
            markersize=4,
            alpha=0.35,
        )
        axes.plot(
            list(means),
            [_error(mean) for mean in means.values()],
            marker=contender.marker,
            color=contender.colour,
            label=contender.label,
        )
        longer = mean_accuracies(outcomes, arm, long=True)
        if longer:
            axes.plot(
                list(longer),
                [_error(mean) for mean in longer.values()],
                contender.marker,
                color=contender.colour,
                markerfacecolor="none",
                markersize=9,
                label=f"{contender.label}, {LONG:,} steps",
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.9), max(high, 22.0))  # even where there are few points
    ticks = [tick for tick in ERRORS_SHOWN if _shows(axes, tick)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)
    places = sorted({outcome.trial.settings["digits"] for outcome in outcomes})
    axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("training digits")
    axes.set_ylabel("unseen digits read wrongly (%)")
    axes.legend(fontsize=8)


def _error(accuracy: float) -> float:
    return max(100.0 - accuracy, LEAST_ERROR)


def _shows(axes: Axes, tick: float) -> bool:
    low, high = axes.get_ylim()
    return low <= tick <= high
