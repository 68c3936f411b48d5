import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clearhead.errors import InputError
from clearhead.insight.figures.maps import maps_figure, matrices_figure, query_figure, tokens_figure
from clearhead.insight.maps.weights import query_map, query_maps, weight_matrices, weight_matrix
from clearhead.insight.tokens import Grid, Words
from clearhead.recording import Recording, capture

from ..plain_forward import oblong_images, oblong_model

GRID = Grid(5, 3, 1, ("class token",))


def seen_in_model() -> Recording:
    with torch.no_grad(), capture() as seen:
        oblong_model("class")(oblong_images(4))
    return seen


def panels(figure: Figure) -> list[Axes]:
    """The axes with a map, without the colour bar."""
    return [axes for axes in figure.axes if axes.images]


def shown(axes: Axes) -> np.ndarray:
    return np.asarray(axes.images[0].get_array())


def test_all_heads_of_all_layers_stand_row_by_row_on_one_scale() -> None:
    seen = seen_in_model()
    figure = matrices_figure(weight_matrices(seen, GRID), image=3)
    drawn = panels(figure)
    assert len(drawn) == 6
    for place, axes in enumerate(drawn):
        np.testing.assert_allclose(shown(axes), seen[place // 2].weights[3, place % 2])
        norm = axes.images[0].norm
        assert (norm.vmin, norm.vmax) == (0.0, 1.0)
    assert [axes.get_ylabel() for axes in drawn[::2]] == list(seen.names)
    assert [axes.get_title() for axes in drawn[:2]] == ["head 1", "head 2"]
    assert len(figure.axes) == 7


def test_maps_of_a_query_tell_what_the_class_token_got() -> None:
    seen = seen_in_model()
    maps = query_maps(seen, GRID.token(2, 3), GRID)
    figure = maps_figure(maps, image=1)
    for place, axes in enumerate(panels(figure)):
        one = maps[place // 2]
        np.testing.assert_allclose(shown(axes), one.patches[1, place % 2])
        share = 100 * float(one.prefix[1, place % 2, 0])
        assert axes.get_xlabel() in (f"class token {share:.0f} %", "class token <1 %")
        assert {patch.get_xy() for patch in axes.patches} == {(2, 1)}  # type: ignore[attr-defined]
    assert figure.get_suptitle().startswith("Whom the patch at row 2, column 3 asks")


def test_one_query_is_drawn_beside_what_the_model_saw() -> None:
    one = query_map(seen_in_model()[2], GRID.token(4, 1), GRID)
    picture = torch.rand(1, 35, 33)
    figure = query_figure(one, image=2, picture=picture)
    drawn = panels(figure)
    np.testing.assert_allclose(shown(drawn[0]), picture[0], atol=1e-6)
    for head, axes in enumerate(drawn[1:]):
        np.testing.assert_allclose(shown(axes), one.patches[2, head])
        row, column = divmod(int(one.patches[2, head].argmax()), 3)
        assert axes.get_xlabel().startswith(f"most: row {row + 1}, column {column + 1}: ")
        assert "class token" in axes.get_xlabel()
    assert figure.get_suptitle() == "blocks.2.attn: whom the patch at row 4, column 1 asks"


def test_without_ink_every_share_stands_in_its_cell() -> None:
    one = query_map(seen_in_model()[2], 0, GRID)
    axes = panels(query_figure(one))[0]
    assert len(axes.texts) == 15
    assert axes.texts[4].get_position() == (1.5, 1.5)
    share = 100 * float(one.patches[0, 0, 1, 1])
    assert axes.texts[4].get_text() in (f"{share:.0f} %", "<1 %")
    assert not axes.patches  # the class token has no patch to frame


def test_a_word_that_asks_has_no_patch() -> None:
    weights = torch.rand(1, 2, 3, 15).softmax(dim=-1)
    one = query_map(weights, 1, Grid(5, 3), queries=Words(("a", "red", "ball")))
    figure = query_figure(one)
    assert figure.get_suptitle() == "weights: whom “red” asks"
    assert not panels(figure)[0].patches


def test_the_mean_over_heads_is_one_panel() -> None:
    seen = seen_in_model()
    assert len(panels(maps_figure(query_maps(seen, 3, GRID, images=0, mean_heads=True)))) == 3
    matrix = weight_matrix(seen[0], GRID, images=0, mean_heads=True)
    assert len(panels(matrices_figure([matrix]))) == 1


def test_maps_side_by_side_are_shares_of_their_own_sum() -> None:
    numbers = {"rollout": torch.arange(16.0), "relevance": torch.ones(16) * 3}
    figure = tokens_figure(numbers, GRID, picture=torch.rand(1, 35, 33))
    drawn = panels(figure)
    assert [axes.get_title() for axes in drawn] == ["what the model saw", "rollout", "relevance"]
    np.testing.assert_allclose(shown(drawn[1]), np.arange(1, 16).reshape(5, 3) / 120)
    np.testing.assert_allclose(shown(drawn[2]), np.full((5, 3), 1 / 16))
    assert drawn[1].get_xlabel() == "class token 0 %"
    assert drawn[2].get_xlabel() == "class token 6 %"


def test_many_prefix_tokens_are_told_in_sum() -> None:
    grid = Grid(2, 3, 3, ("class token", "register 1", "register 2"))
    numbers = torch.tensor([0.3, 0.2, 0.1, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0])
    axes = panels(tokens_figure({"rollout": numbers}, grid))[0]
    assert axes.get_xlabel() == "class token 30 %, 2 more 30 %"


def test_a_map_of_nothing_stays_empty() -> None:
    axes = panels(tokens_figure({"relevance": torch.zeros(16)}, GRID))[0]
    assert shown(axes).sum() == 0


def test_what_cannot_be_drawn_is_refused() -> None:
    seen = seen_in_model()
    with pytest.raises(InputError, match="no image 4"):
        matrices_figure(weight_matrices(seen, GRID), image=4)
    with pytest.raises(InputError, match="needs layers with equally many, got"):
        matrices_figure([weight_matrix(torch.rand(1, heads, 3, 3), Grid(1, 3)) for heads in (2, 3)])
    with pytest.raises(InputError, match="relevance: expected one number, at least 0"):
        tokens_figure({"relevance": -torch.ones(16)}, GRID)
