"""One record: chosen images, heads and queries; changes in place; copies; what it holds."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import clearhead as ch
from clearhead.errors import ChoiceError, UnfaithfulCaptureError
from clearhead.recording import AttentionRecord

from .independent import attention, normal, same_stages, triple

MASK = torch.tensor([[True, False, True, True, False, True, True]] * 5)
MASK[2] = torch.tensor([False, True, False, True, True, False, True])


def fused(**options: Any) -> AttentionRecord:
    with ch.capture() as seen:
        F.scaled_dot_product_attention(*triple(), **options)
    return seen[0]


def in_steps() -> AttentionRecord:
    q, k, v = triple()
    with ch.capture() as seen:
        (q @ k.mT * 11**-0.5).tanh().masked_fill(~MASK, -1e9).softmax(-1) @ v
    return seen[0]


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


def index(choice: Any) -> Any:
    return np.arange(9)[:0] if choice is None else choice


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize(
    "record",
    [
        fused(),
        fused(attn_mask=MASK),
        fused(attn_mask=MASK.expand(2, 1, 5, 7)),
        fused(is_causal=True),
        fused(scale=0.3),
        in_steps(),
    ],
    ids=["plain", "masked", "masks by image", "causal", "scale", "steps"],
)
def test_a_part_is_what_the_whole_has_there(
    record: AttentionRecord, choice: dict[str, Any]
) -> None:
    part, whole = record.stages(**choice), record.stages()
    indices = []
    for axis, size in (("batch", 2), ("heads", 3), ("queries", 5)):
        entries = choice.get(axis, slice(None))
        indices.append(np.atleast_1d(np.arange(size)[entries]))
    for found, full in zip(part, whole, strict=True):
        expected = full.numpy()[np.ix_(*indices)]
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=1e-13)


def test_a_part_of_grouped_queries_has_the_right_keys() -> None:
    q, k, v = triple(batch=(2, 6), kv_batch=(2, 3))
    with ch.capture() as seen:
        F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    expected = attention(q, k, v)
    part = seen[0].stages(heads=[5, 2, 3], batch=1, queries=4)
    for found, full in zip(part, expected, strict=True):
        np.testing.assert_allclose(found, full[1:2, [5, 2, 3], 4:5], atol=1e-12)


def test_heads_images_and_queries_that_are_not_there() -> None:
    for choice in ({"batch": 2}, {"heads": 3}, {"queries": 5}, {"heads": [0, -4]}):
        with pytest.raises(ChoiceError, match=r"^there are \d+ \w+, numbered 0 … \d+; got -?\d+$"):
            fused().stages(**choice)


def test_weights_that_were_tried_give_their_context() -> None:
    record = fused()
    np.testing.assert_allclose(record.context_from(record.weights), record.output, atol=1e-12)
    assert record.context_from(torch.zeros_like(record.weights)).eq(0.0).all()


def test_half_precision_is_computed_in_single() -> None:
    q, k, v = triple(dtype=torch.bfloat16)
    with ch.capture() as seen:
        F.scaled_dot_product_attention(q, k, v)
    assert seen[0].weights.dtype == torch.float32
    assert seen[0].weights.sum(-1).sub(1.0).abs().max() < 1e-6
    assert seen[0].output.dtype == torch.bfloat16


class Fused:
    @staticmethod
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class OperationTracker:
    @staticmethod
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT * 11**-0.5).softmax(-1) @ v


@pytest.mark.parametrize("way", [Fused, OperationTracker])
@pytest.mark.parametrize("which", ["query", "key", "value", "output"])
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("inference", [False, True])
def test_changes_in_place_afterwards_are_noticed(
    way: type[Fused] | type[OperationTracker], which: str, gradients: bool, inference: bool
) -> None:
    with torch.inference_mode(inference):
        q, k, v = triple()
        with ch.capture(gradients=gradients) as seen:
            output = way.attend(q, k, v)
        seen.verify()
        {"query": q, "key": k, "value": v, "output": output}[which].mul_(1.5)
    with pytest.raises(UnfaithfulCaptureError, match="attention"):
        seen.verify()
    if not inference:  # there torch counts changes
        for look in (
            lambda: seen[0].weights,
            lambda: seen.to_hf(),
            lambda: seen[0].stages(heads=0),
        ):
            with pytest.raises(UnfaithfulCaptureError, match=r"copies=True"):
                look()


@pytest.mark.parametrize("way", [Fused, OperationTracker])
@pytest.mark.parametrize("inference", [False, True])
def test_copies_are_safe_from_changes_in_place(
    way: type[Fused] | type[OperationTracker], inference: bool
) -> None:
    with torch.inference_mode(inference):
        q, k, v = triple()
        expected = attention(q, k, v)
        with ch.capture(copies=True) as seen:
            output = way.attend(q, k, v)
            for x in (q, k, v, output):
                x.zero_()
    seen.verify()
    same_stages(seen[0], expected)


def test_a_cache_that_is_written_to_step_by_step() -> None:
    keys, values = torch.zeros(1, 3, 9, 11).double(), torch.zeros(1, 3, 9, 11).double()

    def three_steps() -> None:
        for step in range(3):
            keys[:, :, step] = normal(1, 3, 11, seed=step)
            values[:, :, step] = normal(1, 3, 11, seed=step + 9)
            mask = (torch.arange(9) <= step)[None]
            F.scaled_dot_product_attention(
                normal(1, 3, 1, 11, seed=step + 20), keys, values, attn_mask=mask
            )

    with ch.capture() as seen:
        three_steps()
    with pytest.raises(UnfaithfulCaptureError, match="copies=True"):
        seen.verify()
    with ch.capture(copies=True) as seen:
        three_steps()
    assert len(seen.verify()) == 3


def test_a_mask_that_is_used_again_is_copied_too_even_if_it_is_one_of_several_steps() -> None:
    q, k, v = triple()
    buffer = ~MASK

    def capped() -> None:
        (q @ k.mT).tanh().masked_fill(buffer, -1e9).softmax(-1) @ v
        buffer.logical_not_()

    with ch.capture() as seen:
        capped()
    with pytest.raises(UnfaithfulCaptureError, match="copies=True"):
        seen.verify()
    buffer.logical_not_()
    with ch.capture(copies=True) as seen:
        capped()
    seen.verify()
    assert seen[0].weights[:, :, ~MASK].eq(0.0).all()


def storages(record: AttentionRecord) -> dict[int, int]:
    """Elements behind each tensor that the record holds, however deep."""
    found: dict[int, int] = {}
    visited: set[int] = set()

    def visit(x: Any) -> None:
        if id(x) in visited:
            return
        visited.add(id(x))
        if isinstance(x, Tensor):
            storage = x.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes() // x.element_size()
        elif isinstance(x, dict):
            for part in x.values():
                visit(part)
        elif isinstance(x, list | tuple):
            for part in x:
                visit(part)
        elif callable(x) and getattr(x, "__closure__", None):
            for cell in x.__closure__:
                visit(cell.cell_contents)
        elif type(x).__module__.startswith("clearhead"):
            for part in vars(x).values() if hasattr(x, "__dict__") else ():
                visit(part)

    visit(record)
    assert len(found) >= 4
    return found


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
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
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
def test_a_record_holds_tokens_and_no_matrix_of_tokens_by_tokens(code: Any, copies: bool) -> None:
    with ch.capture(copies=copies) as seen:
        code(*LONG)
    assert seen.verify()[0].holds
    assert seen[0].weights.shape == (1, 2, TOKENS, TOKENS)
    for size in storages(seen[0]).values():
        assert size < TOKENS * TOKENS // 4, f"{size} numbers in one tensor"


def test_looking_keeps_nothing() -> None:
    record = fused()
    pre_softmax = storages(record)
    assert record.weights is not record.weights
    assert storages(record) == pre_softmax
