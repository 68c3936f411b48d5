"""Attention written as separate operations, in every spelling, against NumPy."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import clearhead as ch
from clearhead.recording import AttentionRecord

from .reference import (
    BIAS,
    MASK,
    Stages,
    additive,
    array,
    assert_close,
    assert_stages,
    attention,
    normal,
    record_one,
    softmax,
    triple,
)

Q, K, V = triple()
PLAIN = attention(Q, K, V)
SCALE = 11**-0.5
INFINITE = additive(MASK)
INF = math.inf

Code = Callable[[Tensor, Tensor, Tensor], Tensor]


def record_of(code: Code, *tensors: Tensor) -> AttentionRecord:
    record, output = record_one(code, *(tensors or (Q, K, V)))
    assert record.output.flatten().sort().values.equal(output.flatten().sort().values)
    return record


def flat(x: Tensor) -> Tensor:
    """(batch · heads, tokens, dim), for torch.bmm."""
    return x.flatten(0, 1)


def leading(record: AttentionRecord) -> tuple[int, ...]:
    """The axes of batch and heads as this record has them; 6 if the code has flattened them."""
    shape = tuple(record.query.shape[:-2])
    assert shape in ((2, 3), (6, 1), (1, 2, 3))
    return shape


# A spelling of the product of queries and keys, and one of weights and values.
PRODUCTS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "@": (lambda q, k: q @ k.transpose(-2, -1), lambda w, v: w @ v),
    "mT": (lambda q, k: q @ k.mT, lambda w, v: w @ v),
    "matmul": (lambda q, k: torch.matmul(q, k.transpose(2, 3)), torch.matmul),
    "method": (lambda q, k: q.matmul(k.swapaxes(-1, -2)), lambda w, v: w.matmul(v)),
    "keywords": (
        lambda q, k: torch.matmul(input=q, other=k.mT),
        lambda w, v: torch.matmul(input=w, other=v),
    ),
    "reflected": (lambda q, k: k.mT.__rmatmul__(q), lambda w, v: v.__rmatmul__(w)),
    "permute": (lambda q, k: q @ k.permute(0, 1, 3, 2), lambda w, v: w @ v),
    "einsum": (
        lambda q, k: torch.einsum("bhqd,bhkd->bhqk", q, k),
        lambda w, v: torch.einsum("bhqk,bhkd->bhqd", w, v),
    ),
    "einsum with an ellipsis": (
        lambda q, k: torch.einsum("...qd,...kd->...qk", q, k),
        lambda w, v: torch.einsum("...qk,...kd->...qd", w, v),
    ),
    "einsum with an ellipsis and capitals": (
        lambda q, k: torch.einsum("...AD,...BD->...AB", q, k),
        lambda w, v: torch.einsum("...AB,...BC->...AC", w, v),
    ),
    "einsum of a list": (
        lambda q, k: torch.einsum("b h i d, b h j d -> b h i j", [q, k]),
        lambda w, v: torch.einsum("bhqk,bhkd->bhqd", [w, v]),
    ),
    "einsum without an arrow": (
        lambda q, k: torch.einsum("...id,...jd", q, k),
        lambda w, v: torch.einsum("...aj,...jb", w, v),
    ),
    "einsum by numbers": (
        lambda q, k: torch.einsum(q, [0, 1, 2, 4], k, [0, 1, 3, 4], [0, 1, 2, 3]),
        lambda w, v: w @ v,
    ),
    "einsum of five axes": (
        lambda q, k: torch.einsum("xbhqd,xbhkd->xbhqk", q[None], k[None]),
        lambda w, v: torch.einsum("xbhqk,xbhkd->xbhqd", w, v[None])[0],
    ),
    "contiguous keys": (lambda q, k: q @ k.mT.contiguous(), lambda w, v: w @ v),
}


@pytest.mark.parametrize(("scores", "context"), PRODUCTS.values(), ids=PRODUCTS)
def test_products_are_recognised_in_every_spelling(
    scores: Callable[..., Tensor], context: Callable[..., Tensor]
) -> None:
    record = record_of(lambda q, k, v: context((scores(q, k) * SCALE).softmax(-1), v))
    assert_stages(record, PLAIN, leading=leading(record))


# Scaled scores of queries and keys.
SCALINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "on the queries": lambda q, k: (q * SCALE) @ k.mT,
    "on the queries by division": lambda q, k: (q / 11**0.5) @ k.mT,
    "on the keys": lambda q, k: q @ (k * SCALE).mT,
    "on the transposed keys": lambda q, k: q @ (k.mT * SCALE),
    "half on each": lambda q, k: (q * SCALE**0.5) @ (k * SCALE**0.5).mT,
    "from the left": lambda q, k: SCALE * (q @ k.mT),
    "division": lambda q, k: q @ k.mT / math.sqrt(11),
    "torch.div": lambda q, k: torch.div(q @ k.mT, 11**0.5),
    "by a tensor": lambda q, k: q @ k.mT / torch.tensor(11.0, dtype=torch.float64).sqrt(),
    "in place": lambda q, k: (q @ k.mT).mul_(SCALE),
    "division in place": lambda q, k: (q @ k.mT).div_(11**0.5),
    "queries in place": lambda q, k: q.clone().mul_(SCALE) @ k.mT,
    "in two steps": lambda q, k: q @ k.mT * (SCALE / 2) * 2.0,
    "on queries that are also used elsewhere": lambda q, k: [x := q * SCALE, x + 1, x @ k.mT][-1],
    "baddbmm": lambda q, k: torch.baddbmm(
        torch.empty(6, 5, 7, dtype=q.dtype), flat(q), flat(k).mT, beta=0, alpha=SCALE
    ),
}


def with_values(weights: Tensor, v: Tensor) -> Tensor:
    return weights @ (v if weights.dim() == 4 else flat(v))


@pytest.mark.parametrize("scaled", SCALINGS.values(), ids=SCALINGS)
def test_a_scale_is_recognised_on_every_operand(scaled: Callable[..., Tensor]) -> None:
    record = record_of(lambda q, k, v: with_values(scaled(q, k).softmax(-1), v))
    assert_stages(record, PLAIN, leading=leading(record))


def test_code_without_a_scale() -> None:
    record = record_of(lambda q, k, v: (q @ k.mT).softmax(-1) @ v)
    assert_stages(record, attention(Q, K, V, scale=1.0))


def test_one_scale_per_head() -> None:
    scales = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)[:, None, None]
    expected = attention(Q, K, V, scale=array(scales))
    record = record_of(lambda q, k, v: (q @ k.mT * scales).softmax(-1) @ v)
    assert_stages(record, expected)
    assert_close(record.stages(heads=[2, 0]).weights, expected.weights[:, [2, 0]])
    assert_stages(record_of(lambda q, k, v: ((q * scales) @ k.mT).softmax(-1) @ v), expected)
    record = record_of(
        lambda q, k, v: (flat(q * scales) @ flat(k).mT).softmax(-1) @ flat(v)  # merged heads
    )
    assert_stages(record, expected, leading=(6, 1), only=("scaled", "weights", "context"))


def masked_in_place(x: Tensor) -> Tensor:
    x += INFINITE
    return x


def masked_by_index(x: Tensor) -> Tensor:
    x[..., ~MASK] = -INF
    return x


# Masked scores of scaled scores.
MASKINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "addition": lambda x: x + INFINITE,
    "addition from the left": lambda x: INFINITE + x,
    "torch.add": lambda x: torch.add(x, INFINITE),
    "addition in place": masked_in_place,
    "masked_fill": lambda x: x.masked_fill(~MASK, -INF),
    "masked_fill in place": lambda x: x.masked_fill_(MASK.logical_not(), float("-inf")),
    "masked_fill by a tensor": lambda x: x.masked_fill(~MASK, torch.tensor(-INF)),
    "masked_fill by name": lambda x: x.masked_fill(mask=MASK == 0, value=-INF),
    "torch.masked_fill": lambda x: torch.masked_fill(x, ~MASK, -INF),
    "where": lambda x: torch.where(MASK, x, -INF),
    "where with exchanged branches": lambda x: torch.where(~MASK, torch.tensor(-INF), x),
    "by index": masked_by_index,
}
MASKED: dict[str, Code] = {
    name: lambda q, k, v, mask=mask: mask(q @ k.mT * SCALE).softmax(-1) @ v  # type: ignore[misc]
    for name, mask in MASKINGS.items()
}
MASKED["before the scale"] = lambda q, k, v: (
    (q @ k.mT).masked_fill(~MASK, -INF).mul(SCALE).softmax(-1) @ v
)
MASKED["in baddbmm"] = lambda q, k, v: (
    torch.baddbmm(INFINITE.expand(6, 5, 7), flat(q * SCALE), flat(k).mT).softmax(-1) @ flat(v)
)


@pytest.mark.parametrize("code", MASKED.values(), ids=MASKED)
def test_a_mask_is_recognised_in_every_spelling(code: Code) -> None:
    record = record_of(code)
    only = ("scores", "masked", "weights", "context")
    assert_stages(record, attention(Q, K, V, MASK), leading=leading(record), only=only)
    assert record.weights[..., ~MASK].eq(0.0).all()


@pytest.mark.parametrize("name", [*list(MASKINGS)[:6], "torch.masked_fill"])
def test_one_mask_is_that_of_the_record_whatever_copies_and_casts_there_are(name: str) -> None:
    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scaled = (q @ k.mT * SCALE).clone()
        return MASKINGS[name](scaled).type_as(q).softmax(-1).to(v.dtype) @ v

    record = record_of(code)
    assert_stages(record, attention(Q, K, V, MASK))
    assert record.attn_mask is not None
    assert record.pre_softmax == record.post_softmax == ()


@pytest.mark.parametrize("low", [-1e4, -1e9, torch.finfo(torch.float64).min])
def test_masks_with_finite_values(low: float) -> None:
    lowered = torch.zeros(5, 7, dtype=torch.float64).masked_fill(~MASK, low)
    added = record_of(lambda q, k, v: (q @ k.mT * SCALE + lowered).softmax(-1) @ v)
    assert_stages(added, attention(Q, K, V, lowered))
    filled = record_of(lambda q, k, v: (q @ k.mT * SCALE).masked_fill(~MASK, low).softmax(-1) @ v)
    masked = np.where(MASK.numpy(), PLAIN.scaled, low)
    assert_close(filled.scaled, PLAIN.scaled)
    np.testing.assert_allclose(array(filled.masked), masked, rtol=1e-12)
    assert_close(filled.weights, softmax(masked))


def test_a_mask_per_batch_entry_and_a_bias_per_head() -> None:
    masks = torch.stack([MASK, MASK.roll(1, 1)])[:, None]
    bias = normal(1, 3, 5, 7, seed=4)
    record = record_of(lambda q, k, v: (q @ k.mT * SCALE + bias).softmax(-1) @ v)
    assert_stages(record, attention(Q, K, V, bias))
    record = record_of(
        lambda q, k, v: (q @ k.mT * SCALE + bias).masked_fill(~masks, -INF).softmax(-1) @ v
    )
    assert_stages(record, attention(Q, K, V, bias.masked_fill(~masks, -INF)))


CAP = torch.tensor(3.0, dtype=torch.float64)
CAPS = torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64)[:, None, None]

# Capped scores of scores, the factor before the cap, and the cap.
SOFT_CAPS: dict[str, tuple[Callable[[Tensor], Tensor], float, Any]] = {
    "scaled": (lambda x: (x * SCALE / 3.0).tanh() * 3.0, SCALE, 3.0),
    "scaled by division": (lambda x: 3 * torch.tanh(x / 11**0.5 / 3), SCALE, 3.0),
    "cap first": (lambda x: (x / 3.0 * SCALE).tanh() * 3.0, SCALE, 3.0),
    "without a scale": (lambda x: (x / 3.0).tanh() * 3.0, 1.0, 3.0),
    "multiplied": (lambda x: (x * SCALE * (1 / 3)).tanh() / (1 / 3), SCALE, 3.0),
    "in place": (lambda x: x.mul_(SCALE).div_(3.0).tanh_().mul_(3.0), SCALE, 3.0),
    "tensor": (lambda x: (x * SCALE / CAP).tanh() * CAP, SCALE, 3.0),
    "each head": (lambda x: (x * SCALE / CAPS).tanh() * CAPS, SCALE, array(CAPS)),
    "one number": (lambda x: (x * (SCALE / 3.0)).tanh() * 3.0, SCALE, 3.0),
    "one divisor": (lambda x: 3 * torch.tanh(x / (3.0 * 11**0.5)), SCALE, 3.0),
    "one number, each head": (lambda x: (x * (SCALE / CAPS)).tanh() * CAPS, SCALE, array(CAPS)),
    "one tensor": (lambda x: (x * (SCALE / CAP)).tanh() * CAP, SCALE, 3.0),
    "changed layout": (lambda x: (x * SCALE / 3.0).flatten(0, 1).tanh().view_as(x) * 3, SCALE, 3.0),
}


@pytest.mark.parametrize(("capped", "scale", "cap"), SOFT_CAPS.values(), ids=SOFT_CAPS)
@pytest.mark.parametrize("masked", [False, True])
def test_soft_caps_of_scores(
    capped: Callable[[Tensor], Tensor], scale: float, cap: Any, masked: bool
) -> None:
    mask = INFINITE if masked else torch.zeros(5, 7, dtype=torch.float64)
    record = record_of(lambda q, k, v: (capped(q @ k.mT) + mask).softmax(-1) @ v)
    scaled = PLAIN.scores * scale
    stages = cap * np.tanh(scaled / cap) + array(mask)
    assert_stages(
        record, Stages(PLAIN.scores, scaled, stages, softmax(stages), softmax(stages) @ array(V))
    )


def test_a_tanh_that_is_not_a_cap_leaves_the_scale() -> None:
    record = record_of(lambda q, k, v: (10 * (q @ k.mT * SCALE).tanh()).softmax(-1) @ v)
    assert_close(record.scaled, PLAIN.scaled)
    assert_close(record.masked, 10 * np.tanh(PLAIN.scaled))


def test_a_soft_cap_and_the_default_scale_as_one_factor_of_the_query() -> None:
    record = record_of(lambda q, k, v: (10 * (q * (SCALE / 10) @ k.mT).tanh()).softmax(-1) @ v)
    assert_close(record.scores, PLAIN.scores)
    assert_close(record.scaled, PLAIN.scaled)
    assert_close(record.masked, 10 * np.tanh(PLAIN.scaled / 10))


def test_another_scale_as_one_number_with_a_soft_cap_is_not_separated() -> None:
    record = record_of(lambda q, k, v: (10 * (q @ k.mT * (0.7 / 10)).tanh()).softmax(-1) @ v)
    assert_close(record.scores, PLAIN.scores)
    assert_close(record.scaled, PLAIN.scores * 0.07)
    assert_close(record.masked, 10 * np.tanh(PLAIN.scores * 0.07))


def divided_by_sum(x: Tensor) -> Tensor:
    exponentials = x.exp()
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


def sum_without_the_axis(x: Tensor) -> Tensor:
    exponentials = torch.exp(x)
    return torch.div(exponentials, torch.sum(exponentials, 3).unsqueeze(-1))


def in_place(x: Tensor) -> Tensor:
    x = x - x.max(-1, keepdim=True).values
    x.exp_()
    x /= x.sum(-1, keepdim=True)
    return x


SOFTMAXES: dict[str, Callable[[Tensor], Tensor]] = {
    "method": lambda x: x.softmax(-1),
    "method by name": lambda x: x.softmax(dim=3),
    "torch": lambda x: torch.softmax(x, -1),
    "functional": lambda x: F.softmax(x, dim=-1),
    "module": nn.Softmax(dim=-1),
    "with a type": lambda x: F.softmax(x, dim=-1, dtype=torch.float64),
    "in another type": lambda x: F.softmax(x.double(), dim=-1).to(x.dtype),
    "logarithm and exponential": lambda x: x.log_softmax(-1).exp(),
    "logarithm of another function": lambda x: F.log_softmax(x, dim=3).exp_(),
    "exponential and sum": divided_by_sum,
    "stable exponential and sum": lambda x: divided_by_sum(x - x.amax(-1, keepdim=True)),
    "sum without the axis": sum_without_the_axis,
    "in place": in_place,
    "logsumexp": lambda x: (x - x.logsumexp(-1, keepdim=True)).exp(),
    "torch.logsumexp": lambda x: torch.exp(x - torch.logsumexp(x, 3)[..., None]),
    "after subtraction of the maximum": lambda x: (x - x.amax(-1, keepdim=True)).softmax(-1),
    "special": lambda x: torch.special.softmax(x, -1),
}


@pytest.mark.parametrize("function", SOFTMAXES.values(), ids=SOFTMAXES)
def test_softmax_is_recognised_in_every_spelling(function: Callable[[Tensor], Tensor]) -> None:
    record = record_of(lambda q, k, v: function(q @ k.mT * SCALE) @ v)
    assert_stages(record, PLAIN, only=("scores", "scaled", "weights", "context"))


def test_values_summed_before_the_division() -> None:
    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.mT * SCALE
        exponentials = (scores - scores.amax(-1, keepdim=True)).exp()
        return (exponentials @ v) / exponentials.sum(-1, keepdim=True)

    assert_stages(record_of(code), PLAIN, only=("scores", "scaled", "weights", "context"))


def test_exponentials_that_are_masked_by_zeros_are_not_taken_for_others() -> None:
    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        exponentials = (q @ k.mT * SCALE).exp() * MASK
        return exponentials / exponentials.sum(-1, keepdim=True) @ v

    with pytest.raises(ch.errors.NothingCapturedError), ch.capture():
        code(Q, K, V)


LAYOUTS: dict[str, Code] = {
    "weights on the right": lambda q, k, v: (
        (v.mT @ (q @ k.mT * SCALE).softmax(-1).transpose(-2, -1)).mT
    ),
    "softmax of columns": lambda q, k, v: (k @ q.mT * SCALE).softmax(-2).mT @ v,
    "softmax of columns, values first": lambda q, k, v: v.mT @ (k @ q.mT * SCALE).softmax(-2),
    "einsum, softmax of columns": lambda q, k, v: torch.einsum(
        "bhkq,bhkd->bhqd", (torch.einsum("bhkd,bhqd->bhkq", k, q) * SCALE).softmax(2), v
    ),
    "tokens before heads": lambda q, k, v: torch.einsum(
        "bhqk,bkhd->bqhd",
        (torch.einsum("bqhd,bkhd->bhqk", q.transpose(1, 2), k.transpose(1, 2)) * SCALE).softmax(-1),
        v.transpose(1, 2),
    ),
    "heads last": lambda q, k, v: torch.einsum(
        "qkbh,bhkd->qbhd", (torch.einsum("bhqd,bhkd->qkbh", q, k) * SCALE).softmax(1), v
    ),
    "scores transposed": lambda q, k, v: (k @ q.mT * SCALE).transpose(-2, -1).softmax(-1) @ v,
    "scores unflattened": lambda q, k, v: (
        (flat(q) @ flat(k).mT).view(2, 3, 5, 7).mul(SCALE).softmax(-1) @ v
    ),
    "weights flattened": lambda q, k, v: torch.bmm(
        (q @ k.mT * SCALE).softmax(-1).view(6, 5, 7), flat(v)
    ),
}


@pytest.mark.parametrize("code", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_are_recognised(code: Code) -> None:
    record = record_of(code)
    for name, numbers in PLAIN._asdict().items():
        stage = array(getattr(record, name))
        assert stage.shape[-2:] == numbers.shape[-2:], name
        assert_close(stage.reshape(numbers.shape), numbers)
    assert_close(array(record.output).reshape(PLAIN.context.shape), PLAIN.context)


@pytest.mark.parametrize(
    "code",
    [
        lambda q, k, v: (q @ k.T * SCALE).softmax(-1) @ v,
        lambda q, k, v: torch.mm((torch.mm(q, k.t()) * SCALE).softmax(-1), v),
        lambda q, k, v: (q.mm(k.T) * SCALE).softmax(1).mm(v),
        lambda q, k, v: F.linear(F.linear(q, k).mul(SCALE).softmax(-1), v.T),
        lambda q, k, v: torch.addmm(torch.zeros(7).double(), q, k.T, alpha=SCALE).softmax(-1) @ v,
        lambda q, k, v: torch.addmm(v.new_empty(5, 13), (q @ k.T * SCALE).softmax(-1), v, beta=0),
        lambda q, k, v: torch.tensordot(
            (torch.tensordot(q, k, ([1], [1])) * SCALE).softmax(-1), v, dims=1
        ),
        lambda q, k, v: (q.matmul(k.transpose(0, 1)) / 11**0.5).softmax(1).matmul(v),
    ],
)
def test_two_axes_in_every_spelling(code: Code) -> None:
    q, k, v = triple(batch=())
    assert_stages(record_of(code, q, k, v), attention(q, k, v), leading=(1, 1))


def test_three_axes_are_a_batch_with_one_head() -> None:
    q, k, v = triple(batch=(3,))
    record = record_of(
        lambda q, k, v: torch.bmm((torch.bmm(q, k.mT) * SCALE).softmax(-1), v), q, k, v
    )
    assert_stages(record, attention(q, k, v), leading=(3, 1))


def shared_by_broadcasting(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups: Tensor = q.unflatten(1, (3, 2))
    return (groups @ k.unsqueeze(2).mT * SCALE).softmax(-1) @ v.unsqueeze(2)


def shared_in_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bgrqd,bgkd->bgrqk", q.unflatten(1, (3, 2)), k) * SCALE
    return torch.einsum("bgrqk,bgkd->bgrqd", scores.softmax(-1), v)


def shared_by_repeating(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
    return (q @ k.mT * SCALE).softmax(-1) @ v


def shared_by_expanding(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    k, v = (x[:, :, None].expand(2, 3, 2, *x.shape[2:]).reshape(2, 6, *x.shape[2:]) for x in (k, v))
    return (q @ k.mT * SCALE).softmax(-1) @ v


@pytest.mark.parametrize(
    "code", [shared_by_broadcasting, shared_in_einsum, shared_by_repeating, shared_by_expanding]
)
def test_grouped_queries(code: Code) -> None:
    q, k, v = triple(batch=(2, 6), kv_batch=(2, 3))
    record = record_of(code, q, k, v)
    for name, numbers in attention(q, k, v)._asdict().items():
        assert_close(array(getattr(record, name)).reshape(numbers.shape), numbers)


def test_keys_shared_by_all_heads_in_einsum() -> None:
    q, k, v = triple(kv_batch=(2, 1))

    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("bhqd,bkd->bhqk", q, k[:, 0]) * SCALE
        return torch.einsum("bhqk,bkd->bhqd", scores.softmax(-1), v[:, 0])

    assert_stages(record_of(code, q, k, v), attention(q, k, v))


def test_linear_with_activations_as_weights() -> None:
    keys, values = K[0, 0], V[0, 0]

    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.linear(F.linear(q, k, BIAS[0]).mul(SCALE).softmax(-1), v.T)

    record = record_of(code, Q, keys, values)
    expected = attention(Q, keys[None, None], values[None, None], BIAS[0] * SCALE)
    assert_stages(record, expected, only=("masked", "weights", "context"))


def test_softmin_of_negative_scores() -> None:
    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.softmin(q @ k.mT * -SCALE, -1) @ v

    record = record_of(code, Q, K, V)
    assert_stages(record, attention(Q, K, V), only=("masked", "weights", "context"))


@pytest.mark.parametrize("how", ["copy_", "index", "ellipsis", "out"])
def test_scores_written_into_a_buffer(how: str) -> None:
    buffer = torch.empty(2, 3, 5, 7, dtype=torch.float64)

    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.matmul(q * SCALE, k.mT, out=buffer) if how == "out" else q * SCALE @ k.mT
        if how == "copy_":
            buffer.copy_(scores)
        elif how == "index":
            buffer[:, :] = scores
        elif how == "ellipsis":
            buffer[...] = scores
        return buffer.add_(BIAS).softmax(-1) @ v

    for q in (Q, Q.flip(2)):  # the second call finds the first one's scores there
        with ch.capture(copies=True) as recording:
            code(q, K, V)
        recording.verify()
        assert_stages(recording[0], attention(q, K, V, BIAS))
    with ch.capture(copies=True) as recording:
        code(Q, K, V)
        code(Q.flip(2), K, V)
    assert_close(recording[1].query, Q.flip(2))
    assert_close(recording[1].weights, attention(Q.flip(2), K, V, BIAS).weights)


def test_steps_are_not_replayed_in_the_memory_of_the_model() -> None:
    memory = Q.new_empty(2, 3, 5, 7)
    record = record_of(lambda q, k, v: torch.tanh(q @ k.mT, out=memory).softmax(-1) @ v)
    memory.zero_()
    assert_close(record.weights, softmax(np.tanh(PLAIN.scores)))
    assert not memory.any()


def test_a_division_by_zero_is_recorded() -> None:
    record = record_of(lambda q, k, v: (q @ k.mT / 0.0).clamp(-1.0, 1.0).softmax(-1) @ v)
    assert_close(record.weights, softmax(np.sign(PLAIN.scores)))


@pytest.mark.parametrize("linear", [True, False])
def test_a_factor_after_the_projection_of_the_queries_is_the_scale(linear: bool) -> None:
    width = nn.Parameter(normal(11, 11, seed=8))

    def code(x: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = (F.linear(x, width.T) if linear else x @ width) * SCALE
        return (q @ (k @ width).mul(2.0).mT).softmax(-1) @ v

    record = record_of(code)
    width.requires_grad_(False)
    assert_stages(record, attention(Q @ width, K @ width, V, scale=2 * SCALE))
    assert record.scale == pytest.approx(2 * SCALE)


def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * SCALE).softmax(-1) @ v


def test_an_empty_batch_and_one_token() -> None:
    assert record_of(explicit, *triple(batch=(0, 3))).weights.shape == (0, 3, 5, 7)
    single = triple(queries=1, keys=1)
    assert_stages(record_of(explicit, *single), attention(*single))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_types(dtype: torch.dtype) -> None:
    q, k, v = triple(dtype=dtype)
    scaled = record_of(lambda q, k, v: ((q * SCALE) @ k.mT).softmax(-1) @ v, q, k, v)
    assert_stages(scaled, attention(q, k, v), dtype)
    widened = record_of(
        lambda q, k, v: F.softmax(q @ k.mT * SCALE, -1, dtype=torch.float32).to(dtype) @ v, q, k, v
    )
    assert_stages(widened, attention(q, k, v), dtype)


def test_the_precision_is_that_of_the_step_with_the_lowest() -> None:
    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = (q @ k.mT * SCALE).to(torch.bfloat16)
        return F.softmax(scores, -1, dtype=torch.float32) @ v

    record = record_of(code, *triple(dtype=torch.float32))
    assert record.precision == torch.bfloat16


@pytest.mark.parametrize(
    "drop",
    [
        lambda x: F.dropout(x, 0.4),
        nn.Dropout(0.4),
        lambda x: torch.dropout(x, 0.4, True),
    ],
    ids=["functional", "module", "torch"],
)
def test_weights_are_those_before_dropout(drop: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    record = record_of(lambda q, k, v: drop((q @ k.mT * SCALE).softmax(-1)) @ v)
    assert_close(record.weights, PLAIN.weights)
    dropped = array(record.applied_weights)
    assert 0.2 < (dropped == 0.0).mean() < 0.6
    kept = dropped != 0.0
    np.testing.assert_allclose(dropped[kept], (PLAIN.weights / 0.6)[kept], rtol=1e-12)
    assert_close(record.output, dropped @ array(V))


MIXING = normal(3, 3, seed=5)
OF_EACH_IMAGE = normal(2, 3, 3, seed=6)
OF_EACH_QUERY = normal(2, 5, 3, 3, seed=7)
# Mixing of heads: how a model computes it, and the same by einsum.
MIXINGS: dict[str, tuple[Callable[[Tensor], Tensor], str, Tensor]] = {
    "einsum": (lambda x: torch.einsum("bhqk,hg->bgqk", x, MIXING), "bhqk,hg->bgqk", MIXING),
    "parameter": (
        lambda x: torch.einsum("bhqk,hg->bgqk", x, nn.Parameter(MIXING)),
        "bhqk,hg->bgqk",
        MIXING,
    ),
    "matrix first": (lambda x: torch.einsum("hg,bhqk->bgqk", MIXING, x), "bhqk,hg->bgqk", MIXING),
    "@": (lambda x: (x.permute(0, 2, 3, 1) @ MIXING).permute(0, 3, 1, 2), "bhqk,hg->bgqk", MIXING),
    "linear": (
        lambda x: F.linear(x.movedim(1, -1), MIXING).movedim(-1, 1),
        "bhqk,gh->bgqk",
        MIXING,
    ),
    "tensordot": (
        lambda x: torch.tensordot(x, MIXING, dims=([1], [0])).permute(0, 3, 1, 2),
        "bhqk,hg->bgqk",
        MIXING,
    ),
    "other places": (
        lambda x: torch.einsum("bhqk,hg->qbkg", x, MIXING).permute(1, 3, 0, 2),
        "bhqk,hg->bgqk",
        MIXING,
    ),
    "each image": (
        lambda x: torch.einsum("bhqk,bhg->bgqk", x, OF_EACH_IMAGE),
        "bhqk,bhg->bgqk",
        OF_EACH_IMAGE,
    ),
    "each query": (
        lambda x: torch.einsum("bhqk,bqhg->bgqk", x, OF_EACH_QUERY),
        "bhqk,bqhg->bgqk",
        OF_EACH_QUERY,
    ),
}


@pytest.mark.parametrize(("mix", "equation", "matrix"), MIXINGS.values(), ids=MIXINGS)
@pytest.mark.parametrize("after", [False, True])
def test_heads_mixed_before_and_after_the_softmax(
    mix: Callable[[Tensor], Tensor], equation: str, matrix: Tensor, after: bool
) -> None:
    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = mix(q @ k.mT * SCALE).softmax(-1)
        return (mix(weights) if after else weights) @ v

    record = record_of(code)
    masked = np.einsum(equation, PLAIN.scaled, matrix.numpy())
    weights = softmax(masked)
    applied = np.einsum(equation, weights, matrix.numpy()) if after else weights
    assert_close(record.query, Q)
    assert_close(record.scores, PLAIN.scores)
    assert_close(record.masked, masked)
    assert_close(record.weights, weights)
    assert_close(record.applied_weights, applied)


def masked_diagonal(x: Tensor) -> Tensor:
    x.diagonal(dim1=-2, dim2=-1).fill_(-INF)
    return x


def masked_columns(x: Tensor) -> Tensor:
    x[..., :2].masked_fill_(torch.tensor([True, False]), -1e9)
    return x


def masked_in_one_axis(x: Tensor) -> Tensor:
    x.view(-1)[::4] = -5.0
    return x


def bias_of_one_head(x: Tensor) -> Tensor:
    x[:, 0].add_(BIAS).mul_(2.0)
    x.select(1, 2).mul_(0.5)
    return x


def changed_below_a_view(x: Tensor) -> Tensor:
    y = x.view(2, 3, 35)
    x += BIAS
    x[:, 1] *= 3.0
    return y.view(2, 3, 5, 7)


def changed_in_two_views(x: Tensor) -> Tensor:
    heads, columns = x.flatten(0, 1), x[..., 2:]
    del x
    columns.mul_(2.0)
    heads[1].add_(1.0)
    columns.tanh_()
    return heads.view(2, 3, 5, 7)


@pytest.mark.parametrize(
    "change",
    [
        masked_diagonal,
        masked_columns,
        masked_in_one_axis,
        bias_of_one_head,
        changed_below_a_view,
        changed_in_two_views,
    ],
)
def test_a_view_of_the_scores_or_weights_is_changed_in_place(
    change: Callable[[Tensor], Tensor],
) -> None:
    expected = change(Q @ K.mT * SCALE)
    with torch.inference_mode(change is changed_in_two_views):  # where views do not keep the whole
        record = record_of(lambda q, k, v: change(q @ k.mT * SCALE).softmax(-1) @ v)
    assert_close(record.scores, PLAIN.scores)
    assert_close(record.masked, expected)
    assert_close(record.weights, softmax(array(expected)))
    record = record_of(lambda q, k, v: change((q @ k.mT * SCALE).softmax(-1)).nan_to_num() @ v)
    assert_close(record.weights, PLAIN.weights)
    applied = change(torch.from_numpy(PLAIN.weights.copy())).nan_to_num()
    assert_close(record.applied_weights, applied)


@pytest.mark.filterwarnings("ignore:Implicit dimension")
@pytest.mark.parametrize("function", [nn.Softmax(), F.softmax])
def test_a_softmax_without_an_axis(function: Callable[[Tensor], Tensor]) -> None:
    record, _ = record_one(
        lambda q, k, v: function(q @ k.mT * SCALE) @ v, Q[0, 0], K[0, 0], V[0, 0]
    )
    assert_close(record.weights[0, 0], PLAIN.weights[0, 0])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_one_query_for_each_batch_entry_without_an_axis_of_queries(batch: int) -> None:
    query, key = normal(batch, 11, seed=1), normal(batch, 7, 11, seed=2)

    def code(q: Tensor, k: Tensor) -> Tensor:
        weights = torch.bmm(k, q.unsqueeze(2)).squeeze(2).softmax(1)
        return torch.bmm(weights.unsqueeze(1), k).squeeze(1)

    record, _ = record_one(code, query, key)
    q, k = query[:, None, None], key[:, None]
    assert_stages(record, attention(q, k, k, scale=1.0))
    assert_close(record.query, q)
    assert_close(record.key, k)
    assert record.shape == record.weights.shape


def test_queries_and_keys_of_transposed_scores() -> None:
    record = record_of(lambda q, k, v: (k @ q.mT * SCALE).transpose(-2, -1).softmax(-1) @ v)
    assert_close(record.query, Q)
    assert_close(record.key, K)


class HeadsFirst(nn.Module):
    num_heads, head_dim = 3, 11

    def forward(self, q: Tensor, k: Tensor, v: Tensor, fused: bool) -> Tensor:
        q, k, v = (x.transpose(0, 1) for x in (q, k, v))
        if fused:
            mask = MASK.expand(3, 1, 5, 7)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return (q @ k.mT * SCALE).masked_fill(~MASK, -INF).softmax(-1) @ v


@pytest.mark.parametrize("fused", [False, True])
def test_heads_before_the_batch(fused: bool) -> None:
    record, _ = record_one(HeadsFirst(), Q, K, V, fused)
    assert_stages(record, attention(Q, K, V, MASK))


class Merged(nn.Module):
    """Attention whose heads share an axis with the batch."""

    num_heads = 3

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        setattr(self, name, size)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return explicit(q, k, v)


@pytest.mark.parametrize("name", ["head_dim", "embed_dim", "hidden_size"])
def test_heads_that_share_an_axis_with_the_batch_are_those_of_the_module(name: str) -> None:
    size = 11 if name == "head_dim" else 33
    for width, leading in ((size, (2, 3)), (size + 3, (6, 1))):  # the latter is not its attention
        record, _ = record_one(Merged(name, width), flat(Q), flat(K), flat(V))
        assert_stages(record, PLAIN, leading=leading)


def test_steps_are_replayed_under_autocast() -> None:
    mix = normal(3, 3, dtype=torch.float32)

    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            mixed = F.linear((q @ k.mT * SCALE).permute(0, 2, 3, 1), mix)
            return mixed.permute(0, 3, 1, 2).softmax(-1) @ v

    record = record_of(code, Q.float(), K.float(), V.float())
    masked = np.einsum("bhqk,gh->bgqk", PLAIN.scaled, mix.numpy())
    assert_close(record.masked, masked, torch.bfloat16)


class Windows(nn.Module):
    """Attention in windows, with the heads on the second of five axes."""

    num_heads = 3

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT * SCALE).softmax(-1) @ v


def test_windows_behind_the_heads() -> None:
    q, k, v = triple(batch=(2, 3, 4))  # batch, heads, windows
    record, _ = record_one(Windows(), q, k, v)
    expected = attention(*(x.transpose(1, 2) for x in (q, k, v)))
    assert_stages(record, expected)


class FusedWindows(Windows):
    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, scale=SCALE)


@pytest.mark.parametrize("model", [Windows(), FusedWindows()])
@pytest.mark.parametrize("windows", [3, 4])
@pytest.mark.parametrize("order", [(0, 1, 3, 2, 4), (0, 3, 1, 2, 4)])
def test_heads_of_a_projection_are_distinguished_from_as_many_windows(
    model: nn.Module, windows: int, order: tuple[int, ...]
) -> None:
    projected = triple(batch=(2, windows, 3))  # batch, windows, heads, tokens, dim
    tokens_first = (x.transpose(2, 3).contiguous() for x in projected)
    record, _ = record_one(model, *(x.permute(order) for x in tokens_first))
    assert_stages(record, attention(*projected))


@pytest.mark.parametrize("model", [Windows(), FusedWindows()])
def test_as_many_windows_as_heads_are_refused_if_strides_do_not_distinguish_them(
    model: nn.Module,
) -> None:
    q, k, v = triple(batch=(2, 3, 3))
    with pytest.raises(ch.errors.NothingCapturedError, match="Windows: two of"), ch.capture():
        model(q, k, v)


@pytest.mark.parametrize(
    "code",
    [
        lambda: (Q @ K.mT) @ V,
        lambda: Q.softmax(-1) @ K.mT,
        lambda: (Q @ K.mT).softmax(-1).sum(),
    ],
    ids=["no softmax", "no product of queries and keys", "no product with values"],
)
def test_parts_of_attention_are_not_recorded(code: Callable[[], Any]) -> None:
    with pytest.raises(ch.errors.NothingCapturedError, match="softmax"), ch.capture():
        code()


def test_a_softmax_over_classes_between_linear_layers_is_not_recorded() -> None:
    first, second = nn.Linear(13, 4).double(), nn.Linear(4, 2).double()
    with ch.capture() as recording:
        pooled = F.scaled_dot_product_attention(Q, K, V).mean(2)
        second(first(pooled).softmax(-1))
    assert recording.names == ("attention",)


def test_two_softmaxes_of_the_same_scores_are_two_records() -> None:
    with ch.capture() as recording:
        scores = Q @ K.mT
        (scores * SCALE).softmax(-1) @ V
        (scores * 0.7).softmax(-1) @ V
    recording.verify()
    assert_stages(recording[0], PLAIN)
    assert_stages(recording[1], attention(Q, K, V, scale=0.7))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64])
@pytest.mark.parametrize("first", [False, True])
def test_an_added_mask_of_another_type_is_added_as_a_number(
    dtype: torch.dtype, first: bool
) -> None:
    mask = MASK.to(dtype)

    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.mT
        return (mask + scores if first else scores + mask).softmax(-1) @ v

    q, k, v = triple()
    record, _ = record_one(code, q, k, v)
    assert_stages(record, attention(q, k, v, MASK.double(), scale=1.0))


@pytest.mark.parametrize("code", [torch.add, lambda x, y: torch.where(MASK, x, y)])
def test_scores_are_those_of_keys_also_behind_a_term_of_positions(code: Any) -> None:
    positions = normal(7, 11)
    record = record_of(lambda q, k, v: code(q @ positions.mT, q @ k.mT).softmax(-1) @ v)
    assert record.key.equal(K)
    assert_close(array(record.scores), (Q @ K.mT).numpy())


@pytest.mark.parametrize("before", [True, False])
def test_attention_over_channels_of_a_packed_projection_is_recorded(before: bool) -> None:
    packed, tokens = nn.Parameter(normal(39, 11)), normal(5, 1, 11)
    parts = packed.chunk(3)

    def code(x: Tensor, _: Tensor, __: Tensor) -> Tensor:
        weights = parts if before else packed.chunk(3)
        q, k, v = (F.linear(x, weight).permute(1, 2, 0) for weight in weights)
        return (q @ k.mT).softmax(-1) @ v

    record, _ = record_one(code, tokens, K, V)
    q, k, v = ((tokens @ part.mT).permute(1, 2, 0)[:, None].detach() for part in parts)
    assert_stages(record, attention(q, k, v, scale=1.0))


@pytest.mark.parametrize("moved", [lambda x: x.flip(-1), lambda x: x.roll(1, -1)])
def test_scores_are_those_of_keys_also_behind_a_term_of_as_many_axes(moved: Any) -> None:
    positions = normal(2, 3, 7, 11)

    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = (q @ k.mT * SCALE).masked_fill(~MASK, -INF)
        weights: Tensor = (moved(q @ positions.mT) + scores).softmax(-1)
        return weights @ v

    record = record_of(code)
    assert record.key.equal(K)
    assert_close(array(record.scores), (Q @ K.mT).numpy())


def flattened_after_the_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return flat((q @ k.mT * SCALE).softmax(-1)) @ flat(v)


def unflattened_after_the_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (flat(q) @ flat(k).mT * SCALE).softmax(-1).view(2, 3, 5, 7) @ v


def flattened_around_the_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return flat(q @ k.mT * SCALE).softmax(-1).view(2, 3, 5, 7) @ v


def flattened_before_the_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return flat(q @ k.mT * SCALE).softmax(-1) @ flat(v)


@pytest.mark.parametrize(
    "code",
    [
        flattened_after_the_softmax,
        unflattened_after_the_softmax,
        flattened_around_the_softmax,
        flattened_before_the_softmax,
    ],
)
def test_heads_that_are_merged_with_the_batch_for_a_part_of_the_operations(code: Code) -> None:
    record = record_of(code)
    assert_stages(record, PLAIN)
    assert record.shape == (2, 3, 5, 7)
    assert record.query.equal(Q)
