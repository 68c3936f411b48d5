"""The forward pass of the pages against PyTorch in double precision, stage by stage."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray
from scipy.special import erf
from torch import Tensor

from clearhead.data import WordTokenizer, rasterise
from clearhead.data.preprocessing.strokes import CANVAS
from clearhead.inference import certainty_of
from clearhead.insight import shapley
from clearhead.microscope._payload import examples
from clearhead.microscope._reference import example_pixels
from clearhead.models.text import TextTransformer
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from tests.microscope.node import Bridge
from tests.microscope.torch_reference import Switches, every_stage

CLOSE = 1e-9  # the page promises 1e-5
SWITCHES = {
    "trained": Switches(),
    "unscaled": Switches(temperature=0.25),
    "warm": Switches(temperature=2.5),
    "without positions": Switches(positions=False),
    "heads removed": Switches(removed=(2, 7, 20)),
    "values reversed": Switches(reversed=3),
    "masked everywhere": Switches(masked=(3, 9)),
    "all masked": Switches(masked=tuple(range(16))),
    "several at once": Switches(
        temperature=0.7, positions=False, removed=(0, 23), reversed=1, masked=(10,)
    ),
}


@pytest.fixture(scope="module")
def pixels(twin: VisionTransformer) -> Tensor:
    """Some example drawings as model input."""
    return example_pixels(twin)[1::6]


@pytest.fixture(scope="module")
def stages(bridge: Bridge, page_file: Path, pixels: Tensor) -> dict[str, ndarray]:
    images = pixels.flatten(1).tolist()
    calls = [("stages", {"images": images, "changes": use.changes}) for use in SWITCHES.values()]
    found = bridge.call(*calls, page=page_file)
    return {
        name: numbers.reshape(len(images), -1)
        for name, numbers in zip(SWITCHES, found, strict=True)
    }


@pytest.mark.parametrize("name", SWITCHES)
def test_every_stage_equals_pytorchs_with_every_switch(
    name: str, stages: dict[str, ndarray], twin: VisionTransformer, pixels: Tensor
) -> None:
    expected = every_stage(twin, pixels, SWITCHES[name])
    assert expected.shape == (len(pixels), 6 * (4 * 2048 + 5 * 1024) + 64 + 10)
    np.testing.assert_allclose(stages[name], expected, rtol=0, atol=CLOSE)
    if name == "trained":
        with torch.no_grad():
            np.testing.assert_allclose(stages[name][:, -10:], twin(pixels), rtol=0, atol=CLOSE)
    else:
        assert np.abs(expected - stages["trained"])[:, -10:].max() > 1e-3


def test_two_heads_exchanged_are_found(
    stages: dict[str, ndarray], twin: VisionTransformer, pixels: Tensor
) -> None:
    exchanged = stages["trained"].copy()
    exchanged[:, :4096] = np.roll(exchanged[:, :4096], 2048, axis=1)
    assert np.abs(exchanged - every_stage(twin, pixels, Switches())).max() > 0.1


def test_values_leave_the_weights_of_their_layer_and_masks_leave_rows_that_sum_to_one(
    stages: dict[str, ndarray],
) -> None:
    def weights(name: str) -> ndarray:
        layers = stages[name][:, :-74].reshape(len(stages[name]), 6, -1)[..., : 4 * 2048]
        heads = layers.reshape(*layers.shape[:2], 4, 2048)
        return np.asarray(heads[..., 1536:1792].reshape(*heads.shape[:3], 16, 16))

    for name in ("unscaled", "warm", "masked everywhere", "several at once"):
        np.testing.assert_allclose(weights(name).sum(-1), 1, rtol=0, atol=1e-12)
    assert weights("masked everywhere")[..., [3, 9]].max() == 0
    assert weights("all masked").max() == 0
    assert (weights("values reversed")[:, :4] == weights("trained")[:, :4]).all()
    assert np.abs(weights("values reversed")[:, 4:] - weights("trained")[:, 4:]).max() > 0.01


def test_the_lens_applies_the_head_after_every_layer(
    bridge: Bridge, page_file: Path, twin: VisionTransformer, pixels: Tensor
) -> None:
    (found,) = bridge.call(("lens", {"images": pixels[:1].flatten(1).tolist()}), page=page_file)
    with torch.no_grad():
        tokens = twin.embedded(pixels[:1])
        expected = [twin.head(twin.pooled(twin.norm(tokens))).softmax(-1)]
        for block in twin.blocks:
            tokens = block(tokens)
            expected.append(twin.head(twin.pooled(twin.norm(tokens))).softmax(-1))
    np.testing.assert_allclose(found, torch.cat(expected).flatten(), rtol=0, atol=CLOSE)


def test_maps_and_measures_are_those_of_the_weights(
    bridge: Bridge, page_file: Path, stages: dict[str, ndarray], pixels: Tensor
) -> None:
    images = pixels[:1].flatten(1).tolist()
    inks = (pixels[:1] * 0.3081 + 0.1307).flatten(1)
    maps, measures = bridge.call(
        ("maps", {"images": images}),
        ("measures", {"images": images, "inks": inks.tolist()}),
        page=page_file,
    )
    layers = stages["trained"][0, :-74].reshape(6, -1)[:, : 4 * 2048].reshape(6, 4, 2048)
    weights = layers[..., 1536:1792].reshape(6, 4, 16, 16)
    flow = np.eye(16)
    for layer in weights.mean(axis=1):
        flow = (layer + np.eye(16)) / 2 @ flow
    expected = [weights[-1].mean(axis=(0, 1)), flow.mean(0)]
    np.testing.assert_allclose(maps, np.concatenate(expected), rtol=0, atol=CLOSE)
    places = np.array([(row, column) for row in range(4) for column in range(4)], dtype=float)
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    blank = inks.numpy().reshape(4, 7, 4, 7).mean(axis=(1, 3)).ravel() < 0.005
    for row, weight in zip(measures.reshape(24, 4), weights.reshape(24, 16, 16), strict=True):
        expected_row = [
            -(weight * np.log2(weight)).sum(-1).mean(),
            (weight * distances).sum(-1).mean(),
            np.trace(weight) / 16,
            weight[:, blank].sum() / 16,
        ]
        np.testing.assert_allclose(row, expected_row, rtol=0, atol=CLOSE)


def test_shapley_values_are_those_of_python(
    bridge: Bridge, page_file: Path, twin: VisionTransformer
) -> None:
    drawings = example_pixels(twin)[[3, 8]]  # 1 and 4, each on few patches
    inks = (drawings * 0.3081 + 0.1307).clamp(min=0).flatten(1)
    inks[inks < 1e-6] = 0
    targets = twin(drawings).argmax(1)
    calls = [
        ("shapley", {"ink": ink.tolist(), "target": int(target)})
        for ink, target in zip(inks, targets, strict=True)
    ]
    found = bridge.call(*calls, page=page_file)
    expected = shapley(twin, drawings, classes=targets)
    assert expected.is_exact
    assert expected.values.abs().max() > 2
    np.testing.assert_allclose(found, expected.values, rtol=0, atol=1e-6)


def test_a_sentence_has_the_weights_and_logits_of_pytorch(
    bridge: Bridge, page_file: Path, text_twin: TextTransformer
) -> None:
    text = "The dog chased the ball because it was hungry."
    (found,) = bridge.call(("text", {"text": text}), page=page_file)
    ids = torch.tensor([WordTokenizer(text_twin.config.vocabulary).encode(text).ids])
    with capture() as recording, torch.no_grad():
        logits = text_twin(ids)[0, -1]
    expected = [record.weights.flatten() for record in recording.records]
    np.testing.assert_allclose(found, torch.cat([*expected, logits]), rtol=0, atol=CLOSE)


def random_drawings(count: int) -> list[dict[str, Any]]:
    """Random walks: long, short, of one point, in other sizes, not centred."""
    draw = random.Random(20261121)
    drawings = []
    for index in range(count):
        strokes = []
        for _ in range(draw.randint(1, 4)):
            x, y = draw.randint(0, CANVAS - 1), draw.randint(0, CANVAS - 1)
            reach = draw.choice([3, 12, 60])
            stroke = [(x, y)]
            for _ in range(draw.randint(0, 30)):
                x = min(max(x + draw.randint(-reach, reach), 0), CANVAS - 1)
                y = min(max(y + draw.randint(-reach, reach), 0), CANVAS - 1)
                stroke.append((x, y))
            strokes.append(stroke)
        size = (28, 28) if index % 4 else (21, 35)
        drawings.append({"strokes": strokes, "size": size, "centred": index % 5 > 0})
    return drawings


def test_drawings_have_the_same_pixels_as_in_python(bridge: Bridge) -> None:
    drawings = random_drawings(80) + [
        {"strokes": example["strokes"], "size": (28, 28), "centred": True} for example in examples()
    ]
    found = bridge.call(*[("rasterise", drawing) for drawing in drawings])
    for drawing, pixels in zip(drawings, found, strict=True):
        expected = rasterise(drawing["strokes"], drawing["size"], centred=drawing["centred"])
        np.testing.assert_allclose(pixels, expected.ravel(), rtol=0, atol=1e-6)


def test_strokes_side_by_side_are_several_digits_and_crossing_ones_are_one(bridge: Bridge) -> None:
    one, two = [[80, 60], [90, 200]], [[180, 50], [190, 205]]
    crossing, dot = [[60, 70], [200, 190]], [[180, 50], [190, 60]]
    bar_of_five, five = [[90, 40], [180, 38]], [[92, 45], [95, 110], [160, 130], [150, 200]]
    cases = {
        (1,): [one],
        (1, 1): [two, one],
        (3,): [one, two, crossing],
        (2,): [five, bar_of_five],
    }
    found = bridge.call(*[("digits", strokes) for strokes in cases.values()])
    assert [tuple(map(int, counts)) for counts in found] == list(cases)
    (alone,) = bridge.call(("digits", [one, dot]))
    assert alone.tolist() == [2]  # all strokes of what is one digit


@pytest.mark.parametrize("weights", [(), tuple(np.linspace(-1, 1, 11))])
def test_the_certainty_of_predictions_is_the_same_as_in_python(
    weights: tuple[float, ...], bridge: Bridge, page_file: Path, pixels: Tensor
) -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(len(pixels), 10, dtype=torch.float64)
    images = (255 * torch.rand(len(pixels), 1, 28, 28)).byte()
    given = {"logits": logits.tolist(), "inks": (images.double() / 255).flatten(1).tolist()}
    settings = {"weights": weights, "temperature": 3}
    found = bridge.call(("certainty", given | settings), page=page_file)
    expected = certainty_of(logits.softmax(1), images, 3, weights)
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-6)


def test_softmax_and_erf_are_finite_and_exact(bridge: Bridge) -> None:
    rows = [[1000, 999], [-1000, -1001], [None, 0]]
    values = np.linspace(-7, 7, 4001)
    shares, errors = bridge.call(("softmax", rows), ("erf", values.tolist()))
    expected = torch.tensor([[1000.0, 999.0], [-1000.0, -1001.0], [-torch.inf, 0.0]]).double()
    np.testing.assert_allclose(shares, expected.softmax(-1).flatten(), rtol=1e-12)
    np.testing.assert_allclose(errors, erf(values), rtol=0, atol=3e-15)
