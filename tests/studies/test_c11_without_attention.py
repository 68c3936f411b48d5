from typing import Any

import pytest

from clearhead.models import build
from clearhead.studies.claims.c11_without_attention import STUDY
from clearhead.studies.measures.classifiers import COMPARED_MODELS
from clearhead.studies.measures.learning_curves import LONG
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import as_claimed, check_study, check_trials, comparisons_of, made_up


def claims(accuracies: dict[str, float], budget: Any = "full") -> list[bool]:
    def values(trial: Trial) -> Values:
        return {"accuracy": accuracies[trial.condition] + trial.seed % 5 / 10}

    outcomes = made_up(STUDY, values, budget=budget)
    check_study(STUDY, outcomes)
    return [as_claimed(comparison) for comparison in comparisons_of(STUDY, outcomes)]


def test_trials_are_whole() -> None:
    check_trials(STUDY)


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize("vit", [98.0, 90.0])
def test_it_holds_where_the_rest_stays_behind_whatever_the_vit_does(
    budget: str, vit: float
) -> None:
    accuracies = {"vit": vit, "mlp": 96.0, "no-attention": 95.0, "uniform": 90.0}

    assert claims(accuracies, budget) == [True, True]


def test_it_does_not_hold_where_blocks_without_attention_lead() -> None:
    accuracies = {"vit": 99.0, "mlp": 96.0, "no-attention": 98.0, "uniform": 97.0}

    assert claims(accuracies) == [False, False]


def test_as_good_is_no_better_and_a_little_better_is_within_the_allowance() -> None:
    accuracies = {"vit": 97.0, "mlp": 96.0, "no-attention": 96.0, "uniform": 96.3}

    assert claims(accuracies) == [True, True]


def test_one_way_without_attention_may_lead_alone() -> None:
    accuracies = {"vit": 97.0, "mlp": 96.0, "no-attention": 95.0, "uniform": 97.0}

    assert claims(accuracies) == [True, False]


def test_long_trainings_decide_nothing_and_are_told() -> None:
    usual = {"vit": 94.0, "mlp": 95.0, "no-attention": 93.0, "uniform": 92.0}
    long = {"vit": 98.5, "mlp": 96.5, "no-attention": 97.0, "uniform": 97.5}

    def values(trial: Trial) -> Values:
        return {"accuracy": (long if trial.settings["steps"] == LONG else usual)[trial.condition]}

    outcomes = made_up(STUDY, values)

    found = comparisons_of(STUDY, outcomes)
    assert all(as_claimed(x) and len(x.first) == 12 for x in found)
    first, curve, last = STUDY.sentences(outcomes)
    assert "in 500 steps on 10,000 training digits the MLP on the pixels read 95.0 %" in first
    assert "200 steps on 100 digits: 95.0, 93.0, 92.0, 94.0 %" in curve
    assert (
        "95.0 to 96.5 % (MLP on the pixels), 93.0 to 97.0 % (blocks without attention), 92.0 to "
        "97.5 % (uniform attention), 94.0 to 98.5 % (ViT), in 2 trainings each" in last
    )


def test_a_quick_run_does_not_speak_of_long_trainings() -> None:
    outcomes = made_up(STUDY, lambda trial: {"accuracy": 90.0}, budget="quick")

    assert STUDY.sentences(outcomes)[-1].startswith("Longer trainings were not tried here;")


def test_queries_and_keys_are_the_parameters_that_uniform_attention_does_not_use() -> None:
    model = build(COMPARED_MODELS["uniform"].config)
    idle = sum(
        block.attn.qkv.weight[:64].numel() + block.attn.qkv.bias[:64].numel()
        for block in model.blocks  # type: ignore[union-attr]
    )

    assert idle == 4_224
    assert idle / sum(x.numel() for x in model.parameters()) == pytest.approx(0.15, abs=0.005)
    assert "4,224 parameters (15 %)" in STUDY.conditions
