from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from clearhead.explanation import Explanation, explain
from clearhead.explanation.figures import picture_figure
from clearhead.explanation.files import encode
from clearhead.explanation.pictures import first_view
from clearhead.insight.plots import weight_norm


def drawn(axes: Any) -> Any:
    return axes.images[0].get_array()


def test_every_head_is_drawn_on_the_one_scale(nine: Explanation) -> None:
    figure: Any = picture_figure(nine)
    above, below = figure.subfigs
    query = first_view(nine)["query"]
    panels = [axes for axes in below.axes if axes.images]
    expected = [layer.weights[0, head, query] for layer in nine.layers for head in range(4)]
    assert len(panels) == 24
    for axes, row in zip(panels, expected, strict=True):
        np.testing.assert_allclose(drawn(axes), row.reshape(4, 4))
        norm = axes.images[0].norm
        assert (norm.vmin, norm.vmax) == (0.0, 1.0)
        assert norm(0.25) == pytest.approx(weight_norm()(0.25))
    assert "9, 91" in above.get_suptitle()


def test_layers_are_named_as_on_the_page_and_as_in_the_model(nine: Explanation) -> None:
    below: Any = picture_figure(nine).subfigs[1]
    names = [axes.get_ylabel() for axes in below.axes if axes.get_ylabel().startswith("L")]
    assert names == [f"L{number + 1}\nblocks.{number}.attn" for number in range(6)]
    assert "counted from 1" in below.get_suptitle()


def test_weights_too_small_for_the_fixed_scale_are_drawn_as_multiples_of_an_even_share(
    nine: Explanation,
) -> None:
    """As in a ViT of 197 tokens, whose even share is 0.5 %."""
    small = [replace(layer, weights=layer.weights / 60) for layer in nine.layers]
    query = first_view(nine)["query"]
    largest = max(float(layer.weights[0, :, query].max()) for layer in small)
    assert largest < 0.02
    figure: Any = picture_figure(replace(nine, layers=tuple(small)))
    below = figure.subfigs[1]
    panels = [axes for axes in below.axes if axes.images]
    row = small[2].weights[0, 3, query]
    expected = np.clip(16 * row.numpy().reshape(4, 4), 1 / 16, None)
    np.testing.assert_allclose(drawn(panels[2 * 4 + 3]), expected, rtol=1e-6)
    norm = panels[0].images[0].norm
    assert [norm(1 / 16), norm(1.0), norm(16.0)] == pytest.approx([0.0, 0.5, 1.0])
    assert f"largest weight {100 * largest:.1f}\u00a0%" in below.get_suptitle()
    assert "multiple of an even share of 6.25 %,\nlogarithmic scale" in [
        axes.get_ylabel() for axes in below.axes
    ]
    assert "multiples" not in picture_figure(nine).subfigs[1].get_suptitle()


def test_the_three_measures_are_drawn_as_they_are(nine: Explanation) -> None:
    figure: Any = picture_figure(nine)
    seen, rollout, relevance, masking = figure.subfigs[0].axes
    np.testing.assert_allclose(drawn(seen), nine.pixels[0] / 255)
    assert nine.rollout.values is not None
    assert nine.relevance.values is not None
    assert nine.masking.values is not None
    np.testing.assert_allclose(drawn(rollout), nine.rollout.values.reshape(4, 4))
    shares = nine.relevance.values / nine.relevance.values.sum()
    np.testing.assert_allclose(drawn(relevance), shares.reshape(4, 4))
    np.testing.assert_allclose(drawn(masking), nine.masking.values.reshape(4, 4))
    most = float(nine.masking.values.abs().max())
    assert (masking.images[0].norm.vmin, masking.images[0].norm.vmax) == (-most, most)


def test_png_and_svg_are_complete_and_reproducible(nine: Explanation) -> None:
    one = replace(nine, layers=nine.layers[5:])
    png, svg = encode(one, "png"), encode(one, "svg")
    image = Image.open(BytesIO(png))
    image.load()
    assert min(image.size) > 500
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert encode(one, "svg") == svg


def test_layers_without_a_place_in_the_picture_are_drawn_as_matrices(
    windows_folder: Path, photo: Path
) -> None:
    explanation = explain(f"timm:{windows_folder}", photo)
    figure: Any = picture_figure(explanation)
    panels = [axes for axes in figure.subfigs[1].axes if axes.images]
    assert len(panels) == 5
    np.testing.assert_allclose(drawn(panels[0]), explanation.layers[0].weights[0, 0])
    assert [axes.texts[0].get_text() for axes in figure.subfigs[0].axes[1:]] == [
        "not available"
    ] * 3
