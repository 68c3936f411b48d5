"""Every argument of `scaled_dot_product_attention`, seen and compared with NumPy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import clearhead as ch
from clearhead.recording import AttentionRecord, Recording

from .independent import attention, normal, same_stages, triple

BOOL = torch.tensor([[True, False, True, True, False, True, True]] * 5)
BOOL[2] = torch.tensor([False, True, False, True, True, False, True])
FLOAT = normal(5, 7, seed=9)


def captured(*args: Any, **kwargs: Any) -> tuple[AttentionRecord, Tensor]:
    with ch.capture() as seen:
        output = F.scaled_dot_product_attention(*args, **kwargs)
    assert len(seen) == 1
    (proof,) = seen.verify()
    assert proof.holds
    return seen[0], output


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (2, 5, 3), (2, 1, 3), (1, 3), (1,)])
def test_two_to_five_axes(batch: tuple[int, ...]) -> None:
    q, k, v = triple(batch=batch)
    record, output = captured(q, k, v)
    leading = {0: (1, 1), 1: (*batch, 1)}.get(len(batch), batch)
    same_stages(record, attention(q, k, v), leading=leading)
    assert output.shape == (*batch, 5, 13)


def test_the_output_is_what_it_would_have_been_without_looking() -> None:
    q, k, v = triple(dtype=torch.float32)
    _, output = captured(q, k, v, attn_mask=BOOL)
    assert output.equal(F.scaled_dot_product_attention(q, k, v, attn_mask=BOOL))


@pytest.mark.parametrize("mask", [BOOL, FLOAT], ids=["bool", "float"])
@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (3, 5, 7), (2, 1, 5, 7), (2, 3, 5, 7), (1, 1)])
def test_masks_of_both_kinds_and_every_shape_that_broadcasts(
    mask: Tensor, shape: tuple[int, ...]
) -> None:
    rows, columns = shape[-2:]
    part = mask[:rows, :columns].clone()
    if shape[:-2] == (2, 3):
        part = torch.stack([part.roll(shift, -1) for shift in range(6)]).reshape(shape)
    part = part.expand(shape)
    q, k, v = triple()
    record, _ = captured(q, k, v, attn_mask=part)
    same_stages(record, attention(q, k, v, part))


def test_a_mask_in_two_and_three_axes() -> None:
    q, k, v = triple(batch=())
    record, _ = captured(q, k, v, attn_mask=BOOL)
    same_stages(record, attention(q, k, v, BOOL), leading=(1, 1))
    q, k, v = triple(batch=(3,))
    each = torch.stack([BOOL, BOOL.roll(1, 0), BOOL.roll(2, 1)])
    for mask in (BOOL, each, each.to(torch.float64)):
        record, _ = captured(q, k, v, attn_mask=mask)
        same_stages(record, attention(q, k, v, mask), leading=(3, 1))


@pytest.mark.parametrize("keys", [5, 7, 3])
def test_causal_also_where_there_are_more_keys_or_fewer(keys: int) -> None:
    q, k, v = triple(keys=keys)
    record, _ = captured(q, k, v, is_causal=True)
    same_stages(record, attention(q, k, v, causal=True))
    assert record.is_causal


@pytest.mark.parametrize("scale", [1.0, 0.3, -0.5, 0.0])
def test_a_scale_of_ones_own(scale: float) -> None:
    q, k, v = triple()
    record, _ = captured(q, k, v, scale=scale)
    same_stages(record, attention(q, k, v, scale=scale))
    assert record.scale == scale


def test_all_arguments_by_place() -> None:
    q, k, v = triple()
    record, _ = captured(q, k, v, BOOL, 0.0, False)
    same_stages(record, attention(q, k, v, BOOL))


def test_all_arguments_by_name() -> None:
    q, k, v = triple()
    record, _ = captured(query=q, key=k, value=v, attn_mask=FLOAT, dropout_p=0.0, scale=0.4)
    same_stages(record, attention(q, k, v, FLOAT, scale=0.4))


def test_what_is_stored_is_what_was_given() -> None:
    q, k, v = triple()
    record, output = captured(q, k, v, attn_mask=BOOL)
    assert record.query.equal(q)
    assert record.key.equal(k)
    assert record.value.equal(v)
    assert record.attn_mask is not None
    assert record.attn_mask.equal(BOOL)
    assert record.scale == pytest.approx(11**-0.5)
    assert record.output.equal(output)


@pytest.mark.parametrize("mask", [None, BOOL, FLOAT], ids=["none", "bool", "float"])
def test_grouped_queries(mask: Tensor | None) -> None:
    q, k, v = triple(batch=(2, 6), kv_batch=(2, 3))
    record, _ = captured(q, k, v, attn_mask=mask, enable_gqa=True)
    same_stages(record, attention(q, k, v, mask))
    assert record.weights.shape == (2, 6, 5, 7)


def test_one_key_head_for_all_by_broadcasting() -> None:
    q, k, v = triple(kv_batch=(2, 1))
    record, _ = captured(q, k, v)
    expected = attention(q, k, v)
    same_stages(record, expected)
    part = record.stages(batch=1, heads=2)
    np.testing.assert_allclose(part.weights, expected.weights[1:2, 2:3], atol=1e-12)


def test_keys_shared_by_the_whole_batch_by_broadcasting() -> None:
    q, k, v = triple(kv_batch=(1, 3))
    record, _ = captured(q, k, v, attn_mask=BOOL)
    expected = attention(q, k, v, BOOL)
    same_stages(record, expected)
    part = record.stages(batch=1, heads=[0, 2])
    np.testing.assert_allclose(part.weights, expected.weights[1:2][:, [0, 2]], atol=1e-12)


def test_queries_shared_by_the_whole_batch_by_broadcasting() -> None:
    q, k, v = triple(batch=(1, 3), kv_batch=(2, 3))
    mask = torch.stack([BOOL, BOOL.roll(1, 1)])[:, None]
    record, _ = captured(q, k, v, attn_mask=mask)
    expected = attention(q, k, v, mask)
    same_stages(record, expected)
    part = record.stages(batch=1, queries=[4])
    np.testing.assert_allclose(part.context, expected.context[1:2, :, 4:5], atol=1e-12)


def test_an_empty_batch() -> None:
    q, k, v = triple(batch=(0, 3))
    record, _ = captured(q, k, v, attn_mask=BOOL)
    assert record.weights.shape == (0, 3, 5, 7)
    assert record.context.shape == record.output.shape == (0, 3, 5, 13)


def test_a_batch_of_one() -> None:
    q, k, v = triple(batch=(1, 3))
    same_stages(captured(q, k, v)[0], attention(q, k, v))


def test_one_token() -> None:
    q, k, v = triple(queries=1, keys=1)
    record, _ = captured(q, k, v)
    same_stages(record, attention(q, k, v))
    assert record.weights.eq(1.0).all()


def test_one_number_a_head() -> None:
    q, k, v = triple(head_dim=1, value_dim=1)
    same_stages(captured(q, k, v)[0], attention(q, k, v))


@pytest.mark.parametrize(("queries", "keys"), [(0, 7), (5, 0), (0, 0)])
def test_no_queries_and_no_keys(queries: int, keys: int) -> None:
    q, k, v = triple(queries=queries, keys=keys)
    record, _ = captured(q, k, v)
    assert record.weights.shape == (2, 3, queries, keys)
    assert record.context.eq(0.0).all()


def test_a_row_with_every_key_masked_is_zero_as_in_torch() -> None:
    mask = BOOL.clone()
    mask[3] = False
    q, k, v = triple()
    record, output = captured(q, k, v, attn_mask=mask)
    same_stages(record, attention(q, k, v, mask))
    assert output[:, :, 3].eq(0.0).all()
    infinite = torch.zeros(5, 7, dtype=torch.float64).masked_fill(~mask, -math.inf)
    same_stages(captured(q, k, v, attn_mask=infinite)[0], attention(q, k, v, mask))


def test_scores_so_large_that_one_key_takes_all() -> None:
    q, k, v = triple()
    record, _ = captured(1e3 * q, 1e3 * k, v)
    assert record.weights.amax(-1).eq(1.0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mask", [None, BOOL, FLOAT], ids=["none", "bool", "float"])
def test_other_precisions(dtype: torch.dtype, mask: Tensor | None) -> None:
    q, k, v = triple(dtype=dtype)
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(dtype)
    record, _ = captured(q, k, v, attn_mask=mask)
    same_stages(record, attention(q, k, v, mask), dtype)


def test_tensors_that_are_views_with_their_axes_exchanged() -> None:
    packed = normal(2, 5, 3, 4, 11)  # tokens before heads, as one projection gives them
    q, k, v = packed.permute(2, 0, 3, 1, 4).unbind()
    record, _ = captured(q, k, v)
    same_stages(record, attention(q, k, v))


def test_the_operator_itself_is_seen_as_its_function_is() -> None:
    q, k, v = triple()
    with ch.capture() as seen:
        torch.ops.aten.scaled_dot_product_attention(q, k, v, BOOL)
        torch.ops.aten.scaled_dot_product_attention.default(q, k, v, BOOL)
    assert len(seen.verify()) == 2
    for record in seen.records:
        same_stages(record, attention(q, k, v, BOOL))


@pytest.mark.parametrize("tokens", [7, 67])  # explicit and fused inside
@pytest.mark.parametrize("causal", [False, True])
def test_our_own_function_is_seen_once(tokens: int, causal: bool) -> None:
    q, k, v = triple(queries=tokens, keys=tokens)
    with ch.capture() as seen:
        ch.scaled_dot_product_attention(q, k, v, is_causal=causal)
    assert len(seen.verify()) == 1
    same_stages(seen[0], attention(q, k, v, causal=causal))


def test_our_own_layer_with_each_kind_of_scale() -> None:
    x = normal(2, 7, 12)
    for scale in ("sqrt", "none", 0.7, "learned"):
        layer = ch.MultiHeadAttention(12, 3, value_dim=5, scale=scale).double()
        with ch.capture() as seen:
            layer(x, attn_mask=BOOL[0])
        seen.verify()
        q, k, v = (
            y.unflatten(-1, (3, -1)).transpose(1, 2)
            for y in layer.qkv(x).split([12, 12, 15], dim=-1)
        )
        if layer.learned_scale is not None:
            q = q * layer.learned_scale  # before the call: the record keeps what it was given
        factor = {"sqrt": 0.5, 0.7: 0.7}.get(scale, 1.0)
        same_stages(seen[0], attention(q, k, v, BOOL[0].expand(7, 7), scale=factor))


def test_our_own_model_by_default_and_as_saved() -> None:
    model = ch.load()
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model(images)
        with ch.capture() as seen:
            looked_at = model(images)
    assert plain.equal(looked_at)
    assert seen.names == tuple(f"blocks.{i}.attn" for i in range(6))
    assert len(seen.verify()) == 6


def test_nested_sequences_are_captured_or_refused_by_name() -> None:
    parts = [normal(n, 2, 11, seed=n) for n in (3, 5)]
    ragged = torch.nested.nested_tensor(parts, layout=torch.jagged).transpose(1, 2)
    with pytest.raises(ch.errors.CaptureError, match=r"(?i)nested"), ch.capture():
        F.scaled_dot_product_attention(ragged, ragged, ragged)


def test_two_calls_in_one_block() -> None:
    q, k, v = triple()
    with ch.capture() as seen:
        F.scaled_dot_product_attention(q, k, v)
        F.scaled_dot_product_attention(2.0 * q, k, v)
    assert isinstance(seen, Recording)
    assert seen.names == ("attention", "attention#2")
    np.testing.assert_allclose(seen[1].scaled, 2.0 * attention(q, k, v).scaled, atol=1e-12)
