from typing import Any

import pytest

from clearhead.studies.c11_without_attention import STUDY
from clearhead.studies.study import Trial, Values
from tests.studies.made_up import as_claimed, check_study, check_trials, comparisons_of, made_up


def claims(accuracies: dict[str, float], budget: Any = "full") -> list[bool]:
    def values(trial: Trial) -> Values:
        return {"accuracy": accuracies[trial.arm] + trial.seed % 5 / 10}

    outcomes = made_up(STUDY, values, budget=budget)
    check_study(STUDY, outcomes)
    return [as_claimed(comparison) for comparison in comparisons_of(STUDY, outcomes)]


def test_trials_are_whole() -> None:
    check_trials(STUDY)


@pytest.mark.parametrize("budget", ["quick", "full"])
def test_it_holds_where_attention_leads_and_the_rest_stays_behind(budget: str) -> None:
    accuracies = {"vit": 98.0, "mlp": 96.0, "no-attention": 95.0, "uniform": 90.0}

    assert claims(accuracies, budget) == [True, True, True]


def test_it_does_not_hold_where_blocks_without_attention_lead() -> None:
    accuracies = {"vit": 96.1, "mlp": 96.0, "no-attention": 98.0, "uniform": 97.0}

    assert claims(accuracies) == [False, False, False]


def test_as_good_is_no_better_and_a_little_better_is_within_the_allowance() -> None:
    accuracies = {"vit": 97.0, "mlp": 96.0, "no-attention": 96.0, "uniform": 96.3}

    assert claims(accuracies) == [True, True, True]


def test_where_all_are_equal_attention_is_of_no_use() -> None:
    assert claims(dict.fromkeys(("vit", "mlp", "no-attention", "uniform"), 95.0)) == [
        False,
        True,
        True,
    ]
