from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clearhead.errors import InputError
from clearhead.insight import plots
from clearhead.studies._panels import Curves, Image, Points, draw_findings
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
        bound("far below", "points", A, high=-7.0),
    )
    findings = judge_samples(
        [replace(x, values=(1.9, 2.0, 2.1, 2.0, 1.9, 2.1)) for x in hypotheses]
    )

    figure = draw_findings(findings)

    shaded = []
    for axes, finding in zip(figure.axes, findings, strict=True):
        assert axes.get_title(loc="left") == f"{finding.name} (points)"
        interval, mean = (np.asarray(x.get_xdata()).tolist() for x in axes.get_lines()[1:])
        assert interval == list(finding.interval or ())
        assert mean == [pytest.approx(2.0)]
        (patch,) = axes.patches
        shaded.append(patch.get_extents().transformed(axes.transData.inverted()).intervalx)
        low, high = axes.get_xlim()
        ends = [x for x in (finding.low, finding.high) if x is not None]
        assert low < min(0.0, *interval, *ends) < max(0.0, *interval, *ends) < high
        colour = {"supported": plots.VALUE, "contradicted": plots.KEY}[finding.outcome]
        assert {line.get_color() for line in axes.get_lines()[1:]} == {colour}
    assert shaded[0] == pytest.approx((0.5, figure.axes[0].get_xlim()[1]))
    assert shaded[1] == pytest.approx((-0.25, 0.25))
    assert {x.outcome for x in findings} == {"supported", "contradicted"}
    assert shaded[2] == pytest.approx((figure.axes[2].get_xlim()[0], 3.0))


def test_a_comparison_that_was_not_measured_cannot_be_drawn() -> None:
    hypothesis = difference("more", "points", A, B, margin=0.5)
    with pytest.raises(InputError, match="more: expected an estimate"):
        draw_findings(judge_samples([hypothesis]))


def rows(**values: Any) -> Table:
    """Two seeds of two conditions and two sizes; the values are times 1, 2, 3 and so on."""
    cells = [(x, size, seed) for x in "ab" for size in (4, 16) for seed in (1, 2)]
    return Table(
        Outcome(
            trial=Trial(study="toy", condition=x, seed=seed, settings={"size": size}),
            values={name: (np.array(value) * factor).tolist() for name, value in values.items()},
        )
        for factor, (x, size, seed) in enumerate(cells, start=1)
    )


def drawn(axes: Axes, marker: str) -> list[tuple[list[float], list[float]]]:
    """The points of single trials, which have a marker, or the means, which have none."""
    lines = (x for x in axes.get_lines() if x.get_marker() == marker)
    return [(np.asarray(x.get_xdata()).tolist(), np.asarray(x.get_ydata()).tolist()) for x in lines]


def test_points_are_scaled_values_over_a_setting_and_lines_their_means() -> None:
    axes = Figure().subplots()
    options: Any = {"scale": 100, "xscale": "log2", "yscale": "log", "ylim": (1, 2000)}
    panel = Points("score", "score (%)", x="size", lines={50: "chance"}, **options)
    panel.draw(axes, STUDY, rows(score=0.5))
    points = [([4], [50.0]), ([4], [100.0]), ([16], [150.0]), ([16], [200.0])]
    points += [([4], [250.0]), ([4], [300.0]), ([16], [350.0]), ([16], [400.0])]
    assert [
        ([x], [y]) for xs, ys in drawn(axes, "o") for x, y in zip(xs, ys, strict=True)
    ] == points
    first, second, chance = drawn(axes, "None")
    assert (first, second) == (([4, 16], [75.0, 175.0]), ([4, 16], [275.0, 375.0]))
    assert chance[1] == [50, 50]
    assert all(line.get_visible() for line in axes.get_lines())
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylim()) == ("log", "log", (1, 2000))
    legend = axes.get_legend()
    assert legend is not None
    assert {x.get_text() for x in legend.get_texts()} == {"a", "b", "chance"}


def test_curves_are_scaled_lists_from_1_on_and_images_means_over_trials() -> None:
    table = rows(layers=[0.25, 0.5, 0.75], picture=[[0.0, 1.0], [2.0, 3.0]])
    figure = Figure()
    first, second = figure.subplots(2)
    Curves("layers", "share (%)", scale=100, conditions=("a",)).draw(first, STUDY, table)
    assert drawn(first, "o")[3] == ([1, 2, 3], [100, 200, 300])
    assert drawn(first, "None") == [([1, 2, 3], [62.5, 125, 187.5])]
    Image(Cell("b", "picture"), "picture").draw(second, STUDY, table)
    (image,) = second.images
    assert np.asarray(image.get_array()).tolist() == [[0, 6.5], [13, 19.5]]


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
