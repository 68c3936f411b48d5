import time

import pytest
import torch
from torch import Tensor

from clearhead.studies.measures.cost import longest_chain, peak_bytes, processor_seconds, speedup


def test_peak_counts_what_is_held_at_once_and_not_what_was_let_go() -> None:
    megabyte = 1_000_000

    def one_after_another() -> Tensor:
        torch.zeros(megabyte, dtype=torch.uint8)
        torch.zeros(megabyte, dtype=torch.uint8)
        return torch.zeros(2 * megabyte, dtype=torch.uint8)

    def together() -> tuple[Tensor, ...]:
        return tuple(torch.zeros(megabyte, dtype=torch.uint8) for _ in range(5))

    assert peak_bytes(one_after_another) == pytest.approx(2 * megabyte, rel=0.01)
    assert peak_bytes(together) == pytest.approx(5 * megabyte, rel=0.01)


def test_peak_sees_what_a_formula_holds_on_its_way() -> None:
    x = torch.zeros(500, 500)
    assert peak_bytes(lambda: ((x + 1) + (x + 2)).sum()) == pytest.approx(
        3 * 500 * 500 * 4, rel=0.01
    )


def test_the_longest_chain_of_a_sum_step_by_step_and_at_once() -> None:
    x = torch.zeros(8, requires_grad=True)
    total = x[0] * 1
    for step in range(1, 8):
        total = total + x[step]
    assert longest_chain(total) == 1 + 1 + 1 + 7  # leaf, select, times 1, seven sums
    assert longest_chain(x.sum()) == 2


def test_a_chain_is_counted_once_however_many_ways_lead_there() -> None:
    x = torch.ones((), requires_grad=True)
    y = x
    for _ in range(60):
        y = y + y * y  # 2⁶⁰ paths
    assert longest_chain(y) == 1 + 2 * 60


def test_processor_time_counts_work_and_not_waiting() -> None:
    calls = []

    def wait() -> None:
        calls.append(1)
        time.sleep(0.02)

    assert processor_seconds(wait, repeats=3) < 0.01
    assert len(calls) == 4


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    seen = []
    gain = speedup(lambda: seen.append(torch.get_num_threads()), repeats=2, threads=2)
    assert seen == [1, 1, 1, 2, 2, 2]
    assert torch.get_num_threads() == before
    assert gain > 0
