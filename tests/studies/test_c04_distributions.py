import pytest

from clearhead.studies.claims.c04_distributions import STUDY
from clearhead.studies.measures.distributions import TYPES
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import made_up, outcomes_of, samples_of, supported

ERRORS = {"sum_error": 0.1, "outside": 0.0, "forbidden": 0.0, "not_numbers": 0.0, "rows": 100.0}
MOVES = {"moved": 0.1, "moved_all": 0.6, "moved_none": 0.0}


@pytest.mark.parametrize("condition", ["random", "shipped", "trained"])
@pytest.mark.parametrize(
    ("changes", "outcomes"),
    [
        ({}, [True, True]),
        ({"sum_error": 2.0}, [False, True]),
        ({"forbidden": 1e-9}, [True, False]),
        ({"outside": 1e-9}, [True, False]),
        ({"not_numbers": 1.0}, [False, True]),
    ],
)
def test_rows_of_every_condition_are_checked(
    condition: str, changes: dict[str, float], outcomes: list[bool]
) -> None:
    def values(trial: Trial) -> Values:
        errors = ERRORS | (changes if trial.condition == condition else {})
        if trial.condition == "random":
            return errors | {"sum_error_by_type": dict.fromkeys(TYPES, 0.1)}
        return errors | MOVES

    assert outcomes_of(STUDY, values) == [*outcomes, True, True]


@pytest.mark.parametrize(
    ("condition", "outcomes"), [("trained", [False, True]), ("shipped", [True, False])]
)
def test_permuted_weights_must_change_probabilities(condition: str, outcomes: list[bool]) -> None:
    def values(trial: Trial) -> Values:
        return ERRORS | MOVES | ({"moved": 0.004} if trial.condition == condition else {})

    assert [supported(x) for x in samples_of(STUDY, made_up(STUDY, values))][2:] == outcomes
