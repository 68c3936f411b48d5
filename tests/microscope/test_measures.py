"""Head measures, rollout and best matches on the screen, computed again from PyTorch's weights."""

import re

import numpy as np
import pytest
import torch
from numpy import ndarray
from torch import Tensor

from clearhead.attention import attention_stages
from clearhead.data import rasterise
from clearhead.microscope.payload import examples
from clearhead.microscope.reference import example_pixels, rounded_model
from clearhead.models.build import load
from clearhead.models.layers import Block
from clearhead.models.vit import VisionTransformer
from tests.microscope.looking import Microscope

SEVEN = 14


def number(text: str) -> float:
    found = re.search(r"[−+]?\d+(\.\d+)?", text)
    assert found, text
    return float(found[0].replace("−", "-"))


@pytest.fixture(scope="module")
def twin() -> VisionTransformer:
    model = load()
    assert isinstance(model, VisionTransformer)
    return rounded_model(model)


@torch.no_grad()
def queries_keys_weights(twin: VisionTransformer) -> tuple[Tensor, Tensor, Tensor]:
    """Of all examples: layers × examples × heads × tokens × (head_dim, head_dim, tokens)."""
    tokens = twin.embedded(example_pixels(twin))
    found = []
    for block in twin.blocks:
        assert isinstance(block, Block)
        qkv = block.attn.qkv(block.norm1(tokens)).unflatten(-1, (3, 4, 16))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        found.append((query, key, attention_stages(query, key, value).weights))
        tokens = block(tokens)
    queries, keys, weights = (torch.stack(parts) for parts in zip(*found, strict=True))
    return queries, keys, weights


def table(microscope: Microscope, selector: str) -> list[list[str]]:
    rows = microscope.page.locator(f"{selector} tbody tr")
    return [rows.nth(i).locator("th, td").all_text_contents() for i in range(rows.count())]


def distances() -> ndarray:
    places = np.array([(row, column) for row in range(4) for column in range(4)], dtype=float)
    return np.asarray(np.linalg.norm(places[:, None] - places[None], axis=-1))


def test_the_measures_of_every_head_are_those_of_its_weights(
    microscope: Microscope, twin: VisionTransformer
) -> None:
    microscope.show(tab="heads").settle()
    rows = table(microscope, ".heads .table-holder .numbers")
    weights = queries_keys_weights(twin)[2][:, SEVEN].flatten(0, 1).numpy()
    ink = rasterise(examples()[SEVEN].strokes).reshape(4, 7, 4, 7).mean(axis=(1, 3)).ravel()
    for row, weight in zip(rows, weights, strict=True):
        entropy = -(weight * np.log2(weight)).sum(-1).mean()
        expected = [
            (entropy, 0.00501),
            ((weight * distances()).sum(-1).mean(), 0.00501),
            (100 * np.trace(weight) / 16, 0.501),
            (100 * weight[:, ink < 0.005].sum() / 16, 0.501),
            (100 * weight.mean(0).max(), 0.501),
        ]
        for text, (value, close) in zip(row[1:6], expected, strict=True):
            assert number(text) == pytest.approx(value, abs=close), row


def test_names_follow_the_thresholds_on_the_mean_of_the_examples(
    microscope: Microscope, twin: VisionTransformer
) -> None:
    microscope.show(tab="heads").settle()
    names = [row[7] for row in table(microscope, ".heads .table-holder .numbers")]
    weights = queries_keys_weights(twin)[2].numpy()  # layers, examples, heads, askers, answerers
    shared = weights.mean(axis=3).max(axis=-1).mean(axis=1).ravel()
    entropy = -(weights * np.log2(weights)).sum(-1).mean(axis=(1, 3)).ravel()
    for name, one_patch, bits in zip(names, shared, entropy, strict=True):
        if name == "all ask one patch":
            assert one_patch >= 0.5
        if name == "spreads evenly":
            assert bits >= 0.95 * 4
        if name == "no clear role":
            assert one_patch < 0.5
            assert bits < 0.95 * 4
    assert len(set(names)) >= 3


def test_last_layer_and_rollout_are_means_and_products_of_the_weights(
    microscope: Microscope, twin: VisionTransformer
) -> None:
    microscope.show(tab="explore", focus="mattered").settle()
    button = microscope.page.locator(".mattered .quiet")
    button.click()
    rows = table(microscope, ".mattered .numbers")
    button.click()
    weights = queries_keys_weights(twin)[2][:, SEVEN].mean(dim=1).numpy()  # layers, askers, …
    flow = np.eye(16)
    for layer in weights:
        flow = (layer + np.eye(16)) / 2 @ flow
    expected = np.stack([weights[-1].mean(0), flow.mean(0)], axis=1) * 100
    found = np.array([[number(row[1]), number(row[2])] for row in rows])
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.501)
    np.testing.assert_allclose(found.sum(0), 100, atol=2)
    changes = [number(row[3]) for row in rows]
    influence = microscope.ask(
        """() => {
          const { run } = clearhead.app.reading;
          return clearhead.app.influence.silenced.map((after) => after[7] - run.probabilities[7]);
        }"""
    )
    np.testing.assert_allclose(changes, np.array(influence) * 100, atol=0.0501)


def test_the_best_matches_have_the_largest_products_with_the_query(
    microscope: Microscope, twin: VisionTransformer
) -> None:
    microscope.show(tab="explore", layer=4, head=2, asker=7).settle()
    said = microscope.page.locator(".matches canvas").evaluate_all(
        "(all) => all.map((one) => one.getAttribute('aria-label'))"
    )
    queries, keys, _ = queries_keys_weights(twin)
    query = queries[3, SEVEN, 1, 6]
    scores = (keys[3, :, 1] @ query).flatten()  # 20 drawings × 16 patches
    best = scores.argsort(descending=True)[:8].tolist()
    for text, place in zip(said, best, strict=True):
        expected = f"Patch {place % 16 + 1} of a {examples()[place // 16].label}, q·k "
        assert text.startswith(expected)
        assert number(text.split("q·k")[1]) == pytest.approx(float(scores[place]), abs=0.00501)
