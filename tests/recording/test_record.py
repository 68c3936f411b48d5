"""`AttentionRecord`: parts of its stages, changes in place, copies, and its memory."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import clearhead as ch
from clearhead.errors import ChoiceError, UnfaithfulCaptureError
from clearhead.recording import AttentionRecord

from .reference import (
    MASK,
    assert_close,
    assert_stages,
    attention,
    normal,
    record_one,
    storages,
    triple,
)

Code = Callable[..., Tensor]


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * 11**-0.5).softmax(-1) @ v


def in_steps(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * 11**-0.5).tanh().masked_fill(~MASK, -1e9).softmax(-1) @ v


def fused_record(**options: Any) -> AttentionRecord:
    return record_one(F.scaled_dot_product_attention, *triple(), **options)[0]


both = pytest.mark.parametrize("code", [fused, explicit])

CHOICES: list[dict[str, Any]] = [
    {"batch": 1},
    {"batch": -1},
    {"batch": [1, 0]},
    {"heads": 2},
    {"heads": [2, 0]},
    {"heads": slice(1, None)},
    {"queries": 3},
    {"queries": -2},
    {"queries": [4, 0, 1]},
    {"queries": slice(1, 4)},
    {"batch": 0, "heads": 1, "queries": 2},
    {"batch": slice(0, 1), "heads": [2], "queries": slice(None, None, 2)},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize(
    "record",
    [
        fused_record(),
        fused_record(attn_mask=MASK),
        fused_record(attn_mask=MASK.expand(2, 1, 5, 7)),
        fused_record(is_causal=True),
        fused_record(scale=0.3),
        record_one(in_steps, *triple())[0],
    ],
    ids=["plain", "masked", "masks per batch entry", "causal", "scale", "steps"],
)
def test_parts_of_stages_equal_those_of_the_whole(
    record: AttentionRecord, choice: dict[str, Any]
) -> None:
    indices = [
        np.atleast_1d(np.arange(size)[choice.get(axis, slice(None))])
        for axis, size in (("batch", 2), ("heads", 3), ("queries", 5))
    ]
    for part, whole in zip(record.stages(**choice), record.stages(), strict=True):
        assert_close(part, whole.numpy()[np.ix_(*indices)])


def test_parts_of_grouped_queries_have_their_key_heads() -> None:
    q, k, v = triple(batch=(2, 6), kv_batch=(2, 3))
    record, _ = record_one(F.scaled_dot_product_attention, q, k, v, enable_gqa=True)
    part = record.stages(heads=[5, 2, 3], batch=1, queries=4)
    for stage, whole in zip(part, attention(q, k, v), strict=True):
        assert_close(stage, whole[1:2, [5, 2, 3], 4:5])


def differential(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights: Tensor = (q @ k.mT * 11**-0.5).softmax(-1).unflatten(1, (3, 2))
    return (weights[:, :, 0] - 0.5 * weights[:, :, 1]) @ v


def capped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (5 * (q @ k.mT * 11**-0.5).tanh()).softmax(-1) @ v


def talking(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    mixing = normal(3, 3, seed=5)
    scores = torch.einsum("bhqk,hg->bgqk", q @ k.mT * 11**-0.5, mixing)
    return torch.einsum("bhqk,hg->bgqk", scores.softmax(-1), mixing) @ v


@pytest.mark.parametrize(
    ("code", "heads"),
    [(explicit, 3), (capped, 3), (talking, 3), (explicit, 1), (capped, 1), (differential, 6)],
)
def test_parts_of_records_whose_weights_have_other_heads_than_the_output(
    code: Code, heads: int
) -> None:
    q, k, _ = triple(batch=(2, heads))
    record, _ = record_one(code, q, k, triple()[2])
    assert record.scores.shape == (2, heads, 5, 7)
    assert record.shape == (2, max(heads, 3), 5, 7)
    stages = record.stages()
    for choice in (*CHOICES, {"heads": 5}):
        if "heads" in choice and (heads == 6 or choice["heads"] == 5):
            message = "combines 6 heads" if heads == 6 else "3 heads"
            for choose in (record.part, record.stages):
                with pytest.raises(ChoiceError, match=message):
                    choose(**choice)
            continue
        for part in (record.stages(**choice), record.part(**choice).stages()):
            for stage, whole in zip(part, stages, strict=True):
                count = max(3, whole.shape[1])
                indices = [
                    np.atleast_1d(np.arange(size)[choice.get(axis, slice(None))])
                    for axis, size in (("batch", 2), ("heads", count), ("queries", 5))
                ]
                expanded = whole.expand(2, count, *whole.shape[2:]).numpy()
                assert_close(stage, expanded[np.ix_(*indices)])


@pytest.mark.parametrize("code", [fused, capped, talking])
def test_a_part_can_be_pickled(code: Code) -> None:
    part = record_one(code, *triple())[0].part(batch=1, queries=[0, 3])
    assert_close(pickle.loads(pickle.dumps(part)).weights, part.weights)


@pytest.mark.parametrize(
    "choice", [{"batch": 2}, {"heads": 3}, {"queries": 5}, {"heads": [0, -4]}], ids=str
)
def test_indices_out_of_range_raise(choice: dict[str, Any]) -> None:
    with pytest.raises(ChoiceError, match=r"^there are \d+ \w+, numbered 0 … \d+; got -?\d+$"):
        fused_record().stages(**choice)


def test_context_from_other_weights() -> None:
    record = fused_record()
    assert_close(record.context_from(record.weights), record.output)
    assert record.context_from(torch.zeros_like(record.weights)).eq(0.0).all()


def test_half_precision_is_computed_in_float32() -> None:
    record, _ = record_one(fused, *triple(dtype=torch.bfloat16))
    assert record.weights.dtype == torch.float32
    assert record.weights.sum(-1).sub(1.0).abs().max() < 1e-6
    assert record.output.dtype == torch.bfloat16


@both
@pytest.mark.parametrize("which", ["query", "key", "value", "output"])
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("inference", [False, True])
def test_later_changes_in_place_are_detected(
    code: Code, which: str, gradients: bool, inference: bool
) -> None:
    with torch.inference_mode(inference):
        q, k, v = triple()
        with ch.capture(gradients=gradients) as recording:
            output = code(q, k, v)
        recording.verify()
        {"query": q, "key": k, "value": v, "output": output}[which].mul_(1.5)
    with pytest.raises(UnfaithfulCaptureError, match="attention"):
        recording.verify()
    if not inference:  # inference tensors have no version counter
        record = recording[0]
        for read in (lambda: record.weights, recording.to_hf, lambda: record.stages(heads=0)):
            with pytest.raises(UnfaithfulCaptureError, match=r"copies=True"):
                read()


@both
@pytest.mark.parametrize("inference", [False, True])
def test_copies_are_safe_from_changes_in_place(code: Code, inference: bool) -> None:
    with torch.inference_mode(inference):
        q, k, v = triple()
        expected = attention(q, k, v)
        with ch.capture(copies=True) as recording:
            output = code(q, k, v)
            for x in (q, k, v, output):
                x.zero_()
    recording.verify()
    assert_stages(recording[0], expected)


def test_a_cache_that_is_filled_step_by_step() -> None:
    keys, values = torch.zeros(1, 3, 9, 11).double(), torch.zeros(1, 3, 9, 11).double()

    def three_steps() -> None:
        for step in range(3):
            keys[:, :, step] = normal(1, 3, 11, seed=step)
            values[:, :, step] = normal(1, 3, 11, seed=step + 9)
            mask = (torch.arange(9) <= step)[None]
            F.scaled_dot_product_attention(
                normal(1, 3, 1, 11, seed=step + 20), keys, values, attn_mask=mask
            )

    with ch.capture() as recording:
        three_steps()
    with pytest.raises(UnfaithfulCaptureError, match="copies=True"):
        recording.verify()
    with ch.capture(copies=True) as recording:
        three_steps()
    assert len(recording.verify()) == 3


def test_a_mask_that_is_changed_in_place_is_copied_also_as_one_of_several_steps() -> None:
    q, k, v = triple()
    buffer = ~MASK

    def capped() -> None:
        (q @ k.mT).tanh().masked_fill(buffer, -1e9).softmax(-1) @ v
        buffer.logical_not_()

    with ch.capture() as recording:
        capped()
    with pytest.raises(UnfaithfulCaptureError, match="copies=True"):
        recording.verify()
    buffer.logical_not_()
    with ch.capture(copies=True) as recording:
        capped()
    recording.verify()
    assert recording[0].weights[:, :, ~MASK].eq(0.0).all()


TOKENS = 211
LONG = tuple(normal(1, 2, TOKENS, 8, seed=seed) for seed in (1, 2, 3))
PADDING = (torch.arange(TOKENS) < 200)[None, None, None]


def padded_in_steps(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q * 0.3 @ k.mT).tanh() * 3.0
    scores.masked_fill_(~PADDING, -1e9)
    return F.softmax(scores - scores.amax(-1, keepdim=True), -1) @ v


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize(
    "code",
    [
        fused,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        lambda q, k, v: F.scaled_dot_product_attention(
            q, k, v, attn_mask=PADDING.expand(1, 2, TOKENS, TOKENS)
        ),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=0.1),
        lambda q, k, v: (q * 0.3 @ k.mT).masked_fill(~PADDING, -torch.inf).softmax(-1) @ v,
        lambda q, k, v: F.dropout((q @ k.mT / 3).softmax(-1), 0.2) @ v,
        padded_in_steps,
    ],
    ids=["fused", "causal", "padded", "dropout", "explicit", "explicit dropout", "steps"],
)
def test_memory_is_proportional_to_tokens_and_not_to_their_square(code: Code, copies: bool) -> None:
    with ch.capture(copies=copies) as recording:
        code(*LONG)
    assert recording.verify()[0].passed
    assert recording[0].weights.shape == (1, 2, TOKENS, TOKENS)
    sizes = storages(recording[0]).values()
    assert len(sizes) >= 4
    assert max(sizes) < 8 * TOKENS * TOKENS // 4  # numbers of 8 bytes


def test_computing_stages_stores_nothing() -> None:
    record = fused_record()
    before = storages(record)
    assert record.weights is not record.weights
    assert storages(record) == before
