"""Calls of `scaled_dot_product_attention` with every argument, against NumPy."""

from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right, causal_upper_left

import clearhead as ch

from .reference import (
    BIAS,
    MASK,
    Labelled,
    Reversed,
    additive,
    assert_close,
    assert_stages,
    attention,
    normal,
    record_one,
    triple,
)

attend = F.scaled_dot_product_attention
MASKS = pytest.mark.parametrize("mask", [None, MASK, BIAS], ids=["none", "bool", "float"])


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (2, 5, 3), (2, 1, 3), (1, 3), (1,), (0, 3)])
def test_two_to_five_axes(batch: tuple[int, ...]) -> None:
    q, k, v = triple(batch=batch)
    record, output = record_one(attend, q, k, v)
    leading = {0: (1, 1), 1: (*batch, 1)}.get(len(batch), batch)
    assert_stages(record, attention(q, k, v), leading=leading)
    assert output.shape == (*batch, 5, 13)


def test_inputs_and_output_are_stored_unchanged() -> None:
    q, k, v = triple(dtype=torch.float32)
    record, output = record_one(attend, q, k, v, attn_mask=MASK)
    assert output.equal(attend(q, k, v, attn_mask=MASK))
    assert record.attn_mask is not None
    stored = (record.query, record.key, record.value, record.attn_mask, record.output)
    for x, y in zip(stored, (q, k, v, MASK, output), strict=True):
        assert x.equal(y)
    assert record.scale == pytest.approx(11**-0.5)


@pytest.mark.parametrize("mask", [MASK, BIAS], ids=["bool", "float"])
@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (3, 5, 7), (2, 1, 5, 7), (2, 3, 5, 7), (1, 1)])
def test_masks_of_every_shape_that_broadcasts(mask: Tensor, shape: tuple[int, ...]) -> None:
    rows, columns = shape[-2:]
    part = mask[:rows, :columns].clone()
    if shape[:-2] == (2, 3):
        part = torch.stack([part.roll(shift, -1) for shift in range(6)]).reshape(shape)
    part = part.expand(shape)
    q, k, v = triple()
    assert_stages(record_one(attend, q, k, v, attn_mask=part)[0], attention(q, k, v, part))


def test_masks_of_two_and_three_axes() -> None:
    q, k, v = triple(batch=())
    record, _ = record_one(attend, q, k, v, attn_mask=MASK)
    assert_stages(record, attention(q, k, v, MASK), leading=(1, 1))
    q, k, v = triple(batch=(3,))
    each = torch.stack([MASK, MASK.roll(1, 0), MASK.roll(2, 1)])
    for mask in (MASK, each, each.to(torch.float64)):
        record, _ = record_one(attend, q, k, v, attn_mask=mask)
        assert_stages(record, attention(q, k, v, mask), leading=(3, 1))


@pytest.mark.parametrize("function", [attend, ch.scaled_dot_product_attention])
@pytest.mark.parametrize("sizes", [(5, 7), (67, 71), (5, 5)], ids=str)
def test_aligned_causal_masks(function: Any, sizes: tuple[int, int]) -> None:
    q, k, v = triple(queries=sizes[0], keys=sizes[1])
    upper, lower = (make(*sizes) for make in (causal_upper_left, causal_lower_right))
    allowed = torch.ones(sizes, dtype=torch.bool).tril(sizes[1] - sizes[0])
    assert_stages(record_one(function, q, k, v, upper)[0], attention(q, k, v, causal=True))
    assert_stages(record_one(function, q, k, v, lower)[0], attention(q, k, v, allowed))


@pytest.mark.parametrize("function", [attend, ch.scaled_dot_product_attention])
def test_a_mask_and_is_causal_apply_together(function: Any) -> None:
    q, k, v = triple(value_dim=11)  # torch's kernel for unequal ones refuses both
    each = torch.stack([MASK, MASK.roll(1, 1)])[:, None]
    for mask in (MASK, each, BIAS):
        record, _ = record_one(function, q, k, v, attn_mask=mask, is_causal=True)
        expected = attention(q, k, v, mask, causal=True)
        assert_stages(record, expected)
        assert_close(record.stages(batch=1, heads=2).weights, expected.weights[1:2, 2:3])


def test_masks_of_subclasses_of_tensor() -> None:
    q, k, v = triple()
    for mask in (nn.Parameter(BIAS), MASK.as_subclass(Labelled)):
        record, _ = record_one(attend, q, k, v, attn_mask=mask)
        assert_stages(record, attention(q, k, v, mask.detach().as_subclass(Tensor)))
    with pytest.raises(ch.errors.CaptureError, match="Reversed"), ch.capture():
        attend(q, k, v, attn_mask=MASK.as_subclass(Reversed))


@pytest.mark.parametrize("kind", [torch.bool, torch.float64])
def test_masks_of_one_axis(kind: torch.dtype) -> None:
    q, k, v = triple()
    mask = MASK[2] if kind == torch.bool else BIAS[2]
    record, _ = record_one(ch.scaled_dot_product_attention, q, k, v, attn_mask=mask)
    assert_stages(record, attention(q, k, v, mask))


@pytest.mark.parametrize(
    ("batch", "kv_batch", "leading"),
    [
        ((), (3,), (3, 1)),
        ((), (2, 3), (2, 3)),
        ((3,), (2, 3), (2, 3)),
        ((3,), (2, 5, 3), (2, 5, 3)),
    ],
)
def test_queries_with_fewer_axes_than_keys(
    batch: tuple[int, ...], kv_batch: tuple[int, ...], leading: tuple[int, ...]
) -> None:
    q, k, v = triple(batch=batch, kv_batch=kv_batch)
    for function, mask in ((attend, None), (attend, MASK), (ch.scaled_dot_product_attention, BIAS)):
        record, _ = record_one(function, q, k, v, attn_mask=mask)
        assert_stages(record, attention(q, k, v, mask), leading=leading)


@pytest.mark.parametrize("keys", [5, 7, 3])
def test_causal_attention_with_more_and_fewer_keys(keys: int) -> None:
    q, k, v = triple(keys=keys)
    record, _ = record_one(attend, q, k, v, is_causal=True)
    assert_stages(record, attention(q, k, v, causal=True))
    assert record.is_causal


@pytest.mark.parametrize("scale", [1.0, 0.3, -0.5, 0.0])
def test_scale(scale: float) -> None:
    q, k, v = triple()
    record, _ = record_one(attend, q, k, v, scale=scale)
    assert_stages(record, attention(q, k, v, scale=scale))
    assert record.scale == scale


def test_positional_and_keyword_arguments() -> None:
    q, k, v = triple()
    assert_stages(record_one(attend, q, k, v, MASK, 0.0, False)[0], attention(q, k, v, MASK))
    named = {"query": q, "key": k, "value": v, "attn_mask": BIAS, "dropout_p": 0.0, "scale": 0.4}
    assert_stages(record_one(attend, **named)[0], attention(q, k, v, BIAS, scale=0.4))


@MASKS
def test_grouped_queries(mask: Tensor | None) -> None:
    q, k, v = triple(batch=(2, 6), kv_batch=(2, 3))
    record, _ = record_one(attend, q, k, v, attn_mask=mask, enable_gqa=True)
    assert_stages(record, attention(q, k, v, mask))
    assert record.weights.shape == (2, 6, 5, 7)


@pytest.mark.parametrize(
    ("batch", "kv_batch", "mask"),
    [
        ((2, 3), (2, 1), None),
        ((2, 3), (1, 3), MASK),
        ((1, 3), (2, 3), torch.stack([MASK, MASK.roll(1, 1)])[:, None]),
    ],
    ids=["one key head", "keys of the whole batch", "queries of the whole batch"],
)
def test_inputs_that_broadcast(
    batch: tuple[int, ...], kv_batch: tuple[int, ...], mask: Tensor | None
) -> None:
    q, k, v = triple(batch=batch, kv_batch=kv_batch)
    record, _ = record_one(attend, q, k, v, attn_mask=mask)
    expected = attention(q, k, v, mask)
    assert_stages(record, expected)
    part = record.stages(batch=1, heads=[2, 0], queries=[4])
    assert_close(part.weights, expected.weights[1:2][:, [2, 0], 4:5])
    assert_close(part.context, expected.context[1:2][:, [2, 0], 4:5])


@pytest.mark.parametrize(
    "sizes",
    [{"queries": 1, "keys": 1}, {"head_dim": 1, "value_dim": 1}],
    ids=["one token", "one channel"],
)
def test_axes_of_size_one(sizes: dict[str, Any]) -> None:
    q, k, v = triple(**sizes)
    assert_stages(record_one(attend, q, k, v)[0], attention(q, k, v))


@pytest.mark.parametrize(("queries", "keys"), [(0, 7), (5, 0), (0, 0)])
def test_no_queries_and_no_keys(queries: int, keys: int) -> None:
    record, _ = record_one(attend, *triple(queries=queries, keys=keys))
    assert record.weights.shape == (2, 3, queries, keys)
    assert record.context.eq(0.0).all()


def test_a_row_with_every_key_masked_is_zero() -> None:
    mask = MASK.clone()
    mask[3] = False
    q, k, v = triple()
    record, output = record_one(attend, q, k, v, attn_mask=mask)
    assert_stages(record, attention(q, k, v, mask))
    assert output[:, :, 3].eq(0.0).all()
    record, _ = record_one(attend, q, k, v, attn_mask=additive(mask))
    assert_stages(record, attention(q, k, v, mask))


def test_scores_so_large_that_one_key_has_all_weight() -> None:
    q, k, v = triple()
    record, _ = record_one(attend, 1e3 * q, 1e3 * k, v)
    assert record.weights.amax(-1).eq(1.0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@MASKS
def test_other_types(dtype: torch.dtype, mask: Tensor | None) -> None:
    q, k, v = triple(dtype=dtype)
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(dtype)
    record, _ = record_one(attend, q, k, v, attn_mask=mask)
    assert_stages(record, attention(q, k, v, mask), dtype)


def test_tensors_that_are_permuted_views() -> None:
    packed = normal(2, 5, 3, 4, 11)  # tokens before heads, as the output of one projection
    q, k, v = packed.permute(2, 0, 3, 1, 4).unbind()
    assert_stages(record_one(attend, q, k, v)[0], attention(q, k, v))


@pytest.mark.parametrize("overload", [False, True])
def test_the_aten_operator_is_recorded(overload: bool) -> None:
    operator = torch.ops.aten.scaled_dot_product_attention
    q, k, v = triple()
    record, _ = record_one(operator.default if overload else operator, q, k, v, MASK)
    assert_stages(record, attention(q, k, v, MASK))


@pytest.mark.parametrize("tokens", [7, 67])  # explicit and fused inside
@pytest.mark.parametrize("causal", [False, True])
def test_our_function_is_recorded_once(tokens: int, causal: bool) -> None:
    q, k, v = triple(queries=tokens, keys=tokens)
    record, _ = record_one(ch.scaled_dot_product_attention, q, k, v, is_causal=causal)
    assert_stages(record, attention(q, k, v, causal=causal))


@pytest.mark.parametrize(
    ("scale", "factor"), [("sqrt", 0.5), ("none", 1.0), (0.7, 0.7), ("learned", 1.0)]
)
def test_our_layer_with_each_kind_of_scale(scale: Any, factor: float) -> None:
    x = normal(2, 7, 12)
    layer = ch.MultiHeadAttention(12, 3, value_dim=5, scale=scale).double()
    record, _ = record_one(layer, x, attn_mask=MASK[0])
    projections = layer.qkv(x).split([12, 12, 15], dim=-1)
    q, k, v = (y.unflatten(-1, (3, -1)).transpose(1, 2) for y in projections)
    if layer.learned_scale is not None:
        q = q * layer.learned_scale  # applied before the call, so part of the recorded queries
    assert_stages(record, attention(q, k, v, MASK[0].expand(7, 7), scale=factor))


def test_our_model_is_recorded_and_unchanged() -> None:
    model = ch.load()
    images = normal(2, 1, 28, 28, dtype=torch.float32)
    with torch.no_grad():
        plain = model(images)
        with ch.capture() as recording:
            recorded = model(images)
    assert plain.equal(recorded)
    assert recording.names == tuple(f"blocks.{i}.attn" for i in range(6))
    assert len(recording.verify()) == 6


def test_nested_tensors_are_rejected() -> None:
    parts = [normal(n, 2, 11, seed=n) for n in (3, 5)]
    nested = torch.nested.nested_tensor(parts, layout=torch.jagged).transpose(1, 2)
    with pytest.raises(ch.errors.CaptureError, match=r"(?i)nested"), ch.capture():
        attend(nested, nested, nested)


def test_a_block_may_end_in_another_thread() -> None:
    q, start = normal(2, 3, 5, 8), Thread.start

    def blocks() -> None:  # in a thread of its own, which keeps an inactive mode
        block = ch.capture()
        recording = block.__enter__()
        F.scaled_dot_product_attention(q, q, q)
        ending = Thread(target=block.__exit__, args=(None, None, None))
        ending.start()
        ending.join()
        assert Thread.start is start
        F.scaled_dot_product_attention(q, q, q)
        names.append(recording.names)
        records()

    def records() -> None:
        with ch.capture() as recording, ThreadPoolExecutor(1) as pool:
            pool.submit(F.scaled_dot_product_attention, q, q, q).result()
        names.append(recording.names)

    names: list[tuple[str, ...]] = []
    thread = Thread(target=blocks)
    thread.start()
    thread.join()
    assert names == [("attention",)] * 2


def test_captures_that_end_in_the_order_of_their_start_lose_no_call() -> None:
    query = torch.randn(2, 3, 5, 4)
    first, second = ch.capture(), ch.capture()
    recordings = [first.__enter__(), second.__enter__()]
    F.scaled_dot_product_attention(query, query, query)
    first.__exit__(None, None, None)
    F.scaled_dot_product_attention(query, query, query)
    second.__exit__(None, None, None)
    F.scaled_dot_product_attention(query, query, query)
    assert [len(recording) for recording in recordings] == [1, 2]
