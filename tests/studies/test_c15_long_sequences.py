from typing import Any

import pytest
import torch

from clearhead.errors import InputError
from clearhead.studies._unconverted import Check
from clearhead.studies.claims import c15_long_sequences as c15
from clearhead.studies.table import Outcome, Trial

TINY = {"lengths": (64, 128), "chain_lengths": (4, 8), "repeats": 1, "gain_length": 16, "width": 8}


def made_up(powers: dict[str, tuple[float, float, float]]) -> list[Outcome]:
    lengths = list(c15.LENGTHS["quick"])
    outcomes = []
    for arm, (time, memory, chain) in powers.items():
        for seed in (0, 1):
            values: dict[str, Any] = {
                "lengths": lengths,
                "seconds": [1e-6 * n**time * (1 + 0.01 * seed) for n in lengths],
                "bytes": [4 * n**memory for n in lengths],
                "chain_lengths": [4, 8],
                "chain": [12 * n**chain for n in (4, 8)],
                "gain": 1.5,
                "cores": 2,
            }
            trial = Trial(study="long-sequences", condition=arm, seed=seed)
            outcomes.append(Outcome(trial=trial, values=values))
    return outcomes


USUAL = {
    "explicit": (2.0, 2.0, 0.0),
    "fused": (2.0, 1.0, 0.0),
    "streamed": (1.9, 1.0, 0.0),
    "recurrent": (1.0, 1.0, 1.0),
}


def as_claimed(outcomes: list[Outcome]) -> list[bool]:
    return [
        all(one.low <= x <= one.high for x in one.values)
        for one in c15.evidence(outcomes)
        if isinstance(one, Check)
    ]


def test_exponents_are_slopes_of_log_against_log() -> None:
    lengths = [3, 7, 19, 40]
    assert c15.exponent(lengths, [5 * n**1.7 for n in lengths]) == pytest.approx(1.7)
    low, high = c15.interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)


def test_evidence_both_ways() -> None:
    assert as_claimed(made_up(USUAL)) == [True, True, False, False]
    linear = {**USUAL, "explicit": (1.0, 1.0, 0.0), "fused": (1.0, 1.0, 0.0)}
    assert as_claimed(made_up(linear)) == [True, True, True, True]
    one_by_one = {**USUAL, "explicit": (2.0, 2.0, 1.0), "streamed": (2.0, 2.0, 0.0)}
    assert as_claimed(made_up(one_by_one)) == [False, False, False, False]


@pytest.mark.parametrize("arm", c15.ARMS)
def test_each_arm_is_measured(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c15, "cores", lambda: 1)
    found = c15.run(Trial(study="long-sequences", condition=arm, seed=3, settings=TINY))
    assert found["lengths"] == [64, 128]
    assert all(x >= 0 for x in found["seconds"])
    assert found["gain"] is None
    if arm == "recurrent":
        assert found["chain"][1] > 1.8 * found["chain"][0]
    else:
        assert found["chain"][0] == found["chain"][1]
    if arm == "explicit":
        assert found["bytes"][1] > 3.5 * found["bytes"][0]


def test_all_ways_to_attend_give_the_same_context() -> None:
    x = torch.randn(1, 37, 8, generator=torch.Generator().manual_seed(1))
    contexts = [c15._layer(arm, 8)(x) for arm in ("explicit", "fused", "streamed")]
    for context in contexts[1:]:
        torch.testing.assert_close(context, contexts[0])


def test_sentences_and_figure_tell_what_was_measured() -> None:
    told = c15.sentences(made_up(USUAL))
    assert "explicit 2.00 (2.00 to 2.00)" in told[0]
    assert "streamed 1.00" in told[1]
    assert "explicit 2.0 to 2.0, fused 2.0 to 2.0, streamed 1.9 to 1.9 from one length" in told[0]
    assert "1.50 times" in told[2]
    assert len(c15.figure(made_up(USUAL)).axes) == 3


def test_slopes_from_one_length_to_the_next_tell_what_a_line_through_all_hides() -> None:
    lengths = [1, 2, 8]
    assert c15.local_slopes(lengths, [3, 12, 12]) == pytest.approx([2, 0])
    outcomes = made_up(USUAL)
    for outcome in outcomes:
        if outcome.trial.condition == "fused":
            outcome.values["bytes"] = [100, 300, 450, 900]
            outcome.values["seconds"] = [1e-4, 2e-4, 4e-4, 1e-6 * 4096**2 / 4]
    told = c15.sentences(outcomes)
    assert "fused 0.6 to 1.6, streamed 1.0 to 1.0" in told[1]
    assert "in 0.25 times the explicit time" in told[0]


def test_a_missing_arm_is_told() -> None:
    with pytest.raises(InputError, match="streamed"):
        c15.evidence([x for x in made_up(USUAL) if x.trial.condition != "streamed"])


def test_it_runs_alone_because_it_measures_time() -> None:
    assert c15.STUDY.exclusive
