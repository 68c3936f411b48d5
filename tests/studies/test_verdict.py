"""The rule: known samples, simulated reports, planted faults, and another implementation."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from clearhead.studies import hypotheses as declare
from clearhead.studies.hypotheses import Hypothesis
from clearhead.studies.stats import holm, inside_p, outside_p
from clearhead.studies.study import Grid, Part, Study
from clearhead.studies.table import Cell, Outcome, Table, Trial
from clearhead.studies.verdict import LEVEL, Finding, Verdict, judge_samples, judge_study
from tests.marks import slow_after

FIRST, SECOND = Cell("first", "score"), Cell("second", "score")
SIDES: dict[str, Any] = {"unit": "1", "first": FIRST, "second": SECOND, "margin": 1.0}
difference = partial(declare.difference, name="d", **SIDES)
equivalence = partial(
    declare.equivalence, name="e", unit="1", first=FIRST, second=SECOND, margin=1.0
)
non_inferiority = partial(
    declare.non_inferiority, name="n", unit="1", first=FIRST, second=SECOND, margin=1
)
bound = partial(declare.bound, name="b", unit="1", cell=FIRST)
exact = partial(declare.exact, "x", "1", FIRST, low=0.0, high=1.0)


def sample(hypothesis: Hypothesis, mean: float, *, n: int = 12, spread: float = 0.1) -> Hypothesis:
    """Differences symmetric about `mean`, so that their mean is known."""
    return replace(
        hypothesis, values=tuple(mean + x for x in np.linspace(-spread, spread, n).tolist())
    )


def judge(hypothesis: Hypothesis, mean: float, **options: Any) -> Finding:
    return judge_samples([sample(hypothesis, mean, **options)])[0]


@pytest.mark.parametrize(
    ("hypothesis", "means"),
    [
        (difference(), {2: 1, 1.06: 1, 1.02: 0, 0.98: 0, 0.94: -1, 0.0: -1, -3: -1}),
        (non_inferiority(), {2: 1, -0.94: 1, -0.98: 0, -1.02: 0, -1.06: -1, -3: -1}),
        (equivalence(), {0: 1, 0.94: 1, -0.94: 1, 0.98: 0, -1.02: 0, 1.06: -1, -1.06: -1}),
        (bound(low=1.0), {1.06: 1, 1.02: 0, 0.94: -1}),
        (bound(high=1.0), {1.06: -1, 1.02: 0, 0.94: 1}),
        (bound(low=1.0, high=2.0), {0.9: -1, 1.02: 0, 1.5: 1, 2.06: -1}),
    ],
)
def test_a_comparison_is_judged_against_the_ends_of_its_range(
    hypothesis: Hypothesis, means: dict[float, int]
) -> None:
    outcomes = {1: "supported", 0: "undecided", -1: "contradicted"}
    for mean, outcome in means.items():
        assert judge(hypothesis, mean).outcome == outcomes[outcome], mean
        assert judge(hypothesis, mean, spread=40.0).outcome == "undecided"


def test_a_comparison_is_decided_where_a_p_is_below_the_level_of_one_side() -> None:
    findings = [judge(difference(), mean, spread=0.2) for mean in np.linspace(0.9, 1.1, 41)]
    decided = {
        "supported": [x.p for x in findings],
        "contradicted": [x.p_against for x in findings],
    }
    for outcome, ps in decided.items():
        assert [x.outcome == outcome for x in findings] == [p is not None and p < 0.025 for p in ps]
        assert any(p is not None and 0.025 <= p < 0.05 for p in ps)


@pytest.mark.parametrize(
    ("mean", "note"),
    [
        (0.4, "more, by less than the margin"),
        (0.02, "no difference"),
        (-0.4, "less, by less than the margin"),
        (-3.0, "less"),
        (2.0, ""),
    ],
)
def test_what_was_seen_instead_of_a_difference_is_noted(mean: float, note: str) -> None:
    assert judge(difference(), mean).note == note


def test_no_difference_is_noted_only_where_the_interval_excludes_one_of_the_margin() -> None:
    finding = judge(difference(), -1.0, spread=2.5)
    assert finding.outcome == "contradicted"
    assert finding.interval is not None
    assert finding.interval[0] < -1 < 0 < finding.interval[1]
    assert finding.note == ""


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("hypothesis", [difference(), equivalence(), bound(high=1.0)])
def test_fewer_than_six_seeds_decide_nothing(n: int, hypothesis: Hypothesis) -> None:
    for mean in (-50.0, 0.0, 50.0):
        finding = judge(hypothesis, mean, n=n)
        assert (finding.outcome, finding.note) == ("undecided", "fewer than 6 seeds")
    assert judge(hypothesis, 0.0, n=6).outcome != "undecided"


def test_equal_conditions_show_no_difference() -> None:
    finding = judge_samples([replace(difference(), values=(0.0,) * 12)])[0]
    assert (finding.outcome, finding.note) == ("contradicted", "no difference")
    assert (finding.estimate, finding.interval, finding.p) == (0.0, (0.0, 0.0), 1.0)
    assert finding.effect_size is None


def test_an_interval_is_no_wider_than_its_unit_allows() -> None:
    values = (-28.5, *(10 * [0.0]), 0.05)
    wide, limited = judge_samples(
        replace(difference(unit=unit), values=values)
        for unit in ("1", "percentage points of accuracy")
    )
    assert wide.interval is not None
    assert limited.interval is not None
    assert wide.interval[0] < -100
    assert limited.interval == (-100.0, wide.interval[1])
    assert (wide.p, wide.p_against) == (limited.p, limited.p_against)
    large = judge(difference(unit="%"), 150.0)
    assert large.interval == pytest.approx((150.0, 150.0), abs=0.1)


def test_the_interval_of_a_share_is_not_negative() -> None:
    values = (0.49, 0.98, *(1.0,) * 8)
    share, difference_of_shares = judge_samples(
        [
            replace(declare.bound("a", "share", Cell("first", "c"), low=0.8), values=values),
            replace(difference(unit="share"), values=values),
        ]
    )
    assert share.interval == (0.0, 1.0)
    assert share.effect_size is None
    assert difference_of_shares.effect_size is not None
    assert difference_of_shares.interval is not None
    assert difference_of_shares.interval[0] < 0


def test_nan_is_undecided() -> None:
    finding = judge_samples([replace(difference(), values=(1.0, math.nan, *[2.0] * 6))])[0]
    assert (finding.outcome, finding.estimate) == ("undecided", None)


@pytest.mark.parametrize(
    ("values", "outcome", "note"),
    [
        ((0.0, 0.5, 1.0), "by construction", ""),
        ((0.0, 1.1), "contradicted", "1 of 2 outside"),
        ((0.0, math.nan), "contradicted", "1 of 2 outside"),
        ((0.0, math.inf), "contradicted", "1 of 2 outside"),
        ((0.5,), "undecided", ""),
    ],
)
def test_what_is_exact_is_checked_for_every_value(
    values: tuple[float, ...], outcome: str, note: str
) -> None:
    finding = judge_samples([replace(exact(), values=values)])[0]
    assert (finding.outcome, finding.note, finding.p) == (outcome, note, None)


def test_an_estimate_is_described() -> None:
    estimate = declare.estimate("s", "1", FIRST, SECOND)
    described, decided = judge_samples([sample(estimate, 3.0), sample(difference(), 3.0)])
    assert described.outcome == "described"
    assert described.interval is not None
    assert decided == judge(difference(), 3.0)  # an estimate is not in the family


def test_p_values_are_adjusted_over_the_claim() -> None:
    rows = np.random.default_rng(5).normal(1.9, 1.0, size=(6, 12))
    findings = judge_samples([replace(difference(), values=tuple(row)) for row in rows.tolist()])
    expected = holm(inside_p(rows, 1.0, np.inf)), holm(outside_p(rows, 1.0, np.inf))
    assert [x.p for x in findings] == pytest.approx(expected[0].tolist())
    assert [x.p_against for x in findings] == pytest.approx(expected[1].tolist())
    alone = [judge_samples([replace(difference(), values=tuple(row))])[0] for row in rows.tolist()]
    assert any(a.outcome == "supported" != b.outcome for a, b in zip(alone, findings, strict=True))
    report = judge_samples([replace(difference(), values=tuple(rows[0].tolist()))], family=50)[0]
    assert report.p == pytest.approx(min(1.0, 50 * (alone[0].p or 0)))
    (none,) = judge_samples([sample(difference(), 0.0)], family=50)
    assert none.p == 1.0


def study(*parts: Part) -> Study:
    words: dict[str, Any] = dict.fromkeys(
        ("name", "claim", "statement", "question", "conditions", "measure"), "x"
    )
    grid = (Grid(("first", "second"), lambda _: {}),)
    return Study(**words, seeds={"full": 12}, grid=grid, parts=parts)


def table(measures: dict[str, float], *, spread: float = 0.01) -> Table:
    """Means of the first condition; those of the second are 0."""
    noise = np.linspace(-spread, spread, 12).tolist()
    return Table(
        Outcome(
            trial=Trial(study="x", condition=condition, seed=seed),
            values={name: noise[seed] + mean * (condition == "first") for name, mean in values},
        )
        for condition in ("first", "second")
        for seed in range(12)
        for values in (measures.items(),)
    )


def beyond(measure: str, margin: float = 1.0) -> Hypothesis:
    first, second = (Cell(condition, measure) for condition in ("first", "second"))
    return declare.difference(measure, "1", first, second, margin=margin)


def verdict(*parts: Part, spread: float = 0.01, **means: float) -> Verdict:
    return judge_study(study(*parts), table(means, spread=spread))


YES, NO, OPEN = 5.0, 0.0, 1.0
AB = (beyond("a"), beyond("b"))


@pytest.mark.parametrize(
    ("a", "b", "outcome"),
    [
        (YES, YES, "supported"),
        (NO, NO, "contradicted"),
        (YES, NO, "mixed"),
        (YES, OPEN, "undecided"),
        (NO, OPEN, "undecided"),
        (OPEN, OPEN, "undecided"),
    ],
)
def test_parts_and_claims_combine_outcomes_alike(a: float, b: float, outcome: str) -> None:
    whole = verdict(Part("both", AB), a=a, b=b)
    assert (whole.parts[0].outcome, whole.outcome) == (outcome, outcome)
    parts = verdict(Part("one", AB[:1]), Part("two", AB[1:]), a=a, b=b)
    assert parts.outcome == outcome


def test_a_part_that_is_not_measured_leaves_the_claim_open() -> None:
    found = verdict(Part("one", AB[:1]), Part("two", AB[1:]), a=YES)
    assert [part.outcome for part in found.parts] == ["supported", "not measured"]
    assert found.outcome == "undecided"
    assert found.sentence == "Supported: one. Not measured: two."


def test_parts_are_named_by_outcome_and_premise_those_that_do_not_decide_last() -> None:
    described = Part("three", (declare.estimate("c", "1", Cell("first", "c")),))
    gated = [Part(x, AB[1:], premises=(beyond("premise"),)) for x in ("two", "four")]
    found = verdict(described, *gated, Part("one", AB[:1]), a=YES, b=YES, c=1.0, premise=NO)
    assert found.sentence == (
        "Undecided, premise not supported (premise): two; four. Supported: one. "
        "Described, without a verdict: three."
    )


def test_what_holds_by_construction_is_not_support() -> None:
    row = Part("rows", (declare.exact("rows", "1", Cell("first", "c"), low=-9, high=9),))
    assert verdict(row, c=1.0).outcome == "by construction"
    both = (row, Part("a", AB[:1]))
    assert study(*both).num_tests == verdict(*both, a=YES, c=1.0).family == 1
    assert verdict(row, Part("a", AB[:1]), a=NO, c=1.0).outcome == "contradicted"
    assert verdict(row, Part("a", AB[:1]), a=YES, c=50.0).outcome == "mixed"


@pytest.mark.parametrize(
    ("premise", "a", "outcome"),
    [
        (YES, YES, "supported"),
        (YES, NO, "contradicted"),
        (NO, YES, "undecided"),
        (NO, NO, "undecided"),
        (OPEN, NO, "undecided"),
    ],
)
def test_a_premise_must_be_supported_and_is_not_evidence(
    premise: float, a: float, outcome: str
) -> None:
    gated = Part("one", AB[:1], premises=(beyond("premise"),))
    found = verdict(gated, a=a, premise=premise)
    assert found.parts[0].outcome == outcome
    assert found.family == 1
    assert ("premise not supported (premise)" in found.sentence) == (premise != YES)
    assert found.parts[0].findings == verdict(Part("one", AB[:1]), a=a).parts[0].findings


def test_sensitivity_shows_outcomes_for_other_margins_cut_offs_and_families() -> None:
    part = Part("one", AB[:1], variants={"cut-off b": AB[1:]})
    found = judge_study(study(part, Part("two", AB[1:])), table({"a": 1.5, "b": NO}))
    assert found.parts[0].sensitivity == {
        "margins times 0.5": "supported",
        "margins times 2": "contradicted",
        "cut-off b": "contradicted",
    }
    assert "cut-off b" not in found.parts[1].sensitivity
    noisy = table({"a": 3.0, "b": NO}, spread=2.5)
    adjusted = judge_study(study(part), noisy, report_family=10_000).parts[0]
    assert adjusted.outcome == "supported"
    assert adjusted.sensitivity["adjusted over all 10000 comparisons of the report"] == "undecided"


REPORTS = 2_000


def false_shares(rows: np.ndarray, low: Any, high: Any) -> tuple[float, float]:
    """Shares of simulated claims with any support, and with any contradiction."""
    supported = holm(inside_p(rows, low, high, resamples=399)) < LEVEL
    against = holm(outside_p(rows, low, high, resamples=399)) < LEVEL
    return float(supported.any(axis=-1).mean()), float(against.any(axis=-1).mean())


@pytest.mark.parametrize("shape", slow_after(1, ["normal", "uniform"]))
def test_simulated_claims_at_their_margins_are_rarely_decided(shape: str) -> None:
    generator = np.random.default_rng(1)
    size, margins = (REPORTS, 3, 12), np.array([1.0, 0.5, 2.0])
    rows = generator.normal(size=size) if shape == "normal" else generator.uniform(-2, 2, size)
    rows += margins[:, None]
    support, against = false_shares(rows, margins, np.full(3, np.inf))
    error = 3 * math.sqrt(LEVEL * (1 - LEVEL) / REPORTS)
    assert support <= LEVEL + error
    assert against <= LEVEL + error
    equal, outside = false_shares(rows, -margins, margins)
    assert equal <= LEVEL + error
    assert outside <= LEVEL + error
