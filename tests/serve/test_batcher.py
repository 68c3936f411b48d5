import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
import torch

from clearhead.inference import ModelInput, Prediction
from clearhead.serve.batcher import Batcher
from clearhead.serve.metrics import Metrics
from clearhead.serve.work import Done, Work

from .loops import run_alone


def work(name: int, rows: int = 1) -> Work:
    pixels = torch.full((1, 3, 5), name, dtype=torch.uint8)
    return Work(pictures=(ModelInput(pixels),) * rows)


def name_of(one: Work) -> int:
    return int(one.pictures[0].pixels[0, 0, 0])


class Model:
    """Answers with the name; it can be held up, and it notes what it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.threads: set[int] = set()

    def __call__(self, batch: Sequence[Work]) -> list[Done | Exception]:
        self.batches.append([name_of(one) for one in batch])
        self.threads.add(threading.get_ident())
        self.may_go_on.wait()
        return [
            ValueError("thirteen")
            if name_of(one) == 13
            else Done(predictions=(Prediction(label=str(name_of(one))),))
            for one in batch
        ]


def run(
    scenario: Callable[[Model, Batcher], Coroutine[Any, Any, None]], **settings: Any
) -> tuple[Model, Metrics]:
    model, metrics = Model(), Metrics()

    async def main() -> None:
        async with Batcher(model, metrics, **{"max_batch": 4, **settings}) as batcher:
            await asyncio.wait_for(scenario(model, batcher), 20)

    run_alone(main())
    return model, metrics


def label(done: Done) -> str | None:
    return done.predictions[0].label


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_what_arrives_while_a_batch_computes_is_the_next_batch() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.may_go_on.clear()
        asked = [asyncio.create_task(batcher.submit(work(0)))]
        await until(lambda: model.batches)
        asked += [asyncio.create_task(batcher.submit(work(name))) for name in range(1, 7)]
        await until(lambda: len(batcher.waiting) == 6)
        model.may_go_on.set()
        assert [label(done) for done in await asyncio.gather(*asked)] == list("0123456")

    model, metrics = run(scenario)
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert len(model.threads) == 1
    assert metrics.registry.get_sample_value("clearhead_batch_size_sum") == 7
    assert metrics.registry.get_sample_value("clearhead_batch_size_count") == 3
    assert metrics.registry.get_sample_value("clearhead_queue_seconds_count") == 7
    assert metrics.registry.get_sample_value("clearhead_compute_seconds_count") == 3
    assert metrics.registry.get_sample_value("clearhead_queue_depth") == 0


def test_a_batch_has_at_most_so_many_images_but_one_request_is_never_split() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.may_go_on.clear()
        asked = [asyncio.create_task(batcher.submit(work(0)))]
        await until(lambda: model.batches)
        for name, rows in ((1, 3), (2, 2), (3, 2), (4, 7), (5, 1)):
            asked.append(asyncio.create_task(batcher.submit(work(name, rows))))
        await until(lambda: len(batcher.waiting) == 5)
        model.may_go_on.set()
        await asyncio.gather(*asked)

    model, _ = run(scenario)
    assert model.batches == [[0], [1], [2, 3], [4], [5]]


def test_a_batch_waits_for_what_is_on_the_way() -> None:
    coming = 3

    async def scenario(model: Model, batcher: Batcher) -> None:
        nonlocal coming
        asked = []
        for name in range(3):
            coming -= 1
            asked.append(asyncio.create_task(batcher.submit(work(name))))
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)

    model, _ = run(scenario, gather=15.0, on_the_way=lambda: coming)
    assert model.batches == [[0, 1], [2]]  # two are as many as what they would wait for


def test_it_does_not_wait_for_what_does_not_come() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        await batcher.submit(work(1))

    model, _ = run(scenario, gather=0.05, on_the_way=lambda: 9)
    assert model.batches == [[1]]

    coming = 1

    async def called_off(model: Model, batcher: Batcher) -> None:
        nonlocal coming
        asked = asyncio.create_task(batcher.submit(work(1)))
        await asyncio.sleep(0.01)
        assert model.batches == []
        coming = 0
        batcher.consider()
        await asked

    model, _ = run(called_off, gather=15.0, on_the_way=lambda: coming)
    assert model.batches == [[1]]


def test_a_deadline_fires_while_the_model_is_busy_and_what_expired_never_runs() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.may_go_on.clear()
        running = asyncio.create_task(batcher.submit(work(0)))
        await until(lambda: model.batches)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await batcher.submit(work(1))
        assert not running.done()
        later = asyncio.create_task(batcher.submit(work(2)))
        await until(lambda: batcher.waiting)
        model.may_go_on.set()
        assert [label(await running), label(await later)] == ["0", "2"]

    model, metrics = run(scenario)
    assert model.batches == [[0], [2]]
    assert metrics.registry.get_sample_value("clearhead_queue_depth") == 0


def test_who_leaves_while_its_batch_runs_spoils_nothing() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.may_go_on.clear()
        gone = asyncio.create_task(batcher.submit(work(0)))
        await until(lambda: model.batches)
        gone.cancel()
        model.may_go_on.set()
        assert label(await batcher.submit(work(1))) == "1"

    model, _ = run(scenario)
    assert model.batches == [[0], [1]]


def test_a_failure_belongs_to_one_request_alone() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.may_go_on.clear()
        asked = [asyncio.create_task(batcher.submit(work(name))) for name in (1, 2, 13, 3)]
        await until(lambda: model.batches and len(batcher.waiting) == 3)
        model.may_go_on.set()
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(done[2], ValueError)
        assert [label(one) for one in done if isinstance(one, Done)] == ["1", "2", "3"]

    model, _ = run(scenario)
    assert model.batches == [[1], [2, 13, 3]]
