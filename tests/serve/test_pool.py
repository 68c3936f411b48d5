"""The processes that decode and classify: batches, replacement, cancellation."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import HTTPException, Response

from clearhead.data.preprocessing.digits import NO_DIGIT
from clearhead.inference import ModelCopy, ModelInput, predict, predict_inputs, prepare
from clearhead.models import build
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.pretrained import ImageModel
from clearhead.serve import _pool
from clearhead.serve._compute import Job
from clearhead.serve._pictures import Selection
from clearhead.serve._pool import Pool
from clearhead.serve.config import ServeConfig
from clearhead.serve.telemetry import Metrics

from .server import BLANK, LONG, Copy, advance, png, run_async, stopped, tensor, tensor_request


def run(
    model: ImageModel,
    scenario: Callable[[Pool], Coroutine[Any, Any, None]],
    processes: int = 1,
) -> Callable[[str], float | None]:
    """Run a scenario; the values of metrics afterwards."""
    metrics = Metrics()

    async def main() -> None:
        config = ServeConfig(
            name="small", model_processes=processes, max_batch=3, body_limit=10**6, deadline=LONG
        )
        async with Pool(ModelCopy(model), config, metrics) as pool:
            await scenario(pool)

    run_async(main())
    return lambda name: metrics.registry.get_sample_value(f"clearhead_{name}")


def pictures(pool: Pool, *numbers: int) -> list[asyncio.Task[Response]]:
    return [asyncio.create_task(pool.run(Job("picture", png(number)))) for number in numbers]


def content_of(response: Response) -> Any:
    return json.loads(bytes(response.body))


def label_of(response: Response) -> Any:
    return content_of(response)["label"]


def test_each_kind_of_body_gets_its_result(model: ImageModel) -> None:
    async def scenario(pool: Pool) -> None:
        responses = await asyncio.gather(
            pool.run(Job("picture", png(2))),
            pool.run(Job("picture", BLANK)),
            pool.run(Job("picture", png(1), Selection([2, 0], [4]))),
            pool.run(Job("tensor", tensor_request(3, seed=5, id="x"))),
        )
        picture, blank, explained, three = map(content_of, responses)
        expected = predict(model, png(2))
        assert picture["label"] == expected.label
        np.testing.assert_allclose(picture["probabilities"], expected.probabilities, atol=1e-6)
        assert blank["warnings"] == [NO_DIGIT]
        single = prepare(png(1), model.config, single=True)
        assert explained["pixels"] == single.pixels.tolist()
        assert [(part["layer"], part["head"]) for part in explained["attention"]] == [
            (2, 4),
            (0, 4),
        ]
        assert np.shape(explained["attention"][0]["weights"]) == (17, 17)
        inputs = [ModelInput(torch.from_numpy(row)) for row in tensor(3, seed=5)]
        labels = [prediction.label for prediction in predict_inputs(model, inputs)]
        assert (three["model_name"], three["id"]) == ("small", "x")
        assert three["outputs"][1]["data"] == labels

    began = time.monotonic()
    metric = run(model, scenario)
    elapsed = time.monotonic() - began
    assert metric("batch_size_sum") == 6
    assert metric("decode_seconds_count") == metric("queue_seconds_count") == 4
    decoding, computing = (metric(f"{name}_seconds_sum") or 0.0 for name in ("decode", "compute"))
    assert min(decoding, computing) > 0
    assert decoding + computing < elapsed  # there is one process


def test_requests_that_wait_are_divided_among_the_processes(model: ImageModel) -> None:
    sizes = []

    async def scenario(pool: Pool) -> None:
        with stopped(pool):
            tasks = pictures(pool, *range(9))
            await asyncio.sleep(0)
            sizes.append(len(pool.waiting))
        responses = await asyncio.gather(*tasks)
        np.testing.assert_allclose(
            [content_of(response)["probabilities"] for response in responses],
            [predict(model, png(number)).probabilities for number in range(9)],
            atol=1e-6,
        )

    metric = run(model, scenario, processes=2)
    assert sizes == [7]  # each process has one
    # ceil(7 / 2) is above the maximum of 3; then ceil(4 / 2), and 1 and 1
    assert (metric("batch_size_sum"), metric("batch_size_count")) == (9, 6)
    assert metric("queue_depth") == 0


def test_a_process_that_ends_or_hangs_is_replaced_and_fails_one_picture(model: ImageModel) -> None:
    async def scenario(pool: Pool) -> None:
        for ends in (True, False):
            (worker,) = pool.workers
            with stopped(pool):
                (task,) = pictures(pool, 2)
                while pool.free:
                    await asyncio.sleep(0)
                if ends:
                    os.kill(worker.pid, signal.SIGKILL)
                else:
                    await asyncio.sleep(0)
                    advance(pool.loop, LONG)
                with pytest.raises(HTTPException) as refused:
                    await task
            assert refused.value.status_code == 422
            assert label_of(await pictures(pool, 2)[0]) == predict(model, png(2)).label
            worker.process.join()
            assert worker.process.exitcode == -signal.SIGKILL
        (worker,) = pool.workers
        os.kill(worker.pid, signal.SIGKILL)  # while it is idle
        while not worker.has_ended:
            await asyncio.sleep(0.01)
        assert label_of(await pictures(pool, 3)[0]) == predict(model, png(3)).label

    run(model, scenario)


def test_the_end_of_the_pool_kills_a_process_that_hangs(model: ImageModel) -> None:
    ended: list[Any] = []

    async def scenario(pool: Pool) -> None:
        (worker,) = pool.workers
        os.kill(worker.pid, signal.SIGSTOP)
        ended.append(worker.process)

    run(model, scenario)
    assert ended[0].exitcode == -signal.SIGKILL


def test_a_process_that_ends_at_its_start_is_started_again(
    model: ImageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "SECONDS_BETWEEN_STARTS", 0.01)

    async def scenario(pool: Pool) -> None:
        start, failing = pool.start, [Copy(os._exit, 1)] * 2

        def start_or_fail() -> Any:
            return _pool._Worker(failing.pop(), start.args[1]) if failing else start()  # type: ignore[arg-type]

        pool.start = start_or_fail  # type: ignore[assignment]
        (worker,) = pool.workers
        os.kill(worker.pid, signal.SIGKILL)
        while not worker.has_ended:
            await asyncio.sleep(0.01)
        assert label_of(await pictures(pool, 3)[0]) == predict(model, png(3)).label
        assert not failing

    run(model, scenario)


class Fatal:
    """In place of a body: ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (1,)


def test_after_the_end_of_a_process_each_picture_of_its_batch_is_repeated_alone(
    model: ImageModel,
) -> None:
    async def scenario(pool: Pool) -> None:
        with stopped(pool):
            tasks = pictures(pool, 0, 1)
            await asyncio.sleep(0)
            fatal = asyncio.create_task(pool.run(Job("picture", Fatal())))  # type: ignore[arg-type]
            tasks += pictures(pool, 2, 3)
            await asyncio.sleep(0)
        labels = [*map(label_of, await asyncio.gather(*tasks))]
        assert labels == [predict(model, png(number)).label for number in range(4)]
        with pytest.raises(HTTPException) as refused:
            await fatal
        assert refused.value.status_code == 422

    metric = run(model, scenario)
    assert (metric("batch_size_sum"), metric("batch_size_count")) == (4, 4)


def test_a_request_that_is_cancelled_before_its_turn_is_not_decoded(model: ImageModel) -> None:
    async def scenario(pool: Pool) -> None:
        with stopped(pool):
            first, leaving, last = pictures(pool, 1, 2, 3)
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.sleep(0)
            assert len(pool.waiting) == 1
            first.cancel()  # which disturbs neither its process nor the next request
        await last

    metric = run(model, scenario)
    assert metric("decode_seconds_count") == 2
    assert metric("queue_depth") == 0


def test_a_process_preprocesses_as_predict_does() -> None:
    config = CNNConfig(image_size=(12, 20), in_channels=3, num_classes=2, class_names=("é", "b"))
    model = build(config)

    async def scenario(pool: Pool) -> None:
        response = content_of(await pictures(pool, 1)[0])
        expected = predict(model, png(1))
        assert (response["label"], response["classes"]) == (expected.label, ["é", "b"])
        assert response["probability"] == pytest.approx(expected.probability, abs=1e-6)

    run(model, scenario)


def test_a_model_that_returns_nan_fails_with_its_reason() -> None:
    broken = build(ViTConfig(depth=1))
    with torch.no_grad():
        broken.head.bias[5] = float("nan")

    async def scenario(pool: Pool) -> None:
        with pytest.raises(RuntimeError, match="NaN"):
            await pictures(pool, 1)[0]
        assert next(iter(pool.workers)) in pool.free

    run(broken, scenario)
