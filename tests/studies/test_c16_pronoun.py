import json

import pytest
import torch

from clearhead.data import vocabulary
from clearhead.models.config import TextConfig
from clearhead.studies._unconverted import Comparison
from clearhead.studies.claims import c16_pronoun as c16
from clearhead.studies.measures.pronouns import _untrained, sentence_models
from clearhead.studies.table import Outcome, Trial, Values
from clearhead.studies.verdict import judge_evidence

TINY = {"texts": 200, "epochs": 1, "epochs_on": 1, "fours": 3}


def made_up(
    *,
    at_it: float = 0.9,
    afterwards: float = 0.9,
    answer: float = 0.9,
    cut: float = 0.4,
    place: float = 0.9,
) -> list[Outcome]:
    """Heads that name the noun so often; the second head of the second layer is the best one."""

    def attention(share: float) -> Values:
        named = [[0.5, 0.5], [0.5, share]]
        return {
            pairs: {"right": named, "other": named, "named": named}
            for pairs in ("seen", "unseen", "unseen nouns")
        }

    def model(at: float, answering: float) -> Values:
        shares = {"nothing": 1.0, "right": cut, "other": 0.95}
        known, placed = (
            dict.fromkeys(("seen", "unseen", "unseen nouns"), share) for share in (0.9, place)
        )
        return {
            "known": {"noun": known, "place": placed},
            "probe": {"unseen": 0.8, "unseen nouns": 0.6},
            "at_it": attention(at),
            "at_answer": attention(answering),
            "cut_at_it": {"noun": shares, "place": shares},
            "cut_answer": shares,
            "certainty": {"decided": 0.97, "undecided": 0.6},
        }

    values: Values = {
        "causal": model(0.5, answer),
        "asked at it": model(at_it, 0.5),
        "asked afterwards": model(afterwards, 0.5),
        "untrained": model(0.51, 0.5),
        "untrained causal": model(0.5, 0.5),
    }
    return [
        Outcome(trial=Trial(study="pronoun", condition=c16.ARM, seed=seed), values=values)
        for seed in range(12)
    ]


def as_claimed(outcomes: list[Outcome]) -> list[bool]:
    found = c16.evidence(outcomes)
    assert all(isinstance(one, Comparison) and one.expects == "more" for one in found)
    return [
        all(x >= one.margin for x in one.differences)
        for one in found
        if isinstance(one, Comparison)
    ]


def test_each_piece_of_evidence_stands_for_its_own_measure() -> None:
    assert as_claimed(made_up()) == [True, True, True, True, True]
    assert as_claimed(made_up(place=0.6)) == [False, True, True, True, True]
    assert as_claimed(made_up(at_it=0.6)) == [True, False, True, True, True]
    assert as_claimed(made_up(afterwards=0.5)) == [True, True, False, True, True]
    assert as_claimed(made_up(cut=0.93)) == [True, True, True, False, True]
    assert as_claimed(made_up(answer=0.55)) == [True, True, True, True, False]
    nothing = made_up(at_it=0.5, afterwards=0.5, cut=0.95, answer=0.5, place=0.5)
    assert as_claimed(nothing) == [False] * 5


@pytest.mark.parametrize("failing", ["causal", "asked at it", "asked afterwards"])
def test_the_premise_is_about_that_trained_model_that_knows_least(failing: str) -> None:
    outcomes = [
        Outcome(trial=one.trial, values=json.loads(json.dumps(one.values))) for one in made_up()
    ]
    for one in outcomes:
        one.values[failing]["known"]["place"]["unseen"] = 0.625
        one.values["untrained"]["known"]["place"]["unseen"] = 0.25
    premise = c16.evidence(outcomes)[0]
    assert isinstance(premise, Comparison)
    assert premise.differences == (0.125,) * 12
    assert not as_claimed(outcomes)[0]


@pytest.mark.parametrize(("unknowing", "outcome"), [(0, "supported"), (1, "supported")])
def test_one_seed_in_twelve_may_stay_at_chance(unknowing: int, outcome: str) -> None:
    outcomes = made_up(place=1.0)[unknowing:] + made_up(place=0.5)[:unknowing]
    found = judge_evidence({"pronoun": c16.evidence(outcomes)})["pronoun"].findings[0]
    assert found.outcome == outcome


def test_models_half_of_which_are_at_chance_do_not_bear_the_premise() -> None:
    outcomes = made_up(place=1.0)[6:] + made_up(place=0.5)[:6]
    found = judge_evidence({"pronoun": c16.evidence(outcomes)})["pronoun"].findings[0]
    assert found.outcome != "supported"


def test_the_head_is_chosen_where_it_is_not_measured() -> None:
    attention = {
        "seen": {"named": [[0.2, 0.7], [0.6, 0.1]]},
        "unseen": {"named": [[0.3, 0.4], [1.0, 0.9]]},
    }
    assert c16.chosen_head(attention) == (0, 1)
    outcome = Outcome(
        trial=Trial(study="pronoun", condition=c16.ARM, seed=0),
        values={"some": {"at_it": attention}},
    )
    assert c16.named_by_attention(outcome, "some") == 0.4


def test_trials_are_one_a_seed() -> None:
    for budget in ("quick", "full"):
        found = c16.trials(budget, range(100, 112))
        assert [trial.seed for trial in found] == list(range(100, 112))
        assert len({trial.name for trial in found}) == 12
        assert {trial.study for trial in found} == {c16.STUDY.name}


@pytest.fixture(scope="module")
def measured() -> Values:
    return c16.run(Trial(study="pronoun", condition=c16.ARM, seed=3, settings=TINY))


def test_a_trial_measures_every_model_and_is_small(measured: Values) -> None:
    assert tuple(measured) == c16.MODELS
    text = json.dumps(measured, allow_nan=False)
    assert len(text) < 20_000
    for values in measured.values():
        assert set(values["at_it"]) == set(c16.PAIRS)
        assert len(values["at_it"]["unseen"]["named"]) == 2
        assert values["probe"].keys() == {"unseen", "unseen nouns"}


def test_the_same_trial_gives_the_same_values(measured: Values) -> None:
    torch.manual_seed(99)  # of torch's own generator nothing is taken
    assert c16.run(Trial(study="pronoun", condition=c16.ARM, seed=3, settings=TINY)) == measured


def test_what_a_causal_model_cannot_know_at_it_comes_out_as_half(measured: Values) -> None:
    for name in ("causal", "untrained causal"):
        assert {x for row in measured[name]["at_it"]["unseen"]["named"] for x in row} == {0.5}
        assert measured[name]["cut_at_it"]["noun"]["nothing"] == 0.5


def test_both_directions_go_on_from_the_causal_model_and_differ_in_the_question_alone() -> None:
    trial = Trial(study="pronoun", condition=c16.ARM, seed=3, settings=TINY)
    models = sentence_models(trial)
    assert [models[name].config.causal for name in c16.MODELS] == [True, False, False, False, True]
    weights = {name: models[name].head.weight for name in c16.MODELS}
    assert not weights["asked at it"].equal(weights["asked afterwards"])
    near = (weights["asked at it"] - weights["causal"]).norm()
    assert near < (weights["asked at it"] - weights["untrained"]).norm()


def test_a_null_study_finds_no_difference() -> None:
    """Untrained models in the trained ones' place: no evidence comes near its margin."""
    outcomes = []
    config = TextConfig(vocabulary=vocabulary())
    for seed in range(3):
        trial = Trial(study="pronoun", condition=c16.ARM, seed=seed, settings={**TINY, "fours": 25})
        fresh, other = (
            c16.measured(_untrained(config, start), 25, seed) for start in (seed, 50 + seed)
        )
        values = dict.fromkeys(("causal", "asked at it", "asked afterwards"), other)
        values |= dict.fromkeys(("untrained", "untrained causal"), fresh)
        outcomes.append(Outcome(trial=trial, values=values))
    for one in c16.evidence(outcomes):
        assert isinstance(one, Comparison)
        assert abs(sum(one.differences) / 3) < one.margin / 2


def test_sentences_and_figure_say_what_was_measured() -> None:
    outcomes = made_up(at_it=0.87, afterwards=0.62, cut=0.41)
    first, second, third = c16.sentences_of(outcomes)
    assert "105 words" in first
    assert "90%" in first
    assert "(0 of 36 models know it in 95% or more)" in first
    assert "87% of the sentences in the model asked there, 62% in the one asked after" in second
    assert "51% in an untrained one" in second
    assert "right in 41% instead of 100% (95% cut off from the other one: by 54 to 54" in third
    drawn = c16.figure(outcomes)
    assert [axes.get_ylabel() for axes in drawn.axes] == ["share of the sentences (%)"] * 3


def test_cuts_that_matter_to_a_few_models_alone_are_told_by_their_range_and_median() -> None:
    outcomes = made_up(cut=0.9, place=1.0)[2:] + made_up(cut=0.1, place=0.5)[:2]
    first, _, third = c16.sentences_of(outcomes)
    assert "(30 of 36 models know it in 95% or more)" in first
    assert "by 5 to 85 points more, median 5)" in third


def test_the_study_is_complete() -> None:
    study = c16.STUDY
    assert (study.name, study.claim, study.seeds["full"]) == ("pronoun", "C16", 12)
    assert "105 words" in study.conditions
    assert study.evidence is c16.evidence
