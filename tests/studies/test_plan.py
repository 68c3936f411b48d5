"""The plan of a study: seeds and the smallest effect that each hypothesis can find."""

import json
from dataclasses import asdict, replace

import pytest

from clearhead.studies.claims.c08_number_of_heads import STUDY as HEADS
from clearhead.studies.claims.c16_pronoun import STUDY as PRONOUN
from clearhead.studies.registration import plan_study
from clearhead.studies.stats import smallest_effect
from clearhead.studies.verdict import LEVEL


def test_seeds_and_distances_follow_from_grid_and_family() -> None:
    better, same, *_ = plan_study(HEADS, "full")
    assert (better.seeds, better.low, better.high) == (12, 0.5, None)
    assert (same.kind, same.low, same.high) == ("equivalence", -0.5, 0.5)
    assert better.distance_in_sd == smallest_effect(12, LEVEL / 4)
    quick = (x for x in plan_study(HEADS, "quick") if x.kind != "estimate")
    assert {(x.decides, x.distance_in_sd) for x in quick} == {(True, None)}
    assert json.loads(json.dumps([asdict(x) for x in plan_study(HEADS, "quick")]))


def test_a_premise_is_planned_outside_of_the_family() -> None:
    premise, hypothesis, *_ = plan_study(PRONOUN, "full")
    assert premise.distance_in_sd == smallest_effect(10, LEVEL)
    assert hypothesis.distance_in_sd == smallest_effect(10, LEVEL / 4)


def test_a_known_spread_gives_the_distance_in_its_unit() -> None:
    (part, *_) = HEADS.parts
    (hypothesis,) = part.hypotheses
    known = replace(part, hypotheses=(replace(hypothesis, spread=0.6),))
    (planned,) = plan_study(replace(HEADS, parts=(known,), literature=()), "full")
    assert planned.distance == pytest.approx(0.6 * smallest_effect(12, LEVEL))


def test_a_spread_of_an_earlier_run_is_used_where_none_is_declared() -> None:
    names = [f"{task}: 4 heads, against 1" for task in ("common digit", "recall")]
    plan = {
        x.name: x for x in plan_study(HEADS, "full", {names[0]: 0.6, "8 heads, against 1": 9.0})
    }
    assert plan[names[0]].distance == pytest.approx(0.6 * smallest_effect(12, LEVEL / 4))
    assert plan[names[1]].distance is None
    assert plan["8 heads, against 1"].distance == pytest.approx(
        0.5 * smallest_effect(12, LEVEL / 4)
    )
