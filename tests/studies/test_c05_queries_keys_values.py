import pytest

from clearhead.studies.claims.c05_queries_keys_values import STUDY
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import outcomes_of

EXACT = {
    "values": 0.0,
    "other_rows": 0.0,
    "other_columns": 1e-16,
    "own_row": 0.2,
    "own_column": 0.3,
}
IN_MODEL = {"weights_above": [0.1, 0.3], "rows_apart": [[0.1, 0.2], [0.4, 0.6], [0, 0.1]]}


@pytest.mark.parametrize(
    ("changes", "outcomes"),
    [
        ({}, [True, True, True, True]),
        ({"values": 1e-15}, [False, True, True, True]),
        ({"other_columns": 1e-9}, [True, False, True, True]),
        ({"other_rows": 1e-9}, [True, True, False, True]),
        ({"own_row": 0.0}, [True, True, True, False]),
        ({"own_column": 0.0}, [True, True, True, False]),
    ],
)
def test_each_change_contradicts_its_check(changes: dict[str, float], outcomes: list[bool]) -> None:
    def values(trial: Trial) -> Values:
        random = trial.condition == "random"
        return EXACT | (changes if random else IN_MODEL)

    assert outcomes_of(STUDY, values) == outcomes
