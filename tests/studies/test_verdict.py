"""The rules, on evidence whose verdict is known."""

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest

from clearhead.studies.study import CheckData, ComparisonData
from clearhead.studies.table import Series
from clearhead.studies.verdict import Finding, Verdict, judge_evidence


def comparison(
    mean: float,
    *,
    n: int = 12,
    spread: float = 0.1,
    margin: float = 1.0,
    expects: Literal["more", "equal"] = "more",
) -> ComparisonData:
    """Differences symmetric about `mean`, so that its mean is known."""
    offsets = np.linspace(-spread, spread, n)
    return ComparisonData(
        name="first minus second",
        unit="points",
        first=series((7.0 + mean + offsets).tolist()),
        second=series((7.0,) * n),
        margin=margin,
        expects=expects,
    )


def series(values: Sequence[float]) -> Series:
    return Series(tuple(range(len(values))), tuple(values))


def verdict_of(*evidence: ComparisonData | CheckData) -> Verdict:
    return judge_evidence({"study": evidence})["study"]


def finding(evidence: ComparisonData | CheckData) -> Finding:
    return verdict_of(evidence).findings[0]


@pytest.mark.parametrize(
    ("mean", "outcome", "seen"),
    [
        (2.0, "supported", "more"),
        (1.06, "supported", "more"),
        (1.02, "undecided", "more"),  # the mean is above the margin, the interval's low end below
        (0.98, "undecided", "more"),
        (0.4, "contradicted", "more, by less than the margin"),
        (0.02, "contradicted", "no difference"),
        (0.0, "contradicted", "no difference"),
        (-0.02, "contradicted", "no difference"),
        (-0.4, "contradicted", "less, by less than the margin"),
        (-0.98, "contradicted", "less"),
        (-3.0, "contradicted", "less"),
    ],
)
def test_more_is_judged_by_the_interval(mean: float, outcome: str, seen: str) -> None:
    result = finding(comparison(mean))
    assert (result.outcome, result.seen) == (outcome, seen)
    assert result.estimate == pytest.approx(mean)
    assert result.interval is not None
    assert result.interval[0] < mean < result.interval[1]
    assert (result.low, result.high) == (1.0, None)


@pytest.mark.parametrize(
    ("mean", "outcome", "seen"),
    [
        (0.02, "supported", "no difference"),
        (0.5, "supported", "more, by less than the margin"),
        (-0.5, "supported", "less, by less than the margin"),
        (1.0, "undecided", "more"),
        (1.5, "contradicted", "more"),
        (-1.5, "contradicted", "less"),
    ],
)
def test_equal_is_judged_by_the_interval(mean: float, outcome: str, seen: str) -> None:
    result = finding(comparison(mean, expects="equal"))
    assert (result.outcome, result.seen) == (outcome, seen)
    assert (result.low, result.high) == (-1.0, 1.0)


def test_noise_is_undecided() -> None:
    result = finding(comparison(1.2, spread=9.0))
    assert (result.outcome, result.seen) == ("undecided", "unclear")
    assert finding(comparison(0.0, spread=9.0, expects="equal")).outcome == "undecided"


def test_support_and_contradiction_need_the_same_distance_from_the_margin() -> None:
    above, below = (finding(comparison(1 + sign * 0.2, spread=0.1)) for sign in (1, -1))
    assert (above.outcome, below.outcome) == ("supported", "contradicted")
    above, below = (finding(comparison(1 + sign * 0.2, spread=0.6)) for sign in (1, -1))
    assert above.adjusted_p is not None
    assert above.adjusted_p < 0.05  # and yet the interval has the margin in it
    assert (above.outcome, below.outcome) == ("undecided", "undecided")


def test_equal_conditions_show_no_difference() -> None:
    scores = tuple(np.random.default_rng(0).normal(90, 2, 12).tolist())
    same = ComparisonData(
        name="a − a", unit="%", first=series(scores), second=series(scores), margin=0.5
    )
    result = finding(same)
    assert (result.seen, result.outcome) == ("no difference", "contradicted")
    assert (result.estimate, result.interval, result.p) == (0.0, (0.0, 0.0), 1.0)
    assert result.effect_size is None
    assert verdict_of(same).outcome == "contradicted"


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("expects", ["more", "equal"])
def test_fewer_than_three_pairs_are_undecided(n: int, expects: Literal["more", "equal"]) -> None:
    far = comparison(50.0, n=n, spread=0.0, expects=expects)
    near = comparison(0.0, n=n, spread=0.0, expects=expects)
    assert verdict_of(far).outcome == verdict_of(near).outcome == "undecided"


def test_few_seeds_cannot_support_a_claim() -> None:
    assert finding(comparison(5.0, n=5)).p == pytest.approx(2 / 2**5)
    assert finding(comparison(5.0, n=5)).outcome == "undecided"
    assert finding(comparison(5.0, n=6)).outcome == "supported"


def test_p_values_are_adjusted_over_all_studies_together() -> None:
    strong = {f"study {k}": (comparison(5.0, n=8),) for k in range(5)}
    verdicts = judge_evidence(strong | {"weak": (comparison(0.0), comparison(0.0))})
    for name in strong:
        assert verdicts[name].family == 7
        result = verdicts[name].findings[0]
        assert result.p == pytest.approx(2 / 2**8)
        assert result.adjusted_p == pytest.approx(7 * 2 / 2**8)
        assert result.outcome == "undecided"
    assert judge_evidence({"alone": (comparison(5.0, n=8),)})["alone"].outcome == "supported"


def test_checks_are_not_part_of_the_family() -> None:
    check = CheckData(name="rows", unit="", values=(0.0, 0.0), low=0, high=1)
    assert verdict_of(comparison(5.0), check, check).family == 1


@pytest.mark.parametrize(
    ("values", "outcome", "seen"),
    [
        ((0.0, 0.5, 1.0), "supported", "within"),
        ((0.0, 1.1), "contradicted", "1 of 2 outside"),
        ((0.0, math.nan), "contradicted", "1 of 2 outside"),
        ((0.0, math.inf), "contradicted", "1 of 2 outside"),
        ((0.5,), "undecided", "within"),
        ((7.0,), "undecided", "1 of 1 outside"),
        ((), "undecided", "within"),
    ],
)
def test_a_check_judges_every_value(values: tuple[float, ...], outcome: str, seen: str) -> None:
    result = finding(CheckData(name="sum", unit="", values=values, low=0.0, high=1.0))
    assert (result.outcome, result.seen) == (outcome, seen)


def test_a_check_may_have_one_bound() -> None:
    result = finding(CheckData(name="error", unit="", values=(3.0, -9e9), high=5.0))
    assert (result.outcome, result.low, result.high) == ("supported", None, 5.0)
    assert result.interval == (-9e9, 3.0)


YES, NO, OPEN = comparison(5.0), comparison(0.0), comparison(0.0, n=2)


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        ((YES, YES), "supported"),
        ((NO, NO), "contradicted"),
        ((YES, NO), "mixed"),
        ((YES, NO, OPEN), "mixed"),
        ((YES, OPEN), "undecided"),
        ((NO, OPEN), "undecided"),
        ((OPEN,), "undecided"),
        ((), "undecided"),
    ],
)
def test_the_verdict_follows_from_all_evidence(evidence: Any, outcome: str) -> None:
    assert verdict_of(*evidence).outcome == outcome


def test_nan_is_undecided() -> None:
    broken = ComparisonData(
        name="",
        unit="",
        first=series((1.0, math.nan, 2.0, 3.0)),
        second=series((0.0,) * 4),
        margin=1,
    )
    result = finding(broken)
    assert (result.outcome, result.seen, result.estimate) == ("undecided", "unclear", None)


def test_a_verdict_converts_to_json_types() -> None:
    check = CheckData(name="", unit="", values=(0.0, math.nan))
    verdict = verdict_of(YES, OPEN, comparison(1.0, n=1), check)
    again = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert again["findings"][0]["outcome"] == "supported"
