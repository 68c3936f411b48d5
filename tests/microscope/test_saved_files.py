"""Saved figures and numbers hold what the screen shows."""

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from tests.microscope.driver import Microscope

NS = "{http://www.w3.org/2000/svg}"


def shown_weights(microscope: Microscope) -> list[float]:
    """Those of the step's query at the start: patch 11, layer 3, head 1."""
    weights: list[float] = microscope.evaluate(
        "() => [...clearhead.store.result.value.run.layers[2].heads[0].weights.slice(160, 176)]"
    )
    return weights


def test_the_figure_names_head_patches_prediction_and_changes(microscope: Microscope) -> None:
    name, content = microscope.show("softmax", removed="24").save("Figure, SVG")
    assert name == "clearhead-l3-h1-patch-11.svg"
    root = ET.fromstring(content)
    texts = [text.text or "" for text in root.iter(f"{NS}text")]
    weights = shown_weights(microscope)
    assert texts[0] == f"L3 H1: patch 11 attends most to patch 15, {weights[14]:.0%}".replace(
        "%", "\u202f%"
    )
    assert texts[1].startswith("Prediction: 7")
    assert "changed: 1 head removed; weights from 0 to 100 %" in texts[2]
    assert len(list(root.iter(f"{NS}rect"))) == 1 + 784 + 256 + 1
    widths = [float(path.get("stroke-width") or 0) for path in root.iter(f"{NS}path")][1:]
    large = sorted(w for i, w in enumerate(weights) if w >= 1 / 32 and i != 10)
    np.testing.assert_allclose(sorted(widths), np.maximum(0.012, 0.26 * np.array(large)))


def test_the_figure_stands_alone_and_names_a_stretched_scale(microscope: Microscope) -> None:
    content = microscope.show("softmax", scale="stretched").save("Figure, SVG")[1].decode()
    assert f"weights stretched to {max(shown_weights(microscope)):.0%}"[:-1] in content
    assert "url(" not in content
    assert "href" not in content


@pytest.mark.slow
def test_the_png_is_the_figure_three_times_as_large(microscope: Microscope) -> None:
    svg = ET.fromstring(microscope.show("softmax").save("Figure, SVG")[1])
    image = Image.open(io.BytesIO(microscope.save("Figure, PNG")[1]))
    assert image.width == 3 * int(float(svg.get("width") or 0))
    assert len(image.convert("RGB").getcolors(1 << 24) or []) > 100


def test_the_csv_holds_all_weights_in_full_precision(microscope: Microscope) -> None:
    _, content = microscope.show("softmax", layer=4).save("Numbers, CSV")
    lines = content.decode().splitlines()
    assert lines[0].startswith("# Attention weights, L4 H1")
    rows = [line.split(",") for line in lines if not line.startswith("#")]
    found = np.array([[float(value) for value in row[1:]] for row in rows[1:]])
    weights = microscope.evaluate(
        "() => [...clearhead.store.result.value.run.layers[3].heads[0].weights]"
    )
    np.testing.assert_allclose(found.ravel(), weights, rtol=1e-12)
