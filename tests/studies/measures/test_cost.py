import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clearhead import attention
from clearhead.studies.measures import cost
from clearhead.studies.measures.cost import (
    exponent,
    fastest,
    local_slopes,
    longest_chain,
    peak_bytes,
    sequence_layer,
    speedup,
    streamed_attention,
)


def test_peak_memory_is_what_is_held_at_once() -> None:
    megabyte = 1_000_000

    def one_after_another() -> Tensor:
        torch.zeros(3 * megabyte, dtype=torch.uint8)  # gone before the next one
        return torch.zeros(2 * megabyte, dtype=torch.uint8)

    def together() -> tuple[Tensor, ...]:
        return tuple(torch.zeros(megabyte, dtype=torch.uint8) for _ in range(5))

    assert peak_bytes(one_after_another) == pytest.approx(3 * megabyte, rel=0.01)
    assert peak_bytes(together) == pytest.approx(5 * megabyte, rel=0.01)


def test_longest_chain_of_a_sum_step_by_step_and_at_once() -> None:
    x = torch.zeros(8, requires_grad=True)
    total = x[0] * 1
    for step in range(1, 8):
        total = total + x[step]
    assert longest_chain(total) == 1 + 1 + 1 + 7  # leaf, select, times 1, seven sums
    assert longest_chain(x.sum()) == 2


def test_longest_chain_takes_linear_time_with_exponentially_many_paths() -> None:
    x = torch.ones((), requires_grad=True)
    y = x
    for _ in range(60):
        y = y + y * y  # 2⁶⁰ paths
    assert longest_chain(y) == 1 + 2 * 60


def test_processor_time_does_not_include_waiting() -> None:
    calls = []

    def wait() -> None:
        calls.append(1)
        time.sleep(0.02)

    assert fastest(wait, 3, time.process_time) < 0.01
    assert len(calls) == 4


def test_the_time_is_the_least_of_several_runs_and_the_speedup_over_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter((0.0, 5.0, 10.0, 12.0, 20.0, 23.0))
    runs: list[int] = []
    assert fastest(lambda: runs.append(1), 3, lambda: next(times)) == 2.0
    assert len(runs) == 4
    monkeypatch.setattr(cost, "fastest", lambda *_: 6.0 / torch.get_num_threads())
    assert speedup(lambda: None, 1) == 2.0


def test_speedup_restores_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    seen = []
    gain = speedup(lambda: seen.append(torch.get_num_threads()), repeats=2, threads=2)
    assert seen == [1, 1, 1, 2, 2, 2]
    assert torch.get_num_threads() == before
    assert gain > 0


def test_exponents_are_slopes_of_log_against_log() -> None:
    lengths = [3, 7, 19, 40]
    assert exponent(lengths, [5 * n**1.7 for n in lengths]) == pytest.approx(1.7)
    assert exponent([16, 32, 64, 128], [15] * 4) == 0
    assert local_slopes([1, 2, 8], [3, 12, 12]) == pytest.approx([2, 0])


def test_all_ways_to_compute_attention_give_the_same_context() -> None:
    x = torch.randn(1, 37, 8, generator=torch.Generator().manual_seed(1))
    contexts = [sequence_layer(name, 8)(x) for name in ("explicit", "fused", "streamed")]
    for context in contexts[1:]:
        torch.testing.assert_close(context, contexts[0])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.floats(0, 1e6)
)
@settings(deadline=None, max_examples=20)
def test_streamed_attention_is_attention_for_all_block_sizes(
    queries: int, keys: int, rows: int, columns: int, size: float
) -> None:
    query, key, value = drawn(2, queries, 5) * size, drawn(2, keys, 5, seed=1), drawn(2, keys, 3)
    result = streamed_attention(query, key, value, rows=rows, columns=columns)
    torch.testing.assert_close(result, attention.attention_stages(query, key, value).context)


def test_streamed_attention_never_holds_the_matrix() -> None:
    x = torch.randn(1, 400, 8)
    small = peak_bytes(lambda: streamed_attention(x, x, x, rows=20, columns=50))
    assert small < 400 * 400 * 4 / 5
    assert peak_bytes(lambda: attention.attention_stages(x, x, x)) > 2 * 400 * 400 * 4
