from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from clearhead.errors import InputError
from clearhead.studies._panels import Curves, draw_findings
from clearhead.studies.claims.c01_score_variance import STUDY
from clearhead.studies.hypotheses import bound, difference, equivalence
from clearhead.studies.table import Cell, Outcome, Table, Trial
from clearhead.studies.verdict import judge_samples

A, B = Cell("a", "x"), Cell("b", "x")


def test_every_comparison_has_a_row_with_interval_mean_and_predicted_range() -> None:
    hypotheses = (
        difference("more", "points", A, B, margin=0.5),
        equivalence("equal", "points", A, B, margin=0.25),
        bound("below", "points", A, high=3.0),
    )
    findings = judge_samples(
        [replace(x, values=(1.9, 2.0, 2.1, 2.0, 1.9, 2.1)) for x in hypotheses]
    )

    figure = draw_findings(findings)

    shaded = []
    for axes, finding in zip(figure.axes, findings, strict=True):
        assert axes.get_title(loc="left") == f"{finding.name} (points)"
        interval, mean = (list(line.get_xdata()) for line in axes.get_lines()[1:])  # type: ignore[arg-type]
        assert interval == list(finding.interval or ())
        assert mean == [pytest.approx(2.0)]
        (patch,) = axes.patches
        shaded.append(patch.get_extents().transformed(axes.transData.inverted()).intervalx)
        assert axes.get_xlim()[0] < 0 < axes.get_xlim()[1]
    assert shaded[0] == pytest.approx((0.5, figure.axes[0].get_xlim()[1]))
    assert shaded[1] == pytest.approx((-0.25, 0.25))
    assert shaded[2] == pytest.approx((figure.axes[2].get_xlim()[0], 3.0))


def test_a_comparison_that_was_not_measured_cannot_be_drawn() -> None:
    hypothesis = difference("more", "points", A, B, margin=0.5)
    with pytest.raises(InputError, match="more: expected an estimate"):
        draw_findings(judge_samples([hypothesis]))


def test_a_measure_with_several_curves_has_a_mean_for_each() -> None:
    table = Table(
        Outcome(
            trial=Trial(study="toy", condition="a", seed=seed),
            values={"norms": {"one": [1.0, 2.0 * seed], "two": [3.0, 4.0 * seed]}},
        )
        for seed in (1, 2)
    )
    axes = Figure().subplots()

    Curves(measure="norms", group="measure", xlabel="x", ylabel="y").draw(axes, STUDY, table)

    means = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in axes.get_lines()}
    assert means["one"] == [1.0, 3.0]
    assert means["two"] == [3.0, 6.0]
