"""Measures of heads, compared with loops over every pair of patches."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight.foreground import Foreground
from clearhead.insight.measures import MEASURES, HeadMeasures, measure_heads, measure_records
from clearhead.insight.tokens import Grid, Words
from clearhead.recording import capture

from .reference import bert, oblong_images, oblong_model

GRID = Grid(5, 3, 1, ("class token",))
IMAGES = 7


def random_weights(layers: int = 3, heads: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (IMAGES, heads, 16, 16)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).mul(3).softmax(dim=-1)
        for _ in range(layers)
    ]


def random_foreground() -> Foreground:
    generator = torch.Generator().manual_seed(1)
    amount = torch.rand(IMAGES, 5, 3, generator=generator, dtype=torch.float64)
    amount[torch.rand(IMAGES, 5, 3, generator=generator) < 0.4] = 0.0
    return Foreground(amount=amount, centre=torch.randint(0, 15, (IMAGES,), generator=generator))


FOREGROUND = random_foreground()


def in_loops(weights: np.ndarray) -> dict[str, float]:
    """The geometric measures of one image and head, from (16, 16) weights."""
    totals = dict.fromkeys(MEASURES, 0.0)
    patches = weights[1:, 1:]
    for i in range(15):
        others = np.delete(patches, i, axis=0).mean(axis=0)
        for j in range(15):
            (row, column), (other_row, other_column) = divmod(i, 3), divmod(j, 3)
            down, across = abs(row - other_row), abs(column - other_column)
            distances = {
                "distance": math.hypot(down, across), "horizontal": across, "vertical": down
            }  # fmt: skip
            for name, distance in distances.items():
                totals[name] += patches[i, j] * distance / patches.sum()
            shares = {
                "itself": i == j,
                "neighbours": max(down, across) == 1,
                "row": row == other_row and i != j,
                "column": column == other_column and i != j,
                "top_bottom": {row, other_row} == {0, 4},
            }
            for name, counts in shares.items():
                queries = 6 if name == "top_bottom" else 15
                totals[name] += patches[i, j] * counts / queries
                totals[f"{name}_lift"] += (patches[i, j] - others[j]) * counts / queries
    nats = [-sum(w * math.log(w) for w in row if w > 0) for row in weights]
    return {name: total for name, total in totals.items() if total} | {
        "entropy": float(np.mean(nats)),
        "relative_entropy": float(np.mean(nats)) / math.log(16),
        "prefix": float(weights[:, 0].mean()),
    }


def test_measures_equal_loops_over_every_pair_of_patches() -> None:
    layers = random_weights()
    result = measure_records(layers, GRID)
    for layer in range(3):
        for head in range(2):
            loops = [in_loops(layers[layer][image, head].numpy()) for image in range(IMAGES)]
            for name in loops[0]:
                values = np.array([x[name] for x in loops])
                mean, error = result[name]
                assert error is not None
                assert float(mean[layer, head]) == pytest.approx(values.mean())
                expected = values.std(ddof=1) / math.sqrt(IMAGES)
                assert float(error[layer, head]) == pytest.approx(expected)


def test_shares_on_the_foreground_are_means_over_queries_and_lifts_over_other_images() -> None:
    layers = random_weights()
    result = measure_records(layers, GRID, foreground=FOREGROUND)
    amount = FOREGROUND.amount.flatten(1).numpy()
    masks = {
        "foreground": amount >= 0.1,
        "background": amount < 0.01,
        "centre": np.eye(15)[FOREGROUND.centre.numpy()],
    }
    for head in range(2):
        received = layers[1][:, head].mean(dim=1)[:, 1:].numpy()
        for name, mask in masks.items():
            shares = [(received[image] * mask[image]).sum() for image in range(IMAGES)]
            assert float(result[name].mean[1, head]) == pytest.approx(np.mean(shares))
            lifts = []
            for image in range(IMAGES):
                others = [(x * mask[image]).sum() for i, x in enumerate(received) if i != image]
                lifts.append(shares[image] - np.mean(others))
            assert float(result[f"{name}_lift"].mean[1, head]) == pytest.approx(np.mean(lifts))


def constant_head(weights: Tensor) -> HeadMeasures:
    return measure_records([weights.expand(IMAGES, 1, 15, 15)], Grid(5, 3), foreground=FOREGROUND)


def test_a_head_that_attends_to_one_fixed_patch_has_no_lift() -> None:
    weights = torch.zeros(15, 15)
    weights[:, 7] = 1.0
    result = constant_head(weights)
    assert float(result["fixed_patch"].mean) == 1.0
    assert int(result.most_attended) == 7
    assert float(result["neighbours"].mean) == pytest.approx(8 / 15)
    for name in MEASURES:
        if name.endswith("_lift"):
            assert float(result[name].mean) == pytest.approx(0.0, abs=1e-12), name


def test_agreement_is_one_less_the_jensen_shannon_distance() -> None:
    layers = random_weights(heads=3)
    result = measure_records(layers, GRID).agreement
    assert result.shape == (3, 3, 3)
    for head in range(3):
        for other in range(3):
            distances = jensenshannon(
                layers[1][:, head].numpy(), layers[1][:, other].numpy(), base=2, axis=-1
            )
            assert float(result[1, head, other]) == pytest.approx(1 - distances.mean())
    apart = torch.stack([torch.eye(15), torch.eye(15).roll(1, 0)])[None]
    agreement = measure_records([apart], Grid(5, 3)).agreement[0]
    torch.testing.assert_close(agreement, torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("batch_size", [3, 100])
def test_a_model_is_measured_in_batches_of_any_size(batch_size: int) -> None:
    model, images = oblong_model("class"), oblong_images(IMAGES)
    with torch.no_grad(), capture() as recording:
        model(images)
    expected = measure_records(recording, GRID, foreground=FOREGROUND)
    result = measure_heads(model, images, foreground=FOREGROUND, batch_size=batch_size)
    assert result.layers == ("blocks.0.attn", "blocks.1.attn", "blocks.2.attn")
    assert (result.tokens, result.num_images, result.num_heads) == (GRID, IMAGES, 2)
    assert f"{IMAGES} images" in repr(result)
    assert list(result.estimates) == list(expected.estimates) == list(MEASURES)
    for name in MEASURES:
        torch.testing.assert_close(result[name], expected[name])
    torch.testing.assert_close(result.agreement, expected.agreement)
    assert result.to_dict()["measures"]["entropy"]["mean"] == result["entropy"].mean.tolist()


def test_words_are_measured_along_the_sentence() -> None:
    model = bert("BertModel")
    inputs = {"input_ids": torch.randint(0, 31, (5, 4)), "return_dict": True}
    result = measure_heads(model, inputs, Words(("The", "cat", "sat", ".")), batch_size=2)
    with torch.no_grad(), capture() as recording:
        model(**inputs)
    weights = recording[1].weights.double().numpy()
    apart = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    expected = (weights * apart).sum(axis=(2, 3)).mean(axis=0) / 4
    np.testing.assert_allclose(result["distance"].mean[1], expected)
    np.testing.assert_allclose(result["vertical"].mean, 0)
    with pytest.raises(KeyError, match="no measure 'row' was taken; expected one of entropy"):
        result["row"]


def test_one_image_has_no_standard_error_and_no_lift_of_the_foreground() -> None:
    layers = [layer[:1] for layer in random_weights()]
    foreground = Foreground(amount=FOREGROUND.amount[:1], centre=FOREGROUND.centre[:1])
    result = measure_records(layers, GRID, foreground=foreground)
    assert result["entropy"].standard_error is None
    assert "foreground" in result.estimates
    assert "foreground_lift" not in result.estimates
    assert "foreground" not in measure_records(layers, GRID).estimates


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"foreground": FOREGROUND}, InputError, "foreground must be of the same 2 images"),
        ({"inputs": oblong_images(0)}, InputError, "at least one input"),
        ({"batch_size": 0}, ConfigError, "batch_size must be at least 1"),
        (
            {"tokens": Grid(5, 3)},
            InputError,
            r"blocks\.0\.attn: expected 5 × 3 = 15 tokens, got 16",
        ),
        ({"inputs": {"x": torch.zeros(2), "y": torch.zeros(1)}}, InputError, "of one length"),
    ],
)
def test_wrong_inputs_are_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        measure_heads(oblong_model("class"), **{"inputs": oblong_images(2)} | changes)


def test_layers_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="choose layers over the same tokens"):
        measure_records([*random_weights(heads=2), *random_weights(heads=3)], GRID)
