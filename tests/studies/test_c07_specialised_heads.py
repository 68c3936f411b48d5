import pytest

from clearhead.insight.roles import NO_CLEAR_ROLE
from clearhead.studies.claims.c07_specialised_heads import STUDY
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import not_supported, part_outcomes

DIGITS, COMMON, RECALL = "(digits)", "(common digit)", "(recall)"


def heads(condition: str, **changes: float) -> Values:
    measures = {"entropy": [1.0, 2.0], "distance": [1.0, 1.5]}
    roles = int(changes.pop("num_roles", 4))
    found: Values = {
        "apart": 40.0,
        "apart_fresh": 5.0,
        "apart_sharp": 30.0,
        "roles": ["its own row"] * roles + [NO_CLEAR_ROLE] * (4 - roles),
        "roles_untrained": [NO_CLEAR_ROLE] * 4,
        "heads": measures,
        "heads_untrained": measures,
    }
    if condition == "recall":
        found = {"chosen": 0.8, "others": 0.1, "layer": 2}
    floor = (
        {"with_attention": 92.0, "floor": 30.0} if condition in ("common digit", "recall") else {}
    )
    accuracies = {"accuracy": 92.0, "exchanged": 60.0, "shared": 50.0, "falls": [3.0, 0.5]}
    return found | floor | accuracies | changes


@pytest.mark.parametrize(
    ("condition", "changes", "failing"),
    [
        ("small", {}, set()),
        ("small", {"apart": 32.0}, {f"… with attention as sharp {DIGITS}"}),
        ("small", {"num_roles": 0}, {f"more heads have a role {DIGITS}"}),
        ("small", {"exchanged": 91.5}, {f"it matters which head has which weights {DIGITS}"}),
        ("common digit", {"apart": 32.0}, {f"… with attention as sharp {COMMON}"}),
        (
            "recall",
            {"others": 0.75},
            {f"one head attends to the value of the queried key {RECALL}"},
        ),
        ("shipped", {"apart": 0.0, "num_roles": 0, "exchanged": 92.0}, set()),
    ],
)
def test_each_comparison_decides_its_part(
    condition: str, changes: dict[str, float], failing: set[str]
) -> None:
    def values(trial: Trial) -> Values:
        return heads(trial.condition, **(changes if trial.condition == condition else {}))

    assert not_supported(part_outcomes(STUDY, values)) == failing


@pytest.mark.usefixtures("small_trainings")
@pytest.mark.parametrize(
    "condition",
    [
        pytest.param("small", marks=pytest.mark.slow),
        pytest.param("common digit", marks=pytest.mark.slow),
        "recall",
    ],
)
def test_each_model_is_measured(condition: str) -> None:
    settings = {"images": 10, "unseen": 20, "digits": 100, "steps": 1, "examples": 100, "epochs": 1}
    trial = Trial(study=STUDY.name, condition=condition, seed=3, settings=settings)

    found = STUDY.run(trial)

    assert len(found["falls"]) == 8
    assert ("floor" in found) == (condition != "small")
    assert ("roles" in found) == (condition != "recall")
    if condition == "recall":
        assert 0 <= found["others"] <= 1
        assert 0 <= found["chosen"] <= 1
