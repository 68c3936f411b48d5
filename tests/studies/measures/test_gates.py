from dataclasses import replace
from typing import Any

import pytest

from clearhead.studies.measures import gates
from clearhead.studies.table import Trial


def trial(**settings: Any) -> Trial:
    return Trial(study="s", condition="c", seed=3, settings={"unseen": 50} | settings)


@pytest.mark.usefixtures("small_trainings")
def test_a_floor_has_the_accuracy_with_and_without_attention() -> None:
    common = gates.common_digit_floor(trial(examples=100, epochs=1))
    recall = gates.recall_floor(trial(examples=64))

    for found in (common, recall):
        assert found.keys() == {"with_attention", "floor"}
        assert all(0 <= x <= 100 for x in found.values())


def test_a_trial_can_set_the_rates_of_the_common_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "trained", lambda training, seed: training)
    usual: Any = gates.common_digit_model(trial(**gates.COMMON_DIGIT))
    next_one: Any = gates.common_digit_model(trial(**gates.NEXT_COMMON_DIGIT))
    assert next_one == replace(usual, rates=(1e-2, 2e-2))


@pytest.mark.slow
@pytest.mark.usefixtures("small_trainings")
def test_recall_is_learnt_with_attention_and_not_without() -> None:
    found = gates.recall_floor(trial(**gates.RECALL))

    assert found["with_attention"] > 90
    assert found["floor"] < 35  # one value in four


@pytest.mark.slow
@pytest.mark.usefixtures("small_trainings")
def test_the_common_digit_is_learnt_with_attention_and_not_without() -> None:
    found = gates.common_digit_floor(trial(**gates.COMMON_DIGIT))

    assert found["with_attention"] > 70
    assert found["floor"] < 45  # one class in three
