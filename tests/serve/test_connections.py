"""One connection whose requests find no place, without a server around it."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from clearhead.serve.admission import Admission
from clearhead.serve.config import ServeConfig
from clearhead.serve.connections import PatientProtocol
from clearhead.serve.door import Door
from clearhead.serve.metrics import Metrics
from clearhead.serve.waiting import MOMENT

from .loops import run_alone
from .served import post

PATH = "/v1/predict"
# A second word in this header: for the real parser.
READ = {"plain": post(b"1234567", PATH), "parsed": post(b"1234567", PATH, "Connection: a, b")}


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False
        self.reading = True

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class House:
    """A door with one place, an application that answers with the body, one connection."""

    def __init__(self) -> None:
        metrics = Metrics()
        self.admission = Admission(metrics, capacity=1, max_bytes=100)
        service = SimpleNamespace(config=ServeConfig(), admission=self.admission, metrics=metrics)
        self.asked: list[bytes] = []
        self.door = Door(self.answer, service=cast("Any", service), routes=[PATH], limited=[PATH])
        config = uvicorn.Config(self.door, http="httptools", ws="none", lifespan="off")
        config.load()
        self.connection = PatientProtocol(
            config=config, server_state=ServerState(), app_state={}, patience=9.0, door=self.door
        )
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append((await receive())["body"])
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.parametrize("request_", READ.values(), ids=READ)
def test_the_same_request_is_let_in_when_a_place_becomes_free(request_: bytes) -> None:
    async def scenario() -> None:
        house = House()
        with house.admission.place():
            house.connection.data_received(request_)
            await asyncio.sleep(MOMENT / 5)
            assert (house.wire.sent, house.asked) == (b"", [])
        await asyncio.sleep(MOMENT / 5)
        assert house.asked == [b"1234567"]
        await asyncio.sleep(2 * MOMENT)
        assert house.wire.sent.startswith(b"HTTP/1.1 200")
        assert house.wire.sent.count(b"HTTP/1.1") == 1
        assert house.wire.reading

    run_alone(scenario())


@pytest.mark.parametrize("request_", READ.values(), ids=READ)
def test_it_is_refused_once_if_none_does_and_the_connection_goes_on(request_: bytes) -> None:
    async def scenario() -> None:
        house = House()
        with house.admission.place():
            for times in (1, 2):
                house.connection.data_received(request_)
                assert house.wire.sent.count(b"HTTP/1.1 429") == times - 1
                await asyncio.sleep(2 * MOMENT)
                assert house.wire.sent.count(b"HTTP/1.1 429") == times
                assert house.wire.reading
        house.connection.data_received(request_)
        await asyncio.sleep(MOMENT / 5)
        assert house.asked == [b"1234567"]
        assert house.wire.sent.count(b"HTTP/1.1") == 3
        assert not house.wire.closed

    run_alone(scenario())


@pytest.mark.parametrize("request_", READ.values(), ids=READ)
def test_who_leaves_while_waiting_is_not_asked_for(request_: bytes) -> None:
    async def scenario() -> None:
        house = House()
        with house.admission.place():
            house.connection.data_received(request_)
            house.connection.connection_lost(None)
        await asyncio.sleep(2 * MOMENT)
        assert (house.wire.sent, house.asked) == (b"", [])

    run_alone(scenario())
