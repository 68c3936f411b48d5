import numpy as np
from matplotlib.figure import Figure

from clearhead.studies._panels import Curves, draw_differences
from clearhead.studies.claims.c01_score_variance import STUDY
from clearhead.studies.study import ComparisonData
from clearhead.studies.table import Outcome, Series, Table, Trial


def test_every_seed_has_a_point_at_its_difference_between_dotted_margins() -> None:
    more = ComparisonData(
        name="more",
        unit="points",
        first=Series((1, 2), (3.0, 5.0)),
        second=Series((1, 2), (1.0, 1.0)),
        margin=0.5,
    )
    equal = ComparisonData(
        name="equal",
        unit="points",
        first=Series((1,), (1.0,)),
        second=Series((1,), (2.0,)),
        margin=0.25,
        expects="equal",
    )
    axes = Figure().subplots()

    draw_differences(axes, [more, equal], "points")

    lines = [list(line.get_xdata()) for line in axes.get_lines()]  # type: ignore[arg-type]
    assert lines[1:] == [
        [2.0, 4.0],
        [3.0, 3.0],
        [0.5, 0.5],
        [-1.0],
        [-1.0, -1.0],
        [0.25, 0.25],
        [-0.25, -0.25],
    ]
    assert [text.get_text() for text in axes.texts] == ["more", "equal"]


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
