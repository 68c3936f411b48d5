"""Figures show the numbers they are made from, on one scale; texts name layers, heads, tokens."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from clearhead.errors import InputError
from clearhead.insight.plots import (
    draw_picture,
    draw_signed,
    draw_weights,
    maps_figure,
    matrices_figure,
    multiples_bar,
    new_figure,
    query_figure,
    save_figure,
    stages_figure,
    tokens_figure,
    weight_bar,
    weight_norm,
    words_figure,
)
from clearhead.insight.tokens import Grid, Words
from clearhead.insight.weights import head_stages, query_map, weight_matrix
from clearhead.recording import Recording, capture
from tests.marks import slow_after

from .reference import oblong_images, oblong_model

GRID = Grid(5, 3, 1, ("class token",))
ROWS, COLUMNS = ("it", "dog"), ("the", "dog", "sat")
WORDS = torch.tensor([[0.1, 0.7, 0.2], [0.004, 0.0, 0.996]])


@pytest.fixture(scope="module")
def recording() -> Recording:
    with torch.no_grad(), capture() as recording:
        oblong_model("class")(oblong_images(4))
    return recording


def empty_axes() -> Axes:
    figure = new_figure(3, 2)
    figure.set_layout_engine("none")
    return figure.add_axes((0, 0, 1, 1))


def rendered(axes: Axes) -> np.ndarray:
    canvas = axes.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    return np.asarray(pixels)[..., :3].astype(int)


def panels(figure: Figure) -> list[Axes]:
    """The axes with a map, without the colour bar."""
    return [axes for axes in figure.axes if axes.images]


def numbers(axes: Axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def corners(axes: Axes) -> set[tuple[float, float]]:
    return {patch.get_xy() for patch in axes.patches}  # type: ignore[attr-defined]


def test_weights_have_a_fixed_square_root_scale_from_dark_to_bright() -> None:
    for weight, place in ((0.0, 0.0), (0.01, 0.1), (0.25, 0.5), (1.0, 1.0)):
        assert float(weight_norm()(weight)) == pytest.approx(place)
    axes = empty_axes()
    draw_weights(axes, torch.tensor([[0.0, 0.04, 0.09, 0.25, 0.5, 1.0]]))
    cells = rendered(axes)[120, 30::60]
    brightness = cells @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > 0).all()
    for cell, colour in ((cells[0], "#00224e"), (cells[-1], "#fee838")):
        np.testing.assert_allclose(cell, np.array(to_rgb(colour)) * 255, atol=2)


def test_signed_numbers_have_white_in_the_middle_and_share_the_given_limit() -> None:
    axes = empty_axes()
    draw_signed(axes, torch.tensor([[-9.0, 0.0, 3.0]]), limit=3.0)
    image = axes.images[0]
    assert (image.norm.vmin, image.norm.vmax) == (-3.0, 3.0)
    cells = rendered(axes)[120, 60::120]
    for cell, colour in zip(cells, ("#B34700", "#F7F4EF", "#0063A6"), strict=True):
        np.testing.assert_allclose(cell, np.array(to_rgb(colour)) * 255, atol=2)


def test_small_weights_can_be_drawn_as_multiples_of_the_uniform_weight() -> None:
    axes = empty_axes()
    draw_weights(axes, torch.tensor([[0.0, 0.01, 0.04]]), uniform_weight=0.02)
    np.testing.assert_allclose(numbers(axes), [[1 / 16, 0.5, 2.0]])
    bar = multiples_bar(axes.figure, [axes], 0.02)  # type: ignore[arg-type]
    assert [x.get_text() for x in bar.ax.get_yticklabels()] == ["1/16", "1/4", "1 ×", "4 ×", "16 ×"]
    assert bar.ax.get_ylabel().startswith("multiple of the uniform weight of 2 %")


def test_strokes_are_white_above_any_weight_and_background_patches_are_hatched() -> None:
    picture = torch.zeros(1, 8, 8)
    picture[0, :4, :4] = 1.0
    for weight in (0.0, 1.0):
        axes = empty_axes()
        draw_weights(axes, torch.full((2, 2), weight), picture=picture)
        assert (rendered(axes)[10:100, 70:150] == 255).all()
        hatched = {x.get_xy() for x in axes.patches if x.get_hatch()}  # type: ignore[attr-defined]
        assert hatched == {(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)}
    axes = empty_axes()
    draw_weights(axes, torch.zeros(2, 2), picture=torch.rand(3, 8, 8))
    assert len(axes.images) == 1  # a colour image is not drawn above the map


def test_the_colour_bar_goes_from_0_to_100_per_cent_and_marks_the_uniform_weight() -> None:
    figure = new_figure(4, 4)
    bar = weight_bar(figure, list(figure.subplots(1, 2)), 0.0625)
    assert (bar.norm.vmin, bar.norm.vmax) == (0.0, 1.0)
    assert [text.get_text() for text in bar.ax.texts] == ["uniform\nweight\n6.25 %"]
    assert bar.ax.get_yticklabels()[-1].get_text() == "100 %"
    assert {tuple(line.get_ydata()) for line in bar.ax.lines} == {(0.0625, 0.0625)}  # type: ignore[arg-type]


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first.png", "second.png", "first.svg", "second.svg"):
        axes = empty_axes()
        draw_weights(axes, torch.eye(3), picture=torch.eye(9)[None])
        save_figure(axes.figure, tmp_path / name)  # type: ignore[arg-type]
    for suffix in ("png", "svg"):
        content = (tmp_path / f"first.{suffix}").read_bytes()
        assert content == (tmp_path / f"second.{suffix}").read_bytes()
    assert content.startswith(b"<?xml")
    with Image.open(tmp_path / "first.png") as picture:
        assert picture.size == (360, 240)


def test_other_file_formats_and_pictures_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"written as \.png or \.svg, got figure\.pdf"):
        save_figure(new_figure(1, 1), tmp_path / "figure.pdf")
    axes = empty_axes()
    draw_picture(axes, torch.tensor([[[0, 51], [255, 102]]], dtype=torch.uint8))
    np.testing.assert_allclose(numbers(axes), [[0, 0.2], [1, 0.4]])
    for picture, message in (
        (torch.zeros(8, 8), "channels, height, width"),
        (torch.full((1, 8, 8), -0.4), "not normalised"),
        (torch.full((1, 8, 8), 2.8), "not normalised"),
    ):
        with pytest.raises(InputError, match=message):
            draw_picture(axes, picture)


@pytest.mark.parametrize(
    "draw",
    [lambda: maps_figure([]), lambda: matrices_figure([]), lambda: tokens_figure({}, Grid(2, 2))],
)
def test_a_figure_of_nothing_is_refused(draw: Callable[[], Figure]) -> None:
    with pytest.raises(InputError, match="expected"):
        draw()


def test_matrices_of_all_heads_and_layers_are_thumbnails_on_one_scale(
    recording: Recording,
) -> None:
    figure = matrices_figure([weight_matrix(x, GRID, image=3) for x in recording.records])
    drawn = panels(figure)
    assert len(drawn) == 6
    for place, axes in enumerate(drawn):
        np.testing.assert_allclose(numbers(axes), recording[place // 2].weights[3, place % 2])
        assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == (0.0, 1.0)
    assert [axes.get_ylabel() for axes in drawn[::2]] == list(recording.names)
    assert [axes.get_title() for axes in drawn[:2]] == ["head 1", "head 2"]
    mean = weight_matrix(recording[0], GRID, mean_heads=True)
    assert len(panels(matrices_figure([mean]))) == 1
    with pytest.raises(InputError, match="equally many heads, got"):
        matrices_figure([weight_matrix(torch.rand(1, heads, 3, 3), Grid(1, 3)) for heads in (2, 3)])


@pytest.mark.parametrize("size", slow_after(1, [(1, 2), (2, 4), (1, 12), (1, 1), (1, 3), (2, 1)]))
@pytest.mark.parametrize("kind", ["matrices", "maps"])
def test_no_text_of_thumbnails_is_cut_off_and_no_ticks_overlap(
    size: tuple[int, int], kind: str
) -> None:
    num_layers, heads = size
    layers = [torch.rand(1, heads, 16, 16).softmax(dim=-1) for _ in range(num_layers)]
    if kind == "matrices":
        figure = matrices_figure([weight_matrix(x, GRID) for x in layers])
    else:
        figure = maps_figure([query_map(x, 1, GRID) for x in layers])
    figure.draw_without_rendering()
    bar = figure.axes[-1]
    texts = [bar.xaxis.label, bar.yaxis.label, *bar.texts, *figure.texts]
    ticks = [*bar.get_xticklabels(), *bar.get_yticklabels()]
    boxes = [x.get_window_extent() for x in ticks if x.get_text()]
    for box in (*boxes, *(x.get_window_extent() for x in texts if x.get_text())):
        assert box.x0 >= 0 and box.y0 >= 0  # noqa: PT018, one corner
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1  # noqa: PT018
    assert len(boxes) == 7
    assert not any(one.overlaps(other) for one, other in pairwise(boxes))


def test_thumbnails_of_a_query_show_the_share_of_the_class_token(recording: Recording) -> None:
    maps = [query_map(record, GRID.token(2, 3), GRID, image=1) for record in recording.records]
    figure = maps_figure(maps)
    for place, axes in enumerate(panels(figure)):
        expected = maps[place // 2]
        np.testing.assert_allclose(numbers(axes), expected.patches[place % 2])
        share = 100 * float(expected.prefix[place % 2, 0])
        assert axes.get_xlabel() in (f"class token {share:.0f} %", "class token <1 %")
        assert corners(axes) == {(2, 1)}
    assert "patch 6 (row 2, column 3) attends to" in figure.get_suptitle()


def test_one_query_is_drawn_beside_the_model_input(recording: Recording) -> None:
    result = query_map(recording[2], GRID.token(4, 1), GRID, image=2)
    picture = torch.rand(1, 35, 33)
    figure = query_figure(result, picture=picture)
    drawn = panels(figure)
    np.testing.assert_allclose(numbers(drawn[0]), picture[0], atol=1e-6)
    for head, axes in enumerate(drawn[1:]):
        np.testing.assert_allclose(numbers(axes), result.patches[head])
        row, column = divmod(int(result.patches[head].argmax()), 3)
        assert axes.get_xlabel().startswith(f"most: row {row + 1}, column {column + 1}: ")
        assert "class token" in axes.get_xlabel()
    assert figure.get_suptitle().startswith("blocks.2.attn: what patch 10 (row 4, column 1)")


def test_without_a_picture_every_weight_is_written_in_its_cell(recording: Recording) -> None:
    result = query_map(recording[2], 0, GRID)
    axes = panels(query_figure(result))[0]
    assert len(axes.texts) == 15
    assert axes.texts[4].get_position() == (1.5, 1.5)
    share = 100 * float(result.patches[0, 1, 1])
    assert axes.texts[4].get_text() in (f"{share:.0f} %", "<1 %")
    assert not axes.patches  # neither the class token nor a word has a patch to frame
    weights = torch.rand(1, 2, 3, 15).softmax(dim=-1)
    result = query_map(weights, 1, Grid(5, 3), queries=Words(("a", "red", "ball")))
    figure = query_figure(result)
    assert "“red”" in figure.get_suptitle()
    assert not panels(figure)[0].patches


def test_maps_side_by_side_are_shares_of_their_own_sum() -> None:
    maps = {"rollout": torch.arange(16.0), "relevance": torch.ones(16) * 3, "zero": torch.zeros(16)}
    drawn = panels(tokens_figure(maps, GRID, picture=torch.rand(1, 35, 33)))
    assert [axes.get_title() for axes in drawn[1:]] == list(maps)
    np.testing.assert_allclose(numbers(drawn[1]), np.arange(1, 16).reshape(5, 3) / 120)
    np.testing.assert_allclose(numbers(drawn[2]), np.full((5, 3), 1 / 16))
    assert not numbers(drawn[3]).any()
    assert [axes.get_xlabel() for axes in drawn[1:3]] == ["class token 0 %", "class token 6 %"]
    grid = Grid(2, 3, 3, ("class token", "register 1", "register 2"))
    shares = torch.tensor([0.3, 0.2, 0.1, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0])
    axes = panels(tokens_figure({"rollout": shares}, grid))[0]
    assert axes.get_xlabel() == "class token 30 %, 2 more 30 %"
    with pytest.raises(InputError, match="relevance: expected one number, at least 0"):
        tokens_figure({"relevance": -torch.ones(16)}, GRID)


def test_matrices_of_words_have_names_numbers_and_one_scale() -> None:
    other = torch.tensor([[0.3, torch.nan, 0.4], [1.0, 0.0, 0.0]])
    figure = words_figure([("layer 1", WORDS), ("layer 2", other)], ROWS, COLUMNS, title="words")
    first, second = panels(figure)
    assert [axes.get_title() for axes in (first, second)] == ["layer 1", "layer 2"]
    for axes, weights in ((first, WORDS), (second, other)):
        np.testing.assert_array_equal(np.ma.filled(numbers(axes), np.nan), weights.double())
        assert [label.get_text() for label in axes.get_xticklabels()] == list(COLUMNS)
    assert [label.get_text() for label in first.get_yticklabels()] == list(ROWS)
    texts = [text.get_text() for text in first.texts]
    assert texts == ["10", "70", "20", "<1", "0", "100"]
    assert [text.get_text() for text in second.texts][1] == "–"
    assert corners(second) == {(1, 0)}
    many = tuple(map(str, range(21)))
    crowded = words_figure([("a", torch.rand(21, 21))], many, many, title="")
    assert not panels(crowded)[0].texts
    for wrong in ([("layer 1", WORDS.T)], []):
        with pytest.raises(InputError, match="2 rows and 3 columns"):
            words_figure(wrong, ROWS, COLUMNS, title="")


def all_texts(figure: Figure) -> str:
    parts = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        parts += [axes.get_title(), axes.get_xlabel(), *(text.get_text() for text in axes.texts)]
    return "\n".join(parts)


def test_the_diagram_shows_the_numbers_and_shapes_of_one_head(recording: Recording) -> None:
    stages = head_stages(recording[1], 14, head=1)
    figure = stages_figure(stages)
    drawn = {axes.get_title(): axes for axes in panels(figure)}
    for title, expected in {
        "Q": stages.query,
        "K": stages.key,
        "V": stages.value,
        "scores  Q Kᵀ": stages.scores,
        "scaled scores": stages.scaled,
        "weights": stages.weights,
        "context": stages.context,
        "head 1": stages.all_weights[0],
        "head 2": stages.all_weights[1],
    }.items():
        np.testing.assert_allclose(numbers(drawn[title]), expected, err_msg=title)
    scores, scaled = drawn["scores  Q Kᵀ"].images[0].norm, drawn["scaled scores"].images[0].norm
    assert scores.vmax == scaled.vmax == pytest.approx(float(stages.scores.abs().max()))
    text = all_texts(figure)
    for part in ("head 2 of 2", "tokens\n16 × 14", "16 × 7", "× 0.378", "new tokens\n16 × 14"):
        assert part in text, part
    assert "mask" not in text


def test_the_diagram_marks_a_mask_and_counts_many_heads() -> None:
    query = torch.randn(1, 11, 5, 4)
    with capture() as recording:
        torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
    figure = stages_figure(head_stages(recording[0], 44))
    assert "softmax\n+ mask" in all_texts(figure)
    assert "heads in parallel (11, 6 drawn)" in all_texts(figure)
