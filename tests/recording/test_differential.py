"""Differential attention: two softmaxes of all tokens, subtracted, with the same values."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import clearhead as ch

from .reference import assert_stages, attention, normal


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_both_attentions_of_a_differential_layer_are_recorded(heads: int) -> None:
    from timm.layers.diff_attention import DiffAttention

    layer = DiffAttention(24, num_heads=heads).eval()
    tokens = torch.randn(2, 7, 24)
    layer.fused_attn = True
    with torch.no_grad(), ch.capture() as recording:
        output = layer(tokens)
    recording.verify()
    assert recording.unrecorded == ()
    assert [tuple(x.weights.shape) for x in recording.records] == [(2, heads, 7, 7)] * 2
    layer.fused_attn = False
    with torch.no_grad():
        torch.testing.assert_close(output, layer(tokens))


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Differential(torch.nn.Module):
    """The authors' code, with values of twice the width, or in two parts of one width."""

    def __init__(self, attend: Attend, num_values: int) -> None:
        super().__init__()
        self.attend, self.num_values = attend, num_values

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        values = v.chunk(self.num_values, -1)
        first, second = (
            torch.cat([self.attend(q[:, :, i], k[:, :, i], x) for x in values], -1) for i in (0, 1)
        )
        result: Tensor = first - 0.3 * second
        return result


def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores: Tensor = q @ k.mT * q.shape[-1] ** -0.5
    return scores.softmax(-1) @ v


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("keys", [5, 7])
@pytest.mark.parametrize("num_values", [1, 2])
@pytest.mark.parametrize("attend", [F.scaled_dot_product_attention, explicit])
def test_each_softmax_of_differential_attention_is_a_record(
    attend: Any, num_values: int, keys: int, heads: int
) -> None:
    q, k = normal(2, heads, 2, 5, 4), normal(2, heads, 2, keys, 4, seed=1)
    v = normal(2, heads, keys, 8, seed=2)
    with ch.capture() as recording:
        Differential(attend, num_values)(q, k, v)
    recording.verify()
    assert recording.unrecorded == ()
    assert len(recording) == 2 * num_values
    for number, record in enumerate(recording.records):
        half, part = divmod(number, num_values)
        values = v.chunk(num_values, -1)[part]
        assert_stages(record, attention(q[:, :, half], k[:, :, half], values))
