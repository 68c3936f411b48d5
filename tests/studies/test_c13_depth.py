import pytest

from clearhead.studies.claims.c13_depth import DEPTHS, STUDY
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import not_supported, part_outcomes

RISING = {
    "distance": [1.0, 1.5],
    "seen": [0.3, 0.6],
    "single": [20.0, 60.0],
    "pooled": [50.0, 90.0],
    "hubs": [0.4, 0.6],
}


def values_of(trial: Trial, changes: dict[str, list[float]]) -> Values:
    if trial.condition == "depths":
        return {str(depth): RISING | changes for depth in DEPTHS}
    if trial.condition == "shipped":
        return dict(RISING)
    return RISING | {"with_attention": 89.0, "floor": 33.0}


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, ""),
        ({"distance": [1.5, 1.55]}, "mean attention distance"),
        ({"seen": [0.6, 0.3]}, "effective receptive field"),
        ({"single": [60.0, 60.0]}, "accuracy of a probe"),
    ],
)
def test_the_change_over_the_layers_decides(changes: dict[str, list[float]], failing: str) -> None:
    found = not_supported(part_outcomes(STUDY, lambda x: values_of(x, changes)))

    assert len(found) == (2 if failing else 0)  # two depths
    assert all(name.startswith(failing) for name in found)


@pytest.mark.parametrize("condition", ["depths", "common digit", "recall"])
@pytest.mark.usefixtures("small_trainings")
def test_each_model_is_measured(condition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clearhead.studies.claims.c13_depth.PROBED", 20)
    settings = {"images": 10, "unseen": 20, "digits": 100, "steps": 1, "depths": [3]}
    settings |= {"examples": 100, "epochs": 1}

    result = STUDY.run(Trial(study=STUDY.name, condition=condition, seed=3, settings=settings))

    measured = result["3"] if condition == "depths" else result
    layers = 3 if condition == "depths" else 2
    names = ("single",) if condition == "recall" else ("distance", "hubs", "seen", "single")
    assert {len(measured[name]) for name in names} == {layers}
