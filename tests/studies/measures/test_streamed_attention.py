import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clearhead import attention
from clearhead.studies.measures.cost import peak_bytes, streamed_attention


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.floats(0, 100)
)
@settings(deadline=None, max_examples=40)
def test_it_is_attention_whatever_the_blocks(
    queries: int, keys: int, rows: int, columns: int, size: float
) -> None:
    query, key, value = drawn(2, queries, 5) * size, drawn(2, keys, 5, seed=1), drawn(2, keys, 3)
    found = streamed_attention(query, key, value, rows=rows, columns=columns)
    torch.testing.assert_close(found, attention.attention_stages(query, key, value).context)


def test_it_never_holds_the_matrix() -> None:
    x = torch.randn(1, 700, 8)
    small = peak_bytes(lambda: streamed_attention(x, x, x, rows=20, columns=50))
    assert small < 700 * 700 * 4 / 5
    assert peak_bytes(lambda: attention.attention_stages(x, x, x)) > 2 * 700 * 700 * 4


def test_scores_beyond_the_exponential_stay_finite() -> None:
    query, key = torch.full((1, 3, 4), 300.0), torch.full((1, 7, 4), 300.0)
    found = streamed_attention(query, key, torch.ones(1, 7, 2), columns=2)
    torch.testing.assert_close(found, torch.ones(1, 3, 2))
