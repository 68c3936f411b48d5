from typing import Any

import pytest

from clearhead.studies.claims.c10_convolution import STUDY
from clearhead.studies.measures.learning_curves import LONG
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import as_claimed, check_study, check_trials, comparisons_of, made_up


def test_trials_are_whole() -> None:
    check_trials(STUDY)


@pytest.mark.parametrize(("lead", "claimed"), [(2.0, True), (0.0, False), (-2.0, False)])
@pytest.mark.parametrize("budget", ["quick", "full"])
def test_the_vit_is_held_against_the_cnn_seed_by_seed(
    budget: object, lead: float, claimed: bool
) -> None:
    def values(trial: Trial) -> Values:
        return {"accuracy": 80.0 + trial.seed % 7 + (lead if trial.condition == "vit" else 0.0)}

    outcomes = made_up(STUDY, values, budget=budget)  # type: ignore[arg-type]

    for comparison in comparisons_of(STUDY, outcomes):
        assert comparison.differences == pytest.approx((lead,) * len(comparison.first))
        assert as_claimed(comparison) == claimed
    check_study(STUDY, outcomes)


def test_few_and_many_digits_are_told_apart() -> None:
    def values(trial: Trial) -> Values:
        few = trial.settings["digits"] == 1_000
        return {"accuracy": 90.0 + (3.0 if few == (trial.condition == "vit") else 0.0)}

    few, many = comparisons_of(STUDY, made_up(STUDY, values))

    assert (as_claimed(few), as_claimed(many)) == (True, False)
    assert "1,000" in few.name


@pytest.mark.parametrize("leads_long", [5.0, -5.0])
def test_long_trainings_decide_nothing_and_are_told(leads_long: float) -> None:
    def values(trial: Trial) -> Values:
        lead = leads_long if trial.settings["steps"] == LONG else 1.0
        return {"accuracy": 90.0 + (lead if trial.condition == "vit" else 0.0)}

    outcomes = made_up(STUDY, values)

    assert all(as_claimed(x) and len(x.first) == 12 for x in comparisons_of(STUDY, outcomes))
    told = STUDY.sentences(outcomes)[-1]
    long = f"{90 + leads_long:.1f}"
    assert f"went from 91.0 to {long} % (ViT), 90.0 to 90.0 % (CNN), in 3 trainings each" in told


@pytest.mark.parametrize(("budget", "long"), [("quick", False), ("full", True)])
def test_only_what_was_trained_longer_is_told_of(budget: Any, long: bool) -> None:
    outcomes = made_up(STUDY, lambda trial: {"accuracy": 90.0}, budget=budget)

    told = STUDY.sentences(outcomes)

    assert (f"with {LONG:,} steps" in told[-1]) == long
    assert ("longer training was not tried" in told[-1]) == (not long)
    assert "300 steps on 1,000 training digits" in told[0]
