import pytest

from clearhead.insight.attribution import INK, RANDOM, RAW, ROLLOUT
from clearhead.studies.claims.c17_weights_and_influence import STUDY
from clearhead.studies.measures.influence import MAPS
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import outcomes_of


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
        "beyond_ink": {name: 0.1 for name in MAPS if name != INK}
        | {RAW: beyond[0], ROLLOUT: beyond[1]},
        "area": dict.fromkeys(MAPS, 0.1)
        | {RAW: areas[0], ROLLOUT: areas[1], INK: ink_area, RANDOM: 0.0},
    }


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(
    ("measured", "outcomes"),
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
def test_weights_are_compared_with_random_numbers_ink_and_random_orders(
    budget: Budget, measured: Values, outcomes: list[bool]
) -> None:
    def of(trial: Trial) -> Values:  # the shipped model decides nothing
        return measured if trial.condition == "small" else values(0.9, 0.0, areas=(0.9, 0.9))

    assert outcomes_of(STUDY, of, budget=budget) == outcomes
