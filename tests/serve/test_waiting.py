"""The room where requests wait for a place."""

import asyncio
from functools import partial

from clearhead.serve.admission import Admission
from clearhead.serve.metrics import Metrics
from clearhead.serve.waiting import MOMENT, WaitingRoom

from .loops import run_alone


def full_house(capacity: int = 1) -> tuple[Admission, WaitingRoom]:
    admission = Admission(Metrics(), capacity=capacity, max_bytes=10)
    return admission, WaitingRoom(admission)


def test_who_waits_is_let_in_when_a_place_is_free_first_come_first() -> None:
    async def scenario() -> None:
        admission, room = full_house()
        told: list[str] = []
        with admission.place():
            for name in ("first", "second"):
                room.enter(partial(told.append, f"{name} in"), partial(told.append, "refused"))
            assert told == []
        assert told == ["first in"]
        with admission.place():
            pass
        assert told == ["first in", "second in"]
        await asyncio.sleep(2 * MOMENT)
        assert told == ["first in", "second in"]

    run_alone(scenario())


def test_who_is_not_let_in_is_refused_after_a_moment_and_not_before() -> None:
    async def scenario() -> None:
        admission, room = full_house()
        told: list[tuple[str, float]] = []
        loop = asyncio.get_running_loop()

        def tell(name: str, since: float) -> None:
            told.append((name, loop.time() - since))

        with admission.place():
            for name, later in (("first", 0.6 * MOMENT), ("second", 0.0)):
                began = loop.time()
                room.enter(partial(tell, "in", began), partial(tell, name, began))
                await asyncio.sleep(later)
            await asyncio.sleep(3 * MOMENT)
        assert [name for name, _ in told] == ["first", "second"]
        assert all(waited > 0.8 * MOMENT for _, waited in told)

    run_alone(scenario())


def test_who_has_left_is_neither_let_in_nor_refused() -> None:
    async def scenario() -> None:
        admission, room = full_house()
        told: list[str] = []
        with admission.place():
            gone = room.enter(lambda: told.append("in"), lambda: told.append("refused"))
            room.enter(lambda: told.append("next in"), lambda: told.append("refused"))
            room.leave(gone)
        room.leave(gone)  # twice is no harm
        await asyncio.sleep(2 * MOMENT)
        assert told == ["next in"]

    run_alone(scenario())


def test_a_free_place_lets_in_one_and_a_full_house_nobody() -> None:
    async def scenario() -> None:
        admission, room = full_house(capacity=2)
        told: list[int] = []
        with admission.place(), admission.place():
            for number in range(3):
                room.enter(partial(told.append, number), lambda: None)
            admission.capacity = 1
        # One of the two places that were given back was one too many.
        assert told == [0]

    run_alone(scenario())
