import pytest
import torch

from clearhead.insight.standard_maps import RAW, ROLLOUT
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.c17_weights_and_influence import INK, MAPS, RANDOM, STUDY, influence
from clearhead.studies.study import Budget, Trial, Values
from tests.studies.made_up import as_claimed, check_study, check_trials, comparisons_of, made_up


def values(raw: float, ink: float, area: float, rollout: float = 0.1) -> Values:
    return {
        "correlation": dict.fromkeys(MAPS, 0.1)
        | {RAW: raw, INK: ink, RANDOM: 0.0, ROLLOUT: rollout},
        "area": dict.fromkeys(MAPS, 0.1) | {RAW: area, RANDOM: 0.0},
        "effect": 0.1,
        "largest_effect": 0.2,
    }


def test_trials_are_whole() -> None:
    check_trials(STUDY)


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(
    ("measured", "claimed"),
    [
        (values(0.6, 0.4, 0.2, 0.6), [True, True, True, True]),
        (values(0.6, 0.4, 0.2), [True, True, False, True]),
        (values(0.6, 0.6, 0.2), [True, False, False, True]),  # no more than the ink says
        (values(0.0, 0.0, 0.0, 0.0), [False, False, False, False]),
        (values(-0.5, 0.4, -0.2), [False, False, False, False]),
    ],
)
def test_weights_are_held_against_chance_ink_and_random_orders(
    budget: Budget, measured: Values, claimed: list[bool]
) -> None:
    def of(trial: Trial) -> Values:  # the shipped reader decides nothing
        return measured if trial.arm == "small" else values(0.9, 0.0, 0.9)

    outcomes = made_up(STUDY, of, budget=budget)

    assert [as_claimed(x) for x in comparisons_of(STUDY, outcomes)] == claimed
    check_study(STUDY, outcomes)


def test_random_numbers_say_nothing_about_a_reader_and_influence_is_measured(
    mnist_test: object,
) -> None:
    torch.manual_seed(1)
    model = VisionTransformer(ViTConfig(depth=2, embed_dim=16, num_heads=2)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)

    found = influence(model, 60, 5)

    assert set(found["correlation"]) == set(found["area"]) == set(MAPS)
    assert abs(found["correlation"][RANDOM]) < 0.15  # 60 images: a standard error of 0.03
    assert abs(found["area"][RANDOM]) < 0.05
    assert found["correlation"][RAW] != found["correlation"][INK]
    assert 0 < found["effect"] < found["largest_effect"] <= 1
    assert found == influence(model, 60, 5)
