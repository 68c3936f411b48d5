import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import HTTPException

from clearhead.data.preprocessing.digits import NO_DIGIT
from clearhead.inference import prepare
from clearhead.models import build
from clearhead.models.config import CNNConfig, ImageModelConfig, ViTConfig
from clearhead.serve._bodies import BodyHeaders
from clearhead.serve._decoders import Decoders
from clearhead.serve.metrics import Metrics

from .server import BLANK, png, run_async, tensor, tensor_request


def run(
    scenario: Callable[[Decoders], Coroutine[Any, Any, None]],
    config: ImageModelConfig | None = None,
    seconds: float = 30.0,
    body_limit: int = 10**6,
) -> Metrics:
    metrics = Metrics()

    async def main() -> None:
        decoders = Decoders(
            build(config or ViTConfig(depth=1)),
            metrics,
            processes=1,
            max_images=3,
            body_limit=body_limit,
            seconds=seconds,
        )
        async with decoders:
            await asyncio.wait_for(scenario(decoders), 60)

    run_async(main())
    return metrics


def test_a_process_that_dies_or_hangs_is_replaced_and_fails_one_picture() -> None:
    async def scenario(decoders: Decoders) -> None:
        (blank,) = (await decoders.decode("picture", BLANK, BodyHeaders())).inputs
        assert (blank.found, blank.warnings) == (False, (NO_DIGIT,))
        three = await decoders.decode("tensor", tensor_request(3, seed=5, id="x"), BodyHeaders())
        assert np.array_equal([x.pixels for x in three.inputs], tensor(3, seed=5))
        assert (three.request_id, three.outputs) == ("x", ())
        for number in (signal.SIGKILL, signal.SIGSTOP):  # a stopped process exceeds its time
            (worker,) = decoders.workers
            os.kill(worker.pid, signal.SIGSTOP)
            decoding = asyncio.create_task(decoders.decode("picture", png(2), BodyHeaders()))
            await asyncio.sleep(0.01)
            os.kill(worker.pid, number)
            with pytest.raises(HTTPException) as refused:
                await decoding
            assert refused.value.status_code == 422
            (again,) = (await decoders.decode("picture", png(2), BodyHeaders())).inputs
            expected = prepare(png(2), ViTConfig())
            assert torch.equal(again.pixels, expected.pixels)
            assert (again.warnings, again.box) == (expected.warnings, expected.box)
        (worker,) = decoders.workers
        os.kill(worker.pid, signal.SIGKILL)  # while it is idle
        await asyncio.sleep(0.3)
        with suppress(HTTPException):  # the end may not be noticed yet
            await decoders.decode("picture", png(2), BodyHeaders())
        (last,) = (await decoders.decode("picture", png(2), BodyHeaders())).inputs
        assert last.found
        assert decoders.pending == 0

    metrics = run(scenario, seconds=1.5)
    count = metrics.registry.get_sample_value("clearhead_decode_seconds_count")
    assert count == 8


def test_a_request_that_is_cancelled_before_its_turn_is_not_decoded() -> None:
    async def scenario(decoders: Decoders) -> None:
        (worker,) = decoders.workers
        os.kill(worker.pid, signal.SIGSTOP)
        first = asyncio.create_task(decoders.decode("picture", png(1), BodyHeaders()))
        await asyncio.sleep(0)
        leaving = asyncio.create_task(decoders.decode("picture", png(2), BodyHeaders()))
        last = asyncio.create_task(decoders.decode("picture", png(3), BodyHeaders()))
        await asyncio.sleep(0)
        assert decoders.pending == 3
        leaving.cancel()
        await asyncio.sleep(0)
        assert decoders.pending == 2
        os.kill(worker.pid, signal.SIGCONT)
        await asyncio.gather(first, last)
        assert decoders.workers == {worker}
        assert decoders.pending == 0

    run(scenario)


def test_a_decoder_preprocesses_as_predict_does() -> None:
    config = CNNConfig(image_size=(12, 20), in_channels=3, num_classes=2, class_names=("é", "b"))

    async def scenario(decoders: Decoders) -> None:
        (item,) = (await decoders.decode("picture", png(1), BodyHeaders())).inputs
        assert torch.equal(item.pixels, prepare(png(1), config).pixels)

    run(scenario, config)
