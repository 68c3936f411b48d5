import pytest

from clearhead.studies.claims.c03_scaling_in_training import STUDY
from clearhead.studies.measures.scaling import PROBED
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import made_up, outcomes_of, samples_of


def training(accuracy: float, *, lost: bool = False) -> Values:
    probe = {"query_gradient": [0.2, 0.1], "key_gradient": [0.2, 0.1], "entropy": [[2.0], [1.0]]}
    return {
        "accuracy": accuracy,
        "lost": 100.0 * lost,
        "not_a_number_after": 5 if lost else -1,
        "probes": [{"step": step, **probe} for step in PROBED],
    }


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(("unscaled", "outcome"), [(80.0, True), (90.0, False), (95.0, False)])
def test_it_is_supported_where_accuracy_without_the_factor_is_lower(
    budget: Budget, unscaled: float, outcome: bool
) -> None:
    def values(trial: Trial) -> Values:
        return training((90.0 if trial.condition == "sqrt" else unscaled) + trial.seed % 3)

    assert outcomes_of(STUDY, values, budget=budget) == [outcome] * 4


def test_each_condition_is_taken_at_its_best_rate() -> None:
    by_rate = {
        "sqrt": {"low": 80.0, "usual": 90.0, "high": 60.0},
        "none": {"low": 89.5, "usual": 75.0, "high": 60.0},
    }

    def values(trial: Trial) -> Values:
        return training(by_rate[trial.condition].get(trial.settings["rate"], 50.0))

    _, usual, _, best = samples_of(STUDY, made_up(STUDY, values))

    assert usual.values == pytest.approx((15.0,) * 12)
    assert best.values == pytest.approx((0.5,) * 12)


def test_lost_trainings_are_counted_with_exact_intervals() -> None:
    def values(trial: Trial) -> Values:
        lost = (trial.condition, trial.settings["rate"], trial.seed) == ("none", "high", 103)
        return training(90.0, lost=lost)

    text = "\n".join(STUDY.text(made_up(STUDY, values)))

    assert "1/√d_k 0 of 12 (95 % interval 0% to 26%)" in text
    assert "unscaled 1 of 12 (95 % interval 0% to 38%)" in text
