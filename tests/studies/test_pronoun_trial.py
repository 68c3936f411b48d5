import json

import pytest

from clearhead.studies.claims.c16_pronoun import CONDITION, STUDY
from clearhead.studies.measures.pronouns import (
    MODELS,
    SPLITS,
    pronoun_models,
)
from clearhead.studies.table import Trial, Values

TINY = {"texts": 200, "epochs": 1, "epochs_on": 1, "fours": 3}
TRIAL = Trial(study=STUDY.name, condition=CONDITION, seed=3, settings=TINY)


@pytest.fixture(scope="module")
def measured() -> Values:
    return STUDY.run(TRIAL)


def test_a_trial_measures_every_model_and_is_small(measured: Values) -> None:
    assert tuple(measured) == tuple(MODELS)
    assert len(json.dumps(measured, allow_nan=False)) < 20_000
    for values in measured.values():
        assert set(values["at_it"]) == set(SPLITS)
        assert len(values["at_it"]["unseen"]["named"]) == 2


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
