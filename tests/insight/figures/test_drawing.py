from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from clearhead.errors import InputError
from clearhead.insight.figures.colours import weight_colour
from clearhead.insight.figures.drawing import (
    draw_picture,
    draw_signed,
    draw_weights,
    new_figure,
    save_figure,
    weight_bar,
)


def axes_of(figure: Figure) -> Axes:
    figure.set_layout_engine("none")
    return figure.add_axes((0, 0, 1, 1))


def rendered(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    return np.asarray(pixels)[..., :3].astype(int)


def test_every_cell_has_the_colour_of_its_own_weight_on_the_fixed_scale() -> None:
    figure = new_figure(3, 2)
    weights = torch.tensor([[0.0, 0.25, 1.0], [0.04, 0.01, 0.5]])
    draw_weights(axes_of(figure), weights)
    pixels = rendered(figure)
    height, width = pixels.shape[:2]
    for row in range(2):
        for column in range(3):
            middle = pixels[int((row + 0.5) * height / 2), int((column + 0.5) * width / 3)]
            colour = weight_colour(float(weights[row, column]))
            expected = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            np.testing.assert_allclose(middle, expected, atol=2)


def test_ink_stands_above_the_cells_and_is_not_blended_with_them() -> None:
    picture = torch.zeros(1, 8, 8)
    picture[0, 2:6, 2:6] = 1.0
    for weight in (0.0, 1.0):
        figure = new_figure(3, 3)
        draw_weights(axes_of(figure), torch.full((2, 2), weight), picture=picture)
        pixels = rendered(figure)
        inside = pixels[150:210, 150:210].reshape(-1, 3)
        assert (inside == 255).all()


def test_blank_cells_are_hatched() -> None:
    picture = torch.zeros(1, 8, 8)
    picture[0, :4, :4] = 1.0
    figure = new_figure(3, 3)
    axes = axes_of(figure)
    draw_weights(axes, torch.zeros(2, 2), picture=picture)
    hatched = {patch.get_xy() for patch in axes.patches if patch.get_hatch()}  # type: ignore[attr-defined]
    assert hatched == {(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)}


def test_a_photograph_is_not_drawn_over_the_map() -> None:
    figure = new_figure(3, 3)
    axes = axes_of(figure)
    draw_weights(axes, torch.zeros(2, 2), picture=torch.rand(3, 8, 8))
    assert len(axes.images) == 1


def test_the_patch_that_asks_is_framed() -> None:
    axes = axes_of(new_figure(3, 3))
    draw_weights(axes, torch.zeros(5, 3), asked_from=(4, 1))
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert {frame.get_xy() for frame in frames} == {(1, 4)}


def test_signed_numbers_share_the_scale_they_are_given() -> None:
    axes = axes_of(new_figure(3, 3))
    draw_signed(axes, torch.tensor([[-1.0, 2.0]]), limit=4.0)
    image = axes.images[0]
    assert (image.norm.vmin, image.norm.vmax) == (-4.0, 4.0)


def test_the_colour_bar_goes_from_nothing_to_all_and_marks_the_even_share() -> None:
    figure = new_figure(4, 4)
    axes = figure.subplots(1, 2)
    bar = weight_bar(figure, list(axes), 0.0625)
    assert (bar.norm.vmin, bar.norm.vmax) == (0.0, 1.0)
    assert [text.get_text() for text in bar.ax.texts] == ["even share\n6.25 %"]
    assert bar.ax.get_yticklabels()[-1].get_text() == "100 %"
    assert {tuple(line.get_ydata()) for line in bar.ax.lines} == {(0.0625, 0.0625)}  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["png", "svg", "PNG"])
def test_the_same_figure_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        figure = new_figure(2, 2)
        draw_weights(axes_of(figure), torch.eye(3), picture=torch.eye(9)[None])
        save_figure(figure, tmp_path / f"{name}.{suffix}")
    content = (tmp_path / f"one.{suffix}").read_bytes()
    assert content == (tmp_path / f"two.{suffix}").read_bytes()
    if suffix == "svg":
        assert content.startswith(b"<?xml")
    else:
        with Image.open(tmp_path / f"one.{suffix}") as picture:
            assert picture.size == (240, 240)


def test_other_kinds_of_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"written as \.png or \.svg, got figure\.pdf"):
        save_figure(new_figure(1, 1), tmp_path / "figure.pdf")


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.zeros(8, 8), "channels, height, width"),
        (torch.full((1, 8, 8), -0.4), "not normalised"),
        (torch.full((1, 8, 8), 2.8), "not normalised"),
    ],
)
def test_pictures_that_are_none_are_refused(picture: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw_picture(axes_of(new_figure(1, 1)), picture)


def test_bytes_are_drawn_as_they_are() -> None:
    axes = axes_of(new_figure(1, 1))
    draw_picture(axes, torch.tensor([[[0, 51], [255, 102]]], dtype=torch.uint8))
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), [[0, 0.2], [1, 0.4]])
