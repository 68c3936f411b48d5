"""The numbers that the page shows against PyTorch in double precision."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray
from torch import Tensor

from clearhead.attention import AttentionStages, attention_stages
from clearhead.microscope._payload import examples
from clearhead.microscope._reference import example_pixels
from clearhead.microscope.shipped import read_shipped
from clearhead.models.layers import Block
from clearhead.models.vit import VisionTransformer
from tests.microscope.driver import SEVEN, Microscope, number

Vectors = list[tuple[Tensor, Tensor, Tensor]]


@pytest.fixture(scope="module")
def seven(twin: VisionTransformer) -> Tensor:
    """The drawing that the page starts with, as model input."""
    return example_pixels(twin)[SEVEN : SEVEN + 1]


@pytest.fixture(scope="module")
@torch.no_grad()
def vectors(twin: VisionTransformer, seven: Tensor) -> Vectors:
    """Query, key and value of each layer: heads × tokens × head_dim."""
    tokens = twin.embedded(seven)
    found = []
    for block in twin.blocks:
        assert isinstance(block, Block)
        qkv = block.attn.qkv(block.norm1(tokens)).unflatten(-1, (3, 4, 16))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        found.append((query[0], key[0], value[0]))
        tokens = block(tokens)
    return found


def head_stages(vectors: Vectors, layer: int, head: int) -> AttentionStages:
    """The stages of one head, counted from 1."""
    query, key, value = (part[head - 1] for part in vectors[layer - 1])
    return attention_stages(query, key, value)


def formula(microscope: Microscope) -> list[str]:
    """The numbers of the formula, as they are written."""
    return microscope.texts(".formula mn")


@pytest.mark.parametrize(("layer", "head", "query", "key"), [(3, 1, 11, 15), (5, 4, 2, 7)])
def test_the_formulas_have_the_numbers_of_one_entry(
    layer: int, head: int, query: int, key: int, microscope: Microscope, vectors: Vectors
) -> None:
    stages, place = head_stages(vectors, layer, head), (query - 1, key - 1)
    score, scaled = float(stages.scores[place]), float(stages.scaled[place])
    where: dict[str, Any] = {"layer": layer, "head": head, "query": query, "key": key}
    microscope.show("scores", **where)
    assert number(formula(microscope)[-1]) == pytest.approx(score, abs=0.0051)
    microscope.show("scale", **where)
    numerator, *_, quotient = formula(microscope)[-3:]
    assert number(numerator) == pytest.approx(score, abs=0.0051)
    assert number(quotient) == pytest.approx(scaled, abs=0.0051)
    assert "√16" in microscope.text(".formula")  # as a sign, which needs no font for mathematics
    microscope.show("softmax", **where)
    shown = [number(text) for text in formula(microscope)[-6:]]
    row_sum = float(stages.scaled[query - 1].exp().sum())
    weight = 100 * float(stages.weights[place])
    expected = [scaled, row_sum, math.exp(scaled), row_sum, weight]
    for found, value in zip(shown[-5:], expected, strict=True):
        assert found == pytest.approx(
            value, abs=0.5 if value == weight and weight > 9.95 else 0.051
        )


def test_the_products_in_the_table_add_up_to_the_score(
    microscope: Microscope, vectors: Vectors
) -> None:
    rows = microscope.show("scores", layer=2, head=3).table()
    products = [number(row[-1]) for row in rows]
    assert len(products) == 17
    score = float(head_stages(vectors, 2, 3).scores[10, 14])
    assert products[-1] == pytest.approx(score, abs=0.0051)
    assert sum(products[:-1]) == pytest.approx(score, abs=16 * 0.005 + 0.01)


def test_labels_and_table_of_the_matrix_have_every_weight(
    microscope: Microscope, vectors: Vectors
) -> None:
    microscope.show("softmax", layer=4, head=3)
    labels = microscope.evaluate(
        """() => [...document.querySelectorAll(".matrix [data-place]")].map(
          (cell) => cell.getAttribute("aria-label"))"""
    )
    label = r"patch (\d+) attends to patch (\d+): (.+) percent, (\S+) times the uniform weight"
    found = [re.fullmatch(label, text) for text in labels]
    places = [(int(m[1]) - 1, int(m[2]) - 1) for m in found if m]
    assert places == [(i // 16, i % 16) for i in range(256)]
    weights = head_stages(vectors, 4, 3).weights
    shares = [number(m[3]) / 100 for m in found if m]
    np.testing.assert_allclose(shares, weights.flatten(), rtol=0, atol=0.00501)
    table = [[number(cell) / 100 for cell in row[1:]] for row in microscope.table()]
    np.testing.assert_allclose(table, weights, rtol=0, atol=0.00501)


def test_the_arcs_are_the_large_weights_of_the_query(
    microscope: Microscope, vectors: Vectors
) -> None:
    microscope.show("softmax", layer=4, head=3, query=6)
    weights = head_stages(vectors, 4, 3).weights[5]
    drawn = microscope.evaluate(
        """() => [...document.querySelectorAll(".arcs g .arc")].map(
          (path) => Number(path.getAttribute("stroke-width")))"""
    )
    large = sorted(float(w) for i, w in enumerate(weights) if w >= 1 / 32 and i != 5)
    expected = np.maximum(0.012, 0.26 * np.array(large))
    np.testing.assert_allclose(sorted(drawn), expected, rtol=1e-9)


def test_probabilities_and_lens_equal_the_models(
    microscope: Microscope, twin: VisionTransformer, seven: Tensor
) -> None:
    with torch.no_grad():
        expected = twin(seven).softmax(-1)[0]
    shown = [number(text) / 100 for text in microscope.show().texts(".bars .value")]
    np.testing.assert_allclose(shown, expected, rtol=0, atol=0.00501)
    microscope.show("prediction")
    assert microscope.text(".lens-row li:last-child b") == examples()[SEVEN]["label"] == "7"


def test_the_terms_of_the_weighted_sum_and_the_effect_of_masking(
    microscope: Microscope, twin: VisionTransformer, seven: Tensor, vectors: Vectors
) -> None:
    strokes = "3w1a2t3z1w6c.3w1a4r3z5q6c.2c4m5a4m"
    rows = microscope.show("mix", query=6).table()
    weights = [number(row[1]) for row in rows]
    assert weights == sorted(weights, reverse=True)
    stages = head_stages(vectors, 3, 1)
    best = int(stages.weights[5].argmax())
    assert rows[0][0] == f"patch {best + 1}"
    norm = float((stages.weights[5, best] * vectors[2][2][0, best]).norm())
    assert number(rows[0][3]) == pytest.approx(norm, abs=0.0051)
    microscope.show("mix", query=6, strokes=strokes).settle()
    rows = microscope.table()
    token = int(rows[0][0].removeprefix("patch ")) - 1
    change = masked_change(twin, microscope, token)
    assert number(rows[0][4]) == pytest.approx(100 * change, abs=0.0501)


@torch.no_grad()
def masked_change(twin: VisionTransformer, microscope: Microscope, token: int) -> float:
    """Change of the predicted class's probability if no query attends to this token."""
    ink = torch.from_numpy(microscope.ink())[None, None]
    tokens = twin.embedded((ink - 0.1307) / 0.3081)
    before = twin.head(twin.norm(twin.blocks(tokens)).mean(1)).softmax(-1)[0]
    allowed = torch.ones(16, 16, dtype=torch.bool)
    allowed[:, token] = False
    for block in twin.blocks:
        tokens = block(tokens, attn_mask=allowed)
    after = twin.head(twin.norm(tokens).mean(1)).softmax(-1)[0]
    best = int(before.argmax())
    return float(after[best] - before[best])


def test_the_measures_of_every_head_are_those_of_its_weights(
    microscope: Microscope, vectors: Vectors
) -> None:
    rows = microscope.settle().show("heads").table()
    for i, row in enumerate(rows):
        weight = attention_stages(*vectors[i // 4]).weights[i % 4]
        entropy = float(-(weight * weight.log2()).sum(-1).mean())
        assert number(row[1]) == pytest.approx(entropy, abs=0.00501)
        assert number(row[3]) == pytest.approx(100 * float(weight.trace()) / 16, abs=0.501)
    assert [row[6] for row in rows] == read_shipped("digits").facts["roles"]
    first = [re.split(r"; | \(", row[6])[0] for row in rows]
    assert microscope.texts(".head-card .role") == first
    assert len(set(first)) > 3


def test_scores_before_and_after_scaling_share_one_axis(microscope: Microscope) -> None:
    heights: ndarray = np.array(
        microscope.show("scale").evaluate(
            """() => ["ghost", "bar"].map((name) => [...document.querySelectorAll(
              `.pair section:first-child .${name}`)].map((bar) => bar.height.baseVal.value))"""
        )
    )
    large = heights[0] > 8
    np.testing.assert_allclose(heights[1][large] / heights[0][large], 0.25, rtol=0.02)


def test_the_step_on_scaling_gives_the_mean_largest_weight_of_rows(microscope: Microscope) -> None:
    said = microscope.show("scale", temperature=0.25).text(".revealed")
    shown = [float(text) for text in re.findall(r"([\d.]+)\u202f%", said)]
    largest = []
    for temperature in (1, 0.25):
        weights = microscope.show("scale", temperature=temperature).evaluate(
            """() => clearhead.store.result.value.run.layers.flatMap(({ heads }) =>
              heads.flatMap(({ weights }) => [...weights]))"""
        )
        largest.append(100 * np.reshape(weights, (-1, 16)).max(1).mean())
    np.testing.assert_allclose(shown, largest, rtol=0, atol=0.501)


def test_a_stretched_scale_says_so(microscope: Microscope, vectors: Vectors) -> None:
    note = microscope.show("softmax", scale="stretched").text(".scale.warning .note")
    largest = float(head_stages(vectors, 3, 1).weights.max())
    assert number(note.split("brightest is")[1]) / 100 == pytest.approx(largest, abs=0.00501)
    assert microscope.show("softmax").texts(".scale.warning") == []
