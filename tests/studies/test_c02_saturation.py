import pytest

from clearhead.studies.claims.c02_saturation import STUDY
from clearhead.studies.measures.scores import HEAD_DIMS, SCALES
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import outcomes_of

TRAINED = {"relative_entropy": 0.9, "largest": 0.3, "jacobian": 0.2, "accuracy": 0.9}
NAMES = ("largest", "jacobian", "jacobian_median", "query_gradient", "query_gradient_median")


def random_scores(changes: dict[tuple[str, str], float]) -> Values:
    """Every measure is 0.5, apart from changes at the largest d_k by scale and measure."""
    measured = {
        scale: {name: [0.5] * 7 + [changes.get((scale, name), 0.5)] for name in NAMES}
        for scale in (*SCALES, "theory unscaled")
    }
    return {"head_dims": list(HEAD_DIMS), "keys": 16, "measured": measured}


ONE_HOT, STEADY = ("unscaled", "largest"), ("1/√d_k", "largest")


@pytest.mark.parametrize(
    ("changes", "outcomes"),
    [
        ({}, [False, False, False, True]),
        ({ONE_HOT: 0.95}, [True, False, False, True]),
        ({("unscaled", "jacobian"): 0.2}, [False, True, False, True]),
        ({("unscaled", "query_gradient"): 0.2}, [False, False, True, True]),
        ({("unscaled", "query_gradient_median"): 0.2}, [False, False, False, True]),
        ({STEADY: 0.6}, [False, False, False, False]),
    ],
)
def test_each_finding_is_about_its_own_measure(
    changes: dict[tuple[str, str], float], outcomes: list[bool]
) -> None:
    def values(trial: Trial) -> Values:
        return random_scores(changes) if trial.condition == "drawn" else TRAINED

    assert outcomes_of(STUDY, values) == outcomes
