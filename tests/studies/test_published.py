"""The published verdicts, computed again from the published trials by other code."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from clearhead.studies import Finding, judge, read_published
from clearhead.studies.hypotheses import Comparison
from clearhead.studies.registry import find_source, load_study
from clearhead.studies.table import Cell

TRIALS = Path(__file__).parents[2] / "docs" / "results" / "trials.json.gz"


def by_seed(trials: list[dict[str, Any]], cell: Cell) -> dict[int, float]:
    """A measure of a cell's trials, without the table of the package."""
    measure = cell.measure
    found: dict[Any, dict[int, float]] = {}
    for trial in trials:
        settings = trial["settings"]
        if trial["condition"] == cell.condition and cell.settings.items() <= settings.items():
            value: Any = trial["values"]
            if callable(measure):
                value = measure(value)
            else:
                for step in (measure,) if isinstance(measure, str) else measure:
                    value = value[step]
            found.setdefault(settings.get(cell.best_of), {})[trial["seed"]] = float(value)
    return max(found.values(), key=lambda x: float(np.mean(list(x.values()))))


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
    published = json.loads(gzip.decompress(TRIALS.read_bytes()))
    trials = {study["name"]: study["trials"] for study in published["studies"]}
    close = checked = 0
    for judged in judge(read_published(TRIALS)):
        if judged.verdict is None:  # designed anew since; the next full run measures it
            continue
        study = load_study(find_source(judged.result.study.name))
        found: list[tuple[Finding, int, float, float]] = []
        for part, part_verdict in zip(study.parts, judged.verdict.parts, strict=True):
            for hypothesis, finding in zip(part.hypotheses, part_verdict.findings, strict=True):
                if not isinstance(hypothesis, Comparison) or finding.outcome in (
                    "described",
                    "not measured",
                ):
                    continue
                first, second = by_seed(trials[study.name], hypothesis.first), hypothesis.second
                if isinstance(second, Cell):
                    other = by_seed(trials[study.name], second)
                    assert first.keys() == other.keys()
                    values = np.array([first[seed] - other[seed] for seed in sorted(first)])
                else:
                    values = np.array([first[seed] for seed in sorted(first)]) - second
                low, high = hypothesis.region
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
