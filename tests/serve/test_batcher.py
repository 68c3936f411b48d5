"""Batches and their results, with a small model that can be held up."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clearhead.errors import InputError
from clearhead.inference import EngineModel, ModelInput, Prediction, predict_inputs
from clearhead.models import build
from clearhead.models.config import CNNConfig
from clearhead.models.pretrained import ImageModel
from clearhead.serve._batcher import Batcher, Result, Work, attention_weights, compute
from clearhead.serve.metrics import Metrics

from .reference import attention_in_float64
from .server import Gate, run_async, tensor


def work(number: int, images: int = 1) -> Work:
    """Images of one grey value, the number."""
    pixels = torch.full((1, 28, 28), number, dtype=torch.uint8)
    return Work(inputs=(ModelInput(pixels),) * images)


@pytest.fixture
def batches(model: ImageModel) -> Iterator[list[list[int]]]:
    """The grey values of the images of each forward pass."""
    seen: list[list[int]] = []

    def note(_: object, args: tuple[Tensor, ...]) -> None:
        values = (args[0][:, 0, 0, 0] * 0.3081 + 0.1307) * 255
        seen.append([round(value) for value in values.tolist()])

    handle = model.register_forward_pre_hook(note, prepend=True)
    yield seen
    handle.remove()


def run(
    model: ImageModel, scenario: Callable[[Batcher], Coroutine[Any, Any, None]], **settings: Any
) -> Callable[[str], float | None]:
    """Run a scenario; the values of metrics afterwards."""
    metrics = Metrics()

    async def main() -> None:
        async with Batcher(model, metrics, **{"max_batch": 4, **settings}) as batcher:
            await asyncio.wait_for(scenario(batcher), 30)

    run_async(main())
    return lambda name: metrics.registry.get_sample_value(f"clearhead_{name}")


def submit(batcher: Batcher, *works: Work) -> list[asyncio.Task[Result]]:
    return [asyncio.create_task(batcher.submit(one)) for one in works]


async def queued(
    batcher: Batcher, gate: Gate, batches: list[list[int]], *works: Work
) -> list[asyncio.Task[Result]]:
    """Requests that arrive during the forward pass of another one, which is the first task."""
    gate.close()
    tasks = submit(batcher, work(0))
    await until(lambda: batches)
    tasks += submit(batcher, *works)
    await until(lambda: len(batcher.queue) == len(works))
    gate.open()
    return tasks


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_requests_that_arrive_during_a_forward_pass_form_the_next_batch(
    model: ImageModel, gate: Gate, batches: list[list[int]]
) -> None:
    async def scenario(batcher: Batcher) -> None:
        tasks = await queued(batcher, gate, batches, *(work(number) for number in range(1, 7)))
        for number, result in enumerate(await asyncio.gather(*tasks)):
            assert_close(result.predictions, predict_inputs(model, work(number).inputs))

    metric = run(model, scenario)
    assert batches[:3] == [[0], [1, 2, 3, 4], [5, 6]]
    assert (metric("batch_size_sum"), metric("batch_size_count")) == (7, 3)
    assert (metric("queue_seconds_count"), metric("compute_seconds_count")) == (7, 3)
    assert metric("queue_depth") == 0


def test_a_batch_is_limited_but_a_request_is_never_split(
    model: ImageModel, gate: Gate, batches: list[list[int]]
) -> None:
    async def scenario(batcher: Batcher) -> None:
        sizes = ((1, 3), (2, 2), (3, 2), (4, 7), (5, 1))
        works = [work(*size) for size in sizes]
        await asyncio.gather(*await queued(batcher, gate, batches, *works))

    run(model, scenario)
    assert batches == [[0], [1] * 3, [2, 2, 3, 3], [4] * 7, [5]]


def test_a_batch_waits_for_upcoming_requests(model: ImageModel, batches: list[list[int]]) -> None:
    upcoming = 3

    async def scenario(batcher: Batcher) -> None:
        nonlocal upcoming
        tasks = []
        for number in range(3):
            upcoming -= 1
            tasks += submit(batcher, work(number))
            await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)

    run(model, scenario, batch_wait=15.0, num_upcoming=lambda: upcoming)
    assert batches == [[0, 1], [2]]  # two waited for one


def test_a_batch_stops_waiting_after_batch_wait_or_when_nothing_is_upcoming(
    model: ImageModel, batches: list[list[int]]
) -> None:
    async def in_vain(batcher: Batcher) -> None:
        await batcher.submit(work(1))

    run(model, in_vain, batch_wait=0.05, num_upcoming=lambda: 9)
    upcoming = 1

    async def cancelled(batcher: Batcher) -> None:
        nonlocal upcoming
        (task,) = submit(batcher, work(2))
        await asyncio.sleep(0.01)
        assert batches == [[1]]
        upcoming = 0
        batcher.notify()
        await task

    run(model, cancelled, batch_wait=15.0, num_upcoming=lambda: upcoming)
    assert batches == [[1], [2]]


def test_a_request_that_is_cancelled_in_the_queue_is_never_computed(
    model: ImageModel, gate: Gate, batches: list[list[int]]
) -> None:
    async def scenario(batcher: Batcher) -> None:
        gate.close()
        (running,) = submit(batcher, work(0))
        await until(lambda: batches)
        with pytest.raises(TimeoutError):  # while the model is busy
            async with asyncio.timeout(0.02):
                await batcher.submit(work(1))
        (later,) = submit(batcher, work(2))
        await until(lambda: batcher.queue)
        running.cancel()  # which disturbs neither its batch nor the next one
        gate.open()
        await later

    metric = run(model, scenario)
    assert batches == [[0], [2]]
    assert metric("queue_depth") == 0


def test_each_request_gets_its_own_predictions_and_attention(model: ImageModel) -> None:
    def inputs(rows: int, seed: int) -> tuple[ModelInput, ...]:
        return tuple(ModelInput(torch.from_numpy(row)) for row in tensor(rows, seed))

    batch = [
        Work(inputs=inputs(2, seed=1)),
        Work(inputs=inputs(3, seed=2), explain=True),
        Work(inputs=inputs(1, seed=3)),
        Work(inputs=inputs(1, seed=4), explain=True),
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
    broken = Work(inputs=(ModelInput(torch.zeros(1, 28, 27, dtype=torch.uint8)),))
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
