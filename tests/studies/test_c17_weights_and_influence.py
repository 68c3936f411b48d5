import pytest
import torch

from clearhead.insight.importance import RAW, ROLLOUT
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.claims.c17_weights_and_influence import (
    BEYOND,
    INK,
    MAPS,
    RANDOM,
    STUDY,
    influence,
)
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import as_claimed, check_study, check_trials, comparisons_of, made_up


def values(
    raw: float = 0.6,
    ink: float = 0.7,
    *,
    beyond: tuple[float, float] = (0.2, 0.2),
    areas: tuple[float, float] = (0.3, 0.3),
    ink_area: float = 0.2,
) -> Values:
    """Pairs: raw attention, rollout. Ink correlates more than weights, and decides nothing."""
    return {
        "correlation": dict.fromkeys(MAPS, 0.1) | {RAW: raw, INK: ink, RANDOM: 0.0},
        "beyond_ink": dict.fromkeys(BEYOND, 0.1) | {RAW: beyond[0], ROLLOUT: beyond[1]},
        "area": dict.fromkeys(MAPS, 0.1)
        | {RAW: areas[0], ROLLOUT: areas[1], INK: ink_area, RANDOM: 0.0},
        "effect": 0.1,
        "largest_effect": 0.2,
    }


def test_trials_are_whole() -> None:
    check_trials(STUDY)


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(
    ("measured", "claimed"),
    [
        (values(), [True, True, True, True, True, True]),
        (values(raw=0.2), [False, True, True, True, True, True]),
        (values(beyond=(0.05, 0.2)), [True, False, True, True, True, True]),
        (values(beyond=(0.2, -0.2)), [True, True, False, True, True, True]),
        (values(areas=(0.04, 0.3), ink_area=0.0), [True, True, True, False, True, True]),
        (values(areas=(0.21, 0.3)), [True, True, True, True, False, True]),
        (values(areas=(0.3, 0.21)), [True, True, True, True, True, False]),
        (values(0.0, 0.0, beyond=(0.0, 0.0), areas=(0.0, 0.0), ink_area=0.0), [False] * 6),
        (values(-0.5, beyond=(-0.5, -0.5), areas=(-0.2, -0.2)), [False] * 6),
    ],
)
def test_weights_are_held_against_chance_ink_and_random_orders(
    budget: Budget, measured: Values, claimed: list[bool]
) -> None:
    def of(trial: Trial) -> Values:  # the shipped reader decides nothing
        return measured if trial.condition == "small" else values(0.9, 0.0, areas=(0.9, 0.9))

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
    assert set(found["beyond_ink"]) == set(MAPS) - {INK}
    assert abs(found["beyond_ink"][RANDOM]) < 0.15
    assert found["beyond_ink"][RAW] != found["correlation"][RAW]
    assert 0 < found["effect"] < found["largest_effect"] <= 1
    assert found == influence(model, 60, 5)


def test_sentences_tell_differences_partial_correlations_and_areas() -> None:
    measured = values(0.52, 0.67, beyond=(0.21, 0.34), areas=(0.228, 0.274), ink_area=0.271)

    first, second, third = STUDY.sentences(made_up(STUDY, lambda trial: measured))

    assert "the weights' less the ink's -0.15, rollout's -0.57" in first
    assert "it was 0.21 for weights, 0.10 for value-weighted norms, 0.34 for rollout" in second
    assert "these reached 0.228, 0.100, 0.274, 0.100 and 0.100" in second
    assert "the order by ink 0.271 and random orders 0.000" in second
    assert "0.10 (plain gradients) and 0.67 (ink)" in third
