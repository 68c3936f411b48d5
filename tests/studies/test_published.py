"""The published verdicts, computed again from the published trials by other code."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from clearhead.studies import Finding, Table, judge, read_published

TRIALS = Path(__file__).parents[2] / "docs" / "results" / "trials.json.gz"


def bootstrap_p(differences: np.ndarray, bound: float) -> float:
    """One-sided, for a mean above `bound`: resampling row by row, and Student's t."""
    if np.ptp(differences) == 0:
        return float(differences[0] <= bound)
    n, mean = len(differences), differences.mean()
    t = (mean - bound) / (differences.std(ddof=1) / np.sqrt(n))
    drawn = np.random.default_rng(7).choice(differences, size=(20_000, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (drawn.mean(axis=1) - mean) / (drawn.std(axis=1, ddof=1) / np.sqrt(n))
    ratios = ratios[np.isfinite(ratios)]
    return max(float(stats.t.sf(t, n - 1)), float(np.mean(ratios >= t)))


def holm_steps(p_values: list[float]) -> list[float]:
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = largest
    return adjusted


def outcome_of(n: int, inside: float, outside: float) -> str:
    if n < 6:
        return "undecided"
    return "supported" if inside < 0.025 else "contradicted" if outside < 0.025 else "undecided"


@pytest.mark.slow
def test_every_published_outcome_follows_from_the_trials() -> None:
    published = json.loads(gzip.decompress(TRIALS.read_bytes()))["studies"]
    close = checked = 0
    for data, section in zip(published, judge(read_published(TRIALS)), strict=True):
        assert section.verdict is not None
        found: list[tuple[Finding, int, float, float]] = []
        for part, part_verdict in zip(data["parts"], section.verdict.parts, strict=True):
            for recorded, finding in zip(part["hypotheses"], part_verdict.findings, strict=True):
                if recorded["kind"] in ("exact", "estimate"):
                    continue
                values = np.array(recorded["first"]) - np.array(recorded["second"])
                low = -np.inf if recorded["low"] is None else recorded["low"]
                high = np.inf if recorded["high"] is None else recorded["high"]
                inside = max(bootstrap_p(values, low), bootstrap_p(-values, -high))
                outside = min(bootstrap_p(-values, -low), bootstrap_p(values, high))
                outside *= 1 + bool(np.isfinite(low) and np.isfinite(high))
                found.append((finding, len(values), inside, outside))
                assert finding.estimate == pytest.approx(values.mean(), rel=1e-9, abs=1e-12)
        for_ps, against_ps = holm_steps([x[2] for x in found]), holm_steps([x[3] for x in found])
        for (finding, n, *_), for_p, against in zip(found, for_ps, against_ps, strict=True):
            # The other resamples may move a p that is close to the level across it.
            near = any(0.6 < p / 0.025 < 1.6 for p in (for_p, against))
            assert near or finding.outcome == outcome_of(n, for_p, against), finding
            close, checked = close + near, checked + 1
    assert close <= 0.1 * checked


def reordered(values: Any) -> Any:
    """The same JSON, with the keys of every object in the opposite order."""
    if isinstance(values, dict):
        return {key: reordered(values[key]) for key in reversed(values)}
    return [reordered(x) for x in values] if isinstance(values, list) else values


@pytest.mark.slow
def test_figures_and_summaries_do_not_depend_on_the_order_of_keys() -> None:
    """Records have sorted keys, a trial that was just measured has others."""
    checked = 0
    for result in read_published(TRIALS).studies:
        study, table = result.study, Table(result.outcomes)
        for item in (*study.panels, *study.summaries):
            measure: Any = getattr(item, "measure", None)
            rows = table.having(measure).outcomes if measure else ()
            for outcome in {x.trial.condition: x for x in rows}.values():
                other = replace(outcome, values=reordered(outcome.values))
                found = json.dumps([x.measure(measure) for x in (outcome, other)])
                first, second = json.loads(found)
                assert list(first) == list(second) if isinstance(first, dict) else first == second
                checked += 1
    assert checked > 100
