import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import HTTPException

from clearhead.data.preprocessing.digits import NO_DIGIT
from clearhead.errors import ImageError, InputError
from clearhead.inference import prepare
from clearhead.models.config import CNNConfig, ImageModelConfig, ViTConfig
from clearhead.serve.decoder import decode, settings_of
from clearhead.serve.decoders import Decoders
from clearhead.serve.frames import frame, read_frame
from clearhead.serve.metrics import Metrics
from clearhead.serve.upload import picture_from

from .drawings import BLANK, png
from .loops import run_alone
from .served import tensor, tensor_request


def run(
    scenario: Callable[[Decoders], Coroutine[Any, Any, None]], seconds: float = 30.0
) -> Metrics:
    metrics = Metrics()

    async def main() -> None:
        decoders = Decoders(ViTConfig(), metrics, processes=1, most=3, seconds=seconds)
        async with decoders:
            await asyncio.wait_for(scenario(decoders), 60)

    run_alone(main())
    return metrics


def test_a_decoder_that_dies_or_hangs_is_replaced_and_spoils_one_picture() -> None:
    async def scenario(decoders: Decoders) -> None:
        seat = decoders.seats[0]
        one = await decoders.decode("picture", png(1), "image/png")
        expected = prepare(png(1), ViTConfig())
        assert torch.equal(one.pictures[0].pixels, expected.pixels)
        assert one.pictures[0].warnings == expected.warnings
        blank = await decoders.decode("picture", BLANK, "image/png")
        assert (blank.pictures[0].found, blank.pictures[0].warnings) == (False, (NO_DIGIT,))
        three = await decoders.decode("tensor", tensor_request(3, seed=5, id="x"), "")
        rows = [picture.pixels.numpy() for picture in three.pictures]
        assert np.array_equal(rows, tensor(3, seed=5))
        assert (three.request_id, three.outputs) == ("x", ())

        for sent in (signal.SIGKILL, signal.SIGSTOP):  # the second is found out by the watch
            assert seat.process is not None
            os.kill(seat.process.process.pid, sent)
            with pytest.raises(HTTPException) as refused:
                await decoders.decode("picture", png(2), "image/png")
            assert refused.value.status_code == 422
            again = await decoders.decode("picture", png(2), "image/png")
            assert torch.equal(again.pictures[0].pixels, prepare(png(2), ViTConfig()).pixels)
        assert decoders.pending == 0

    metrics = run(scenario, seconds=1.5)
    assert metrics.registry.get_sample_value("clearhead_decode_seconds_count") == 7


def test_who_leaves_before_its_turn_is_not_decoded() -> None:
    async def scenario(decoders: Decoders) -> None:
        seat = decoders.seats[0]
        assert seat.process is not None
        asked: list[bytes] = []
        ask = seat.process.ask

        def note(message: bytes) -> tuple[dict[str, Any], bytes]:
            asked.append(message)
            return ask(message)

        seat.process.ask = note  # type: ignore[method-assign]
        os.kill(seat.process.process.pid, signal.SIGSTOP)
        first = asyncio.create_task(decoders.decode("picture", png(1), ""))
        while not asked:
            await asyncio.sleep(0.01)
        leaving = asyncio.create_task(decoders.decode("picture", png(2), ""))
        last = asyncio.create_task(decoders.decode("picture", png(3), ""))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        os.kill(seat.process.process.pid, signal.SIGCONT)
        await asyncio.gather(first, last)
        assert len(asked) == 2
        assert decoders.pending == 0

    run(scenario)


def test_a_message_comes_back_as_it_was() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream:
        with os.fdopen(writer, "wb") as out:
            out.write(frame({"a": "é"}, b"\x00\x01") + frame({}))
        assert read_frame(stream) == ({"a": "é"}, b"\x00\x01")
        assert read_frame(stream) == ({}, b"")
        assert read_frame(stream) is None


@pytest.mark.parametrize(
    "config",
    [
        ViTConfig(),
        CNNConfig(image_size=(12, 20), in_channels=3, num_classes=2, class_names=("é", "b")),
    ],
)
def test_a_decoder_prepares_as_python_does(config: ImageModelConfig) -> None:
    settings = ImageModelConfig(**settings_of(config))
    assert torch.equal(
        picture_from(png(1), "image/png", settings).pixels, prepare(png(1), config).pixels
    )


def test_a_defect_is_status_500_and_not_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("clearhead.serve.decoder.picture_from", fail)
    header = {"kind": "picture", "content_type": ""}
    answer = decode(header, b"", ViTConfig(), 1)
    assert b'"status": 500' in answer
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [(ImageError, 422), (InputError, 400)])
def test_what_cannot_be_read_has_its_status(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], status: int
) -> None:
    def fail(*_: object) -> None:
        raise error("why")

    monkeypatch.setattr("clearhead.serve.decoder.picture_from", fail)
    header = {"kind": "picture", "content_type": ""}
    assert decode(header, b"", ViTConfig(), 1) == frame({"status": status, "error": "why"})
