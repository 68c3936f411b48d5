import pytest
import torch

from clearhead.errors import InputError
from clearhead.insight.figures.colours import WEIGHT_COLOURS, weight_norm
from clearhead.insight.figures.words import words_figure

ROWS, COLUMNS = ("it", "dog"), ("the", "dog", "sat")
ONE = torch.tensor([[0.1, 0.7, 0.2], [0.004, 0.0, 0.996]])
OTHER = torch.tensor([[0.3, 0.3, 0.4], [1.0, 0.0, 0.0]])


def test_each_panel_shows_its_numbers_under_its_name() -> None:
    figure = words_figure([("layer 1", ONE), ("layer 2", OTHER)], ROWS, COLUMNS, title="Who asks")
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == ["layer 1", "layer 2"]
    for axes, weights in zip(panels, (ONE, OTHER), strict=True):
        image = axes.images[0]
        drawn = image.get_array()
        assert drawn is not None
        assert drawn.tolist() == weights.double().tolist()
        assert image.cmap is WEIGHT_COLOURS
        assert (image.norm.vmin, image.norm.vmax) == (weight_norm().vmin, weight_norm().vmax)
        assert [label.get_text() for label in axes.get_xticklabels()] == list(COLUMNS)
    assert [label.get_text() for label in panels[0].get_yticklabels()] == list(ROWS)
    assert [label.get_text() for label in panels[1].get_yticklabels()] == ["", ""]


def test_numbers_stand_in_their_cells_in_per_cent() -> None:
    figure = words_figure([("layer 1", ONE)], ROWS, COLUMNS, title="Who asks")
    (axes,) = (axes for axes in figure.axes if axes.images)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {
        (0.5, 0.5): "10",
        (1.5, 0.5): "70",
        (2.5, 0.5): "20",
        (0.5, 1.5): "<1",
        (1.5, 1.5): "0",
        (2.5, 1.5): "100",
    }
    many = tuple(str(number) for number in range(21))
    crowded = words_figure([("a", torch.rand(21, 21))], many, many, title="Who asks")
    assert not [text for axes in crowded.axes if axes.images for text in axes.texts]


def test_shapes_that_do_not_fit_the_words_are_refused() -> None:
    with pytest.raises(InputError, match="2 rows and 3 columns"):
        words_figure([("layer 1", ONE.T)], ROWS, COLUMNS, title="")
    with pytest.raises(InputError, match="each panel"):
        words_figure([], ROWS, COLUMNS, title="")
