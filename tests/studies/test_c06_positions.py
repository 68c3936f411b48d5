import pytest

from clearhead.studies.claims.c06_positions import STUDY
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import outcomes_of

# Condition, rate and measure; all others are as in `EXPECTED`.
Changes = dict[tuple[str, str, str], float]
EXPECTED = {"accuracy": 0.95, "shuffled": 0.4}
FINDINGS = (  # after the check of the formula
    *("usual, learned", "usual, learned, order", "usual, sine", "usual, sine, order"),
    *("low, learned", "low, learned, order", "low, sine", "low, sine, order"),
)


def outcomes(changes: Changes, *, error: float = 1e-15, budget: Budget = "full") -> list[bool]:
    def values(trial: Trial) -> Values:
        if trial.condition == "layers":
            return {"error": error, "error_with_positions": 0.4}
        rate = trial.settings["rate"]
        expected = EXPECTED if trial.condition != "none" else dict.fromkeys(EXPECTED, 0.8)
        numbers = {x: changes.get((trial.condition, rate, x), expected[x]) for x in expected}
        return numbers | {"error": 1e-15}

    return outcomes_of(STUDY, values, budget=budget)


@pytest.mark.parametrize(
    ("changes", "contradicted"),
    [
        ({}, ()),
        ({("none", "usual rate", "accuracy"): 0.949}, ("usual, learned", "usual, sine")),
        ({("none", "low rate", "accuracy"): 0.949}, ("low, learned", "low, sine")),
        ({("learned", "usual rate", "shuffled"): 0.95}, ("usual, learned, order",)),
        ({("learned", "low rate", "shuffled"): 0.95}, ("low, learned, order",)),
        ({("sine-cosine", "usual rate", "shuffled"): 0.95}, ("usual, sine, order",)),
        ({("sine-cosine", "low rate", "shuffled"): 0.95}, ("low, sine, order",)),
        ({("sine-cosine", "low rate", "accuracy"): 0.81}, ("low, sine",)),
    ],
)
def test_each_finding_is_about_its_own_rate_and_positions(
    changes: Changes, contradicted: tuple[str, ...]
) -> None:
    assert outcomes(changes) == [True, *(x not in contradicted for x in FINDINGS)]


def test_outputs_that_do_not_permute_contradict_the_claim() -> None:
    assert outcomes({}, error=1e-9, budget="quick") == [False] + [True] * 8
