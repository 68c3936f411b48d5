import json

import pytest

from clearhead.studies.claims.c16_pronoun import CONDITION, STUDY
from clearhead.studies.measures.pronouns import (
    MODELS,
    SPLITS,
    pronoun_models,
)
from clearhead.studies.table import Trial, Values
from clearhead.studies.verdict import judge_samples
from tests.studies.made_up import made_up, outcomes_of, samples_of, supported

TINY = {"texts": 200, "epochs": 1, "epochs_on": 1, "fours": 3}
TRIAL = Trial(study=STUDY.name, condition=CONDITION, seed=3, settings=TINY)
KNOWING = {"at_it": 0.9, "afterwards": 0.9, "answer": 0.9, "masked": 0.4, "place": 0.9}


def values_of(**changes: float) -> Values:
    """The second head of the second layer names the referent as often as the changes require."""
    shares = KNOWING | changes

    def attention(share: float) -> Values:
        return {split: {"named": [[0.5, 0.5], [0.5, share]]} for split in SPLITS}

    def model(at_it: float, at_answer: float) -> Values:
        return {
            "known": {"place": {"unseen": shares["place"]}},
            "at_it": attention(at_it),
            "at_answer": attention(at_answer),
            "cut_at_it": {"noun": {"nothing": 1.0, "right": shares["masked"], "other": 0.95}},
        }

    return {
        "causal": model(0.5, shares["answer"]),
        "asked at it": model(shares["at_it"], 0.5),
        "asked afterwards": model(shares["afterwards"], 0.5),
        "untrained": model(0.51, 0.5),
        "untrained causal": model(0.5, 0.5),
    }


@pytest.mark.parametrize(
    ("changes", "outcomes"),
    [
        ({}, [True, True, True, True, True]),
        ({"place": 0.6}, [False, True, True, True, True]),
        ({"at_it": 0.6}, [True, False, True, True, True]),
        ({"afterwards": 0.5}, [True, True, False, True, True]),
        ({"masked": 0.93}, [True, True, True, False, True]),
        ({"answer": 0.55}, [True, True, True, True, False]),
        (
            {"at_it": 0.5, "afterwards": 0.5, "masked": 0.95, "answer": 0.5, "place": 0.5},
            [False] * 5,
        ),
    ],
)
def test_each_measure_decides_its_part(changes: dict[str, float], outcomes: list[bool]) -> None:
    assert outcomes_of(STUDY, lambda trial: values_of(**changes)) == outcomes


@pytest.mark.parametrize("failing", ["causal", "asked at it", "asked afterwards"])
def test_the_premise_is_about_the_least_accurate_trained_model(failing: str) -> None:
    def values(trial: Trial) -> Values:
        result = values_of()
        result[failing]["known"]["place"]["unseen"] = 0.625
        result["untrained"]["known"]["place"]["unseen"] = 0.25
        return result

    premise = samples_of(STUDY, made_up(STUDY, values))[0]

    assert premise.values == (0.625,) * 10
    assert not supported(premise)


@pytest.mark.parametrize(("num_failing", "outcome"), [(0, True), (1, True), (6, False)])
def test_one_seed_in_twelve_may_stay_at_chance(num_failing: int, outcome: bool) -> None:
    measured = made_up(
        STUDY, lambda trial: values_of(place=0.5 if trial.seed < 100 + num_failing else 1.0)
    )

    (premise,) = judge_samples(samples_of(STUDY, measured)[:1])

    assert (premise.outcome == "supported") == outcome


@pytest.fixture(scope="module")
def measured() -> Values:
    return STUDY.run(TRIAL)


def test_a_trial_measures_every_model_and_is_small(measured: Values) -> None:
    assert tuple(measured) == tuple(MODELS)
    assert len(json.dumps(measured, allow_nan=False)) < 20_000
    for values in measured.values():
        assert set(values["at_it"]) == set(SPLITS)
        assert len(values["at_it"]["unseen"]["named"]) == 2
        assert values["probe"].keys() == {"unseen", "unseen nouns"}


def test_a_causal_model_has_one_half_at_it(measured: Values) -> None:
    for name in ("causal", "untrained causal"):
        assert {x for row in measured[name]["at_it"]["unseen"]["named"] for x in row} == {0.5}
        assert measured[name]["cut_at_it"]["noun"]["nothing"] == 0.5


def test_bidirectional_models_start_from_the_causal_one() -> None:
    models = pronoun_models(TRIAL)
    assert [models[name].config.causal for name in MODELS] == [True, False, False, False, True]
    weights = {name: models[name].head.weight for name in MODELS}
    assert not weights["asked at it"].equal(weights["asked afterwards"])
    near = (weights["asked at it"] - weights["causal"]).norm()
    assert near < (weights["asked at it"] - weights["untrained"]).norm()
