import pytest

from clearhead.studies.claims.c09_receptive_fields import STUDY
from clearhead.studies.table import Table, Trial, Values
from clearhead.studies.verdict import judge_study
from tests.studies.made_up import made_up, outcomes_of

FIELDS: Values = {"vit": 0.7, "reached": 1.0, "cnn": 0.9, "shipped": 0.8}


def values_of(trial: Trial, fields: Values) -> Values:
    field: Values
    rising = [0.01, 0.03, 0.1, 0.2, 0.6]
    if trial.condition.startswith("CNN"):
        field = {"reached": [*rising, 1], "seen": [*rising, fields["cnn"]]}
    else:
        first = fields["shipped" if "shipped" in trial.condition else "vit"]
        field = {"reached": [fields["reached"], 1, 1, 1, 1, 1], "seen": [first, 0.9, 1, 1, 1, 1]}
        field["distance"] = [1.2, 1.4, 1.6, 1.8, 1.9, 1.7]
        field["hubs"] = [0.3, 0.3, 0.4, 0.8, 0.9, 0.8]
    field["cut_offs"] = {"1 %": 0.9, "20 %": 0.1}
    return field | {"first_field": [[0.1] * 27 + [1.0]] * 28}


@pytest.mark.parametrize(
    ("fields", "outcomes"),
    [
        ({}, [True, True, True, True, True]),
        ({"vit": 0.06}, [True, False, True, False, True]),
        ({"reached": 0.99}, [False, True, True, True, True]),
        ({"cnn": 0.1}, [True, True, True, True, False]),
        ({"shipped": 0.06}, [True, True, False, True, True]),
    ],
)
def test_each_field_decides_its_part(fields: Values, outcomes: list[bool]) -> None:
    assert outcomes_of(STUDY, lambda trial: values_of(trial, FIELDS | fields)) == outcomes


@pytest.mark.parametrize("name", ["ViT", "CNN"])
@pytest.mark.usefixtures("mnist_test")
def test_an_untrained_model_is_measured(name: str) -> None:
    settings = {"images": 3, "unseen": 5}
    result = STUDY.run(
        Trial(study=STUDY.name, condition=f"{name} untrained", seed=3, settings=settings)
    )

    assert len(result["reached"]) == len(result["seen"]) == 6
    assert ("distance" in result) == (name == "ViT")
    assert result["reached"][0] == (1.0 if name == "ViT" else 9 / 784)


def test_the_table_of_cut_offs_shows_that_the_field_depends_on_them() -> None:
    measured = made_up(STUDY, lambda trial: values_of(trial, FIELDS))

    _, part, *_ = judge_study(STUDY, Table(measured)).parts

    assert part.outcome == "supported"
    assert part.sensitivity["cut-off 1 %"] == "supported"
    assert part.sensitivity["cut-off 20 %"] == "contradicted"
