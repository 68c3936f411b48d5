import pytest

from clearhead.studies.claims.c13_depth import STUDY
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import outcomes_of


@pytest.mark.parametrize(
    ("changes", "outcomes"),
    [
        ({}, [True, True, True]),
        ({"distance": 0.05}, [False, True, True]),
        ({"seen": 0.0}, [True, False, True]),
        ({"single": -0.3}, [True, True, False]),
    ],
)
def test_upper_layers_are_compared_with_lower_ones(
    changes: dict[str, float], outcomes: list[bool]
) -> None:
    def values(trial: Trial) -> Values:
        more = {"distance": 0.3, "seen": 0.3, "single": 0.3, "pooled": 0.3}
        if trial.condition == "trained":  # the others decide nothing
            more |= changes
        return {
            name: [0.3, 0.4, 0.5, *(x + y for x in (0.3, 0.4, 0.5))] for name, y in more.items()
        }

    assert outcomes_of(STUDY, values) == outcomes


@pytest.mark.parametrize("condition", ["trained", "shipped"])
@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_each_model_is_measured(condition: str) -> None:
    settings = {"images": 3, "unseen": 20}
    if condition == "trained":
        settings |= {"digits": 60, "epochs": 1}
    result = STUDY.run(Trial(study=STUDY.name, condition=condition, seed=3, settings=settings))

    assert {len(result[name]) for name in ("distance", "seen", "single", "pooled")} == {6}
    if condition == "shipped":
        assert result["pooled"][-1] > 0.9
