import pytest

from clearhead.insight.attribution import INK, RANDOM, RAW, ROLLOUT
from clearhead.studies.claims.c17_weights_and_influence import STUDY
from clearhead.studies.measures.influence import MAPS
from clearhead.studies.table import Table, Trial, Values
from clearhead.studies.verdict import judge_study
from tests.studies.made_up import made_up, not_supported, part_outcomes

SHOWN, BEYOND = "{} shows influence ({})", "{} shows more than ink ({})"


def values_of(trial: Trial, condition: str = "", **changes: float) -> Values:
    changes = changes if trial.condition == condition else {}
    floor = {"with_attention": 89.0, "floor": 33.0}
    if trial.condition == "recall":
        weights = {"weights": changes.get("weights", 0.6), "first": changes.get("first", 0.5)}
        return floor | weights | {"random": 0.0, "on_answer": 80.0}
    raw, rollout = changes.get("raw", 0.6), changes.get("rollout", 0.6)
    ranks = dict.fromkeys(MAPS, 0.1) | {RAW: raw, ROLLOUT: rollout, INK: 0.7, RANDOM: 0.0}
    beyond = {name: 0.1 for name in MAPS if name != INK}
    beyond |= {RAW: changes.get("beyond", 0.2), ROLLOUT: changes.get("beyond", 0.2)}
    masking = ranks | {RAW: changes.get("masking", raw)}
    return floor | {"correlation": ranks, "signed": ranks, "masking": masking, "beyond_ink": beyond}


@pytest.mark.parametrize("condition", ["digits", "common digit"])
@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, set()),
        ({"raw": 0.2}, {SHOWN.format(RAW, "")}),
        ({"rollout": -0.5}, {SHOWN.format(ROLLOUT, "")}),
        ({"beyond": 0.05}, {BEYOND.format(RAW, ""), BEYOND.format(ROLLOUT, "")}),
    ],
)
def test_weights_are_compared_with_random_numbers_and_given_the_ink(
    condition: str, changes: dict[str, float], failing: set[str]
) -> None:
    found = part_outcomes(STUDY, lambda x: values_of(x, condition, **changes))

    assert not_supported(found) == {x.replace("()", f"({condition})") for x in failing}


@pytest.mark.parametrize(
    ("changes", "failing"),
    [({"weights": 0.1}, "last"), ({"first": 0.1}, "first")],
)
def test_in_recall_each_layer_decides(changes: dict[str, float], failing: str) -> None:
    found = not_supported(part_outcomes(STUDY, lambda x: values_of(x, "recall", **changes)))

    assert len(found) == 1
    assert failing in found.pop()


def test_the_shipped_model_decides_nothing() -> None:
    assert not not_supported(part_outcomes(STUDY, lambda x: values_of(x, "shipped", raw=0.0)))


def test_the_table_shows_how_the_verdict_depends_on_the_measure_of_influence() -> None:
    measured = made_up(STUDY, lambda x: values_of(x, "digits", masking=0.1))

    part, *_ = judge_study(STUDY, Table(measured)).parts

    assert part.outcome == "supported"
    assert part.sensitivity["masking in all layers"] == "contradicted"
    assert part.sensitivity["signed Shapley values"] == "supported"
