import pytest

from clearhead.insight.roles import NO_CLEAR_ROLE
from clearhead.studies.claims.c07_specialised_heads import STUDY
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import outcomes_of


def heads(apart: float, num_roles: int, exchanged: float, fresh: float = 5.0) -> Values:
    measures = {"entropy": [1.0, 2.0], "distance": [1.0, 1.5]}
    return {
        "apart": apart,
        "apart_fresh": fresh,
        "apart_sharp": 30.0,
        "roles": ["its own row"] * num_roles + [NO_CLEAR_ROLE] * (4 - num_roles),
        "roles_untrained": [NO_CLEAR_ROLE] * 4,
        "heads": measures,
        "heads_untrained": measures,
        "accuracy": 92.0,
        "exchanged": exchanged,
        "shared": 50.0,
        "falls": [3.0, 0.5],
    }


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(
    ("measured", "outcomes"),
    [
        (heads(40.0, 4, 60.0), [True, True, True, True]),
        (heads(30.0, 0, 92.0), [True, False, False, False]),
        (heads(20.0, 2, 91.5), [True, False, True, False]),
        (heads(20.0, 4, 60.0, fresh=16.0), [False, False, True, True]),
    ],
)
def test_small_classifiers_are_compared_with_untrained_and_exchanged_heads(
    budget: Budget, measured: Values, outcomes: list[bool]
) -> None:
    def values(trial: Trial) -> Values:  # the shipped model decides nothing
        return measured if trial.condition == "small" else heads(99.0, 4, 1.0)

    assert outcomes_of(STUDY, values, budget=budget) == outcomes
