from matplotlib.figure import Figure

from clearhead.studies._panels import draw_differences
from clearhead.studies.study import ComparisonData
from clearhead.studies.table import Series


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
