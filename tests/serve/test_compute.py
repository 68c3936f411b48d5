"""Predictions and attention of a batch of requests, with a small model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clearhead.errors import InputError
from clearhead.inference import EngineModel, ModelInput, Prediction, predict_inputs
from clearhead.models import build
from clearhead.models.config import CNNConfig
from clearhead.models.pretrained import ImageModel
from clearhead.serve._bodies import Decoded
from clearhead.serve._compute import Result, attention_weights, compute

from .reference import attention_in_float64
from .server import tensor


def work(number: int, images: int = 1) -> Decoded:
    """Images of one grey value, the number."""
    pixels = torch.full((1, 28, 28), number, dtype=torch.uint8)
    return Decoded(inputs=(ModelInput(pixels),) * images)


def test_each_request_gets_its_own_predictions_and_attention(model: ImageModel) -> None:
    def inputs(rows: int, seed: int) -> tuple[ModelInput, ...]:
        return tuple(ModelInput(torch.from_numpy(row)) for row in tensor(rows, seed))

    batch = [
        Decoded(inputs=inputs(2, seed=1)),
        Decoded(inputs=inputs(3, seed=2), explain=True),
        Decoded(inputs=inputs(1, seed=3)),
        Decoded(inputs=inputs(1, seed=4), explain=True),
    ]
    for result, one in zip(compute(model, batch), batch, strict=True):
        assert isinstance(result, Result)
        assert_close(result.predictions, predict_inputs(model, one.inputs))
        assert (result.attention is not None) == one.explain
        if result.attention is not None:
            assert result.attention.shape == (len(one.inputs), 3, 5, 17, 17)
            for weights, item in zip(result.attention, one.inputs, strict=True):
                expected = attention_in_float64(model, item.pixels.numpy())
                np.testing.assert_allclose(weights, expected, atol=2e-5)


def test_with_an_engine_the_attention_is_still_that_of_the_model(model: ImageModel) -> None:
    engine = EngineModel(model=model, name="openvino", run=lambda x: torch.eye(4, 10)[: len(x)])
    (result,) = compute(engine, [replace(work(3, 4), explain=True)])
    assert isinstance(result, Result)
    rows = torch.tensor([prediction.probabilities for prediction in result.predictions])
    assert rows.argmax(dim=1).tolist() == [0, 1, 2, 3]
    expected = attention_weights(model, torch.stack([item.pixels for item in work(3, 4).inputs]))
    assert result.attention is not None
    assert torch.equal(result.attention, expected)


def test_a_request_that_breaks_the_forward_pass_fails_alone(model: ImageModel) -> None:
    broken = Decoded(inputs=(ModelInput(torch.zeros(1, 28, 27, dtype=torch.uint8)),))
    first, second, third = compute(model, [work(1), broken, work(2, 2)])
    assert isinstance(second, RuntimeError)
    for result, one in ((first, work(1)), (third, work(2, 2))):
        assert isinstance(result, Result)
        assert_close(result.predictions, predict_inputs(model, one.inputs))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_returns_nan_gives_errors(value: float) -> None:
    broken = build(CNNConfig(widths=(2,)))
    with torch.no_grad():
        broken.head.bias[5] = value
    results = compute(broken, [work(1), work(2, 2)])
    assert [type(result) for result in results] == [InputError, InputError]
    with pytest.raises(InputError, match="ConvNet"):
        attention_weights(broken, torch.from_numpy(tensor(1)))


def assert_close(one: tuple[Prediction, ...], other: list[Prediction]) -> None:
    assert [p.label for p in one] == [p.label for p in other]
    np.testing.assert_allclose(
        [p.probabilities for p in one], [p.probabilities for p in other], atol=1e-6
    )
