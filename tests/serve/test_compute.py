"""Predictions and attention of a batch of requests, with a small model."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from fastapi import Response

from clearhead.errors import InputError
from clearhead.inference import EngineModel, ModelInput, ModelLike, Prediction, predict_inputs
from clearhead.models import build
from clearhead.models.config import CNNConfig
from clearhead.models.pretrained import ImageModel
from clearhead.serve._compute import Decoded, Processor, attention_weights
from clearhead.serve.config import ServeConfig

from .reference import attention_in_float64
from .server import tensor


def compute(model: ModelLike, batch: list[Decoded]) -> list[Any]:
    return Processor(model, ServeConfig()).compute(batch)


def decoded(*inputs: ModelInput, explain: bool = False) -> Decoded:
    """A job whose response is its predictions and, with `explain`, its attention weights."""
    return Decoded(inputs, lambda *found: cast(Response, found), explain)


def grey(value: int, images: int = 1) -> Decoded:
    """A job with images of one grey value."""
    return decoded(*[ModelInput(torch.full((1, 28, 28), value, dtype=torch.uint8))] * images)


def test_each_request_gets_its_own_predictions_and_attention(model: ImageModel) -> None:
    def inputs(rows: int, seed: int) -> tuple[ModelInput, ...]:
        return tuple(ModelInput(torch.from_numpy(row)) for row in tensor(rows, seed))

    batch = [
        decoded(*inputs(2, seed=1)),
        decoded(*inputs(1, seed=2), explain=True),
        decoded(*inputs(3, seed=3)),
        decoded(*inputs(1, seed=4), explain=True),
    ]
    for (predictions, *attention), one in zip(compute(model, batch), batch, strict=True):
        assert_close(predictions, predict_inputs(model, one.inputs))
        assert len(attention) == one.explain
        for weights in attention:
            assert weights.shape == (3, 5, 17, 17)
            expected = attention_in_float64(model, one.inputs[0].pixels.numpy())
            np.testing.assert_allclose(weights, expected, atol=2e-5)


def test_with_an_engine_the_attention_is_still_that_of_the_model(model: ImageModel) -> None:
    engine = EngineModel(model=model, name="openvino", run=lambda x: torch.eye(4, 10)[: len(x)])
    (item,) = grey(3).inputs
    (predictions, weights), (others,) = compute(engine, [decoded(item, explain=True), grey(3, 3)])
    rows = torch.tensor([prediction.probabilities for prediction in (*predictions, *others)])
    assert rows.argmax(dim=1).tolist() == [0, 1, 2, 3]
    assert torch.equal(weights, attention_weights(model, item.pixels[None])[0])


def test_a_request_that_breaks_the_forward_pass_fails_alone(model: ImageModel) -> None:
    broken = decoded(ModelInput(torch.zeros(1, 28, 27, dtype=torch.uint8)))
    (first,), error, (third,) = compute(model, [grey(1), broken, grey(2, 2)])
    assert isinstance(error, RuntimeError)
    for predictions, one in ((first, grey(1)), (third, grey(2, 2))):
        assert_close(predictions, predict_inputs(model, one.inputs))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_returns_nan_gives_errors(value: float) -> None:
    broken = build(CNNConfig(widths=(2,)))
    with torch.no_grad():
        broken.head.bias[5] = value
    results = compute(broken, [grey(1), grey(2, 2)])
    assert [type(result) for result in results] == [InputError, InputError]
    with pytest.raises(InputError, match="ConvNet"):
        attention_weights(broken, torch.from_numpy(tensor(1)))


def assert_close(one: list[Prediction], other: list[Prediction]) -> None:
    assert [p.label for p in one] == [p.label for p in other]
    np.testing.assert_allclose(
        [p.probabilities for p in one], [p.probabilities for p in other], atol=1e-6
    )
