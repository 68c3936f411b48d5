"""Attention written out in plain code, in the many ways people write it."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import clearhead as ch
from clearhead.recording import AttentionRecord

from .independent import array, attention, close, normal, same_stages, softmax, triple

Q, K, V = triple()
MASK = torch.tensor([[True, False, True, True, False, True, True]] * 5)
MASK[2] = torch.tensor([False, True, False, True, True, False, True])
BIAS = normal(5, 7, seed=9)
SCALE = 11**-0.5
LOWEST = torch.finfo(torch.float64).min
INFINITE = torch.zeros(5, 7, dtype=torch.float64).masked_fill(~MASK, -math.inf)

Code = Callable[[Tensor, Tensor, Tensor], Tensor]


def see(code: Code, *tensors: Tensor) -> AttentionRecord:
    """The one record of this code, proved."""
    q, k, v = tensors or (Q, K, V)
    with ch.capture() as seen:
        output = code(q, k, v)
    assert len(seen) == 1, f"{len(seen)} attentions captured"
    assert seen.verify()[0].holds
    assert seen[0].output.flatten().sort().values.equal(output.flatten().sort().values)
    return seen[0]


def flat(x: Tensor) -> Tensor:
    """(batch · heads, tokens, dim), as torch.bmm wants it."""
    return x.flatten(0, 1)


PRODUCTS: dict[str, Code] = {
    "@": lambda q, k, v: (q @ k.transpose(-2, -1) * SCALE).softmax(-1) @ v,
    "mT": lambda q, k, v: (q @ k.mT * SCALE).softmax(-1) @ v,
    "matmul": lambda q, k, v: torch.matmul(
        F.softmax(torch.matmul(q, k.transpose(2, 3)) * SCALE, dim=-1), v
    ),
    "method": lambda q, k, v: q.matmul(k.swapaxes(-1, -2)).mul(SCALE).softmax(dim=-1).matmul(v),
    "keywords": lambda q, k, v: torch.matmul(
        input=torch.softmax(input=torch.matmul(input=q, other=k.mT) * SCALE, dim=-1), other=v
    ),
    "permute": lambda q, k, v: (q @ k.permute(0, 1, 3, 2) * SCALE).softmax(-1) @ v,
    "einsum": lambda q, k, v: torch.einsum(
        "bhqk,bhkd->bhqd", (torch.einsum("bhqd,bhkd->bhqk", q, k) * SCALE).softmax(-1), v
    ),
    "einsum with an ellipsis": lambda q, k, v: torch.einsum(
        "...qk,...kd->...qd", (torch.einsum("...qd,...kd->...qk", q, k) * SCALE).softmax(-1), v
    ),
    "einsum of a list": lambda q, k, v: torch.einsum(
        "bhqk,bhkd->bhqd",
        [(torch.einsum("b h i d, b h j d -> b h i j", [q, k]) * SCALE).softmax(-1), v],
    ),
    "einsum without an arrow": lambda q, k, v: torch.einsum(
        "...aj,...jb", (torch.einsum("...id,...jd", q, k) * SCALE).softmax(-1), v
    ),
    "einsum by numbers": lambda q, k, v: (
        (torch.einsum(q, [0, 1, 2, 4], k, [0, 1, 3, 4], [0, 1, 2, 3]) * SCALE).softmax(-1) @ v
    ),
    "einsum of five axes": lambda q, k, v: torch.einsum(
        "xbhqk,xbhkd->xbhqd",
        (torch.einsum("xbhqd,xbhkd->xbhqk", q[None], k[None]) * SCALE).softmax(-1),
        v[None],
    )[0],
    "keys already transposed": lambda q, k, v: (
        (q @ k.transpose(-2, -1).contiguous() * SCALE).softmax(-1) @ v
    ),
}


@pytest.mark.parametrize("code", PRODUCTS.values(), ids=PRODUCTS)
def test_spellings_of_the_products(code: Code) -> None:
    record = see(code)
    leading = (1, 2, 3) if record.query.dim() == 5 else (2, 3)
    same_stages(record, attention(Q, K, V), leading=leading)


SCALINGS: dict[str, Code] = {
    "on the queries": lambda q, k, v: ((q * SCALE) @ k.mT).softmax(-1) @ v,
    "on the queries by division": lambda q, k, v: ((q / 11**0.5) @ k.mT).softmax(-1) @ v,
    "on the keys": lambda q, k, v: (q @ (k * SCALE).mT).softmax(-1) @ v,
    "on the transposed keys": lambda q, k, v: (q @ (k.mT * SCALE)).softmax(-1) @ v,
    "half on each": lambda q, k, v: ((q * SCALE**0.5) @ (k * SCALE**0.5).mT).softmax(-1) @ v,
    "from the left": lambda q, k, v: (SCALE * (q @ k.mT)).softmax(-1) @ v,
    "division": lambda q, k, v: (q @ k.mT / math.sqrt(11)).softmax(-1) @ v,
    "torch.div": lambda q, k, v: torch.div(q @ k.mT, 11**0.5).softmax(-1) @ v,
    "by a tensor": lambda q, k, v: (
        (q @ k.mT / torch.tensor(11.0, dtype=torch.float64).sqrt()).softmax(-1) @ v
    ),
    "in place": lambda q, k, v: (q @ k.mT).mul_(SCALE).softmax(-1) @ v,
    "division in place": lambda q, k, v: (q @ k.mT).div_(11**0.5).softmax(-1) @ v,
    "queries in place": lambda q, k, v: (q.clone().mul_(SCALE) @ k.mT).softmax(-1) @ v,
    "in two steps": lambda q, k, v: (q @ k.mT * (SCALE / 2) * 2.0).softmax(-1) @ v,
    "baddbmm": lambda q, k, v: torch.bmm(
        torch.baddbmm(
            torch.empty(6, 5, 7, dtype=q.dtype), flat(q), flat(k).mT, beta=0, alpha=SCALE
        ).softmax(-1),
        flat(v),
    ),
}


@pytest.mark.parametrize("code", SCALINGS.values(), ids=SCALINGS)
def test_a_scale_wherever_it_is_put(code: Code) -> None:
    record = see(code)
    leading = (6, 1) if record.query.shape[0] == 6 else (2, 3)
    same_stages(record, attention(Q, K, V), leading=leading)


def test_no_scale_at_all() -> None:
    record = see(lambda q, k, v: (q @ k.mT).softmax(-1) @ v)
    same_stages(record, attention(Q, K, V, scale=1.0))


def test_one_scale_a_head() -> None:
    scales = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)[:, None, None]
    expected = attention(Q, K, V, scale=array(scales))
    same_stages(see(lambda q, k, v: (q @ k.mT * scales).softmax(-1) @ v), expected)
    same_stages(see(lambda q, k, v: ((q * scales) @ k.mT).softmax(-1) @ v), expected)
    part = see(lambda q, k, v: (q @ k.mT * scales).softmax(-1) @ v).stages(heads=[2, 0])
    np.testing.assert_allclose(part.weights, expected.weights[:, [2, 0]], atol=1e-12)


def in_place_addition(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT * SCALE
    scores += INFINITE
    return scores.softmax(-1) @ v


def by_index(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT * SCALE
    scores[..., ~MASK] = -math.inf
    return scores.softmax(-1) @ v


MASKINGS: dict[str, Code] = {
    "addition": lambda q, k, v: (q @ k.mT * SCALE + INFINITE).softmax(-1) @ v,
    "addition from the left": lambda q, k, v: (INFINITE + q @ k.mT * SCALE).softmax(-1) @ v,
    "torch.add": lambda q, k, v: torch.add(q @ k.mT * SCALE, INFINITE).softmax(-1) @ v,
    "addition in place": in_place_addition,
    "masked_fill": lambda q, k, v: (q @ k.mT * SCALE).masked_fill(~MASK, -math.inf).softmax(-1) @ v,
    "masked_fill in place": lambda q, k, v: (
        (q @ k.mT * SCALE).masked_fill_(MASK.logical_not(), float("-inf")).softmax(-1) @ v
    ),
    "masked_fill by a tensor": lambda q, k, v: (
        (q @ k.mT * SCALE).masked_fill(~MASK, torch.tensor(-math.inf)).softmax(-1) @ v
    ),
    "masked_fill by name": lambda q, k, v: (
        (q @ k.mT * SCALE).masked_fill(mask=MASK == 0, value=-math.inf).softmax(-1) @ v
    ),
    "torch.masked_fill": lambda q, k, v: (
        torch.masked_fill(q @ k.mT * SCALE, ~MASK, -math.inf).softmax(-1) @ v
    ),
    "where": lambda q, k, v: torch.where(MASK, q @ k.mT * SCALE, -math.inf).softmax(-1) @ v,
    "where the other way": lambda q, k, v: (
        torch.where(~MASK, torch.tensor(-math.inf), q @ k.mT * SCALE).softmax(-1) @ v
    ),
    "by index": by_index,
    "before the scale": lambda q, k, v: (
        (q @ k.mT).masked_fill(~MASK, -math.inf).mul(SCALE).softmax(-1) @ v
    ),
    "in baddbmm": lambda q, k, v: (
        torch.baddbmm(INFINITE.expand(6, 5, 7), flat(q * SCALE), flat(k).mT).softmax(-1) @ flat(v)
    ),
}


@pytest.mark.parametrize("code", MASKINGS.values(), ids=MASKINGS)
def test_a_mask_however_it_is_applied(code: Code) -> None:
    record = see(code)
    leading = (6, 1) if record.query.shape[0] == 6 else (2, 3)
    expected = attention(Q, K, V, MASK)
    for stage in ("scores", "masked", "weights", "context"):
        close(getattr(record, stage), getattr(expected, stage).reshape(*leading, 5, -1))
    assert record.weights[..., ~MASK].eq(0.0).all()


@pytest.mark.parametrize("low", [-1e4, -1e9, LOWEST])
def test_masks_that_only_come_near_minus_infinity(low: float) -> None:
    lowered = torch.zeros(5, 7, dtype=torch.float64).masked_fill(~MASK, low)
    added = see(lambda q, k, v: (q @ k.mT * SCALE + lowered).softmax(-1) @ v)
    same_stages(added, attention(Q, K, V, lowered))
    filled = see(lambda q, k, v: (q @ k.mT * SCALE).masked_fill(~MASK, low).softmax(-1) @ v)
    plain = attention(Q, K, V)
    masked = np.where(MASK.numpy(), plain.scaled, low)
    close(filled.scaled, plain.scaled)
    np.testing.assert_allclose(array(filled.masked), masked, rtol=1e-12)
    close(filled.weights, softmax(masked))


def test_a_mask_for_each_member_of_the_batch_and_a_bias_for_each_head() -> None:
    members = torch.stack([MASK, MASK.roll(1, 1)])[:, None]
    bias = normal(3, 5, 7, seed=4)
    record = see(
        lambda q, k, v: (q @ k.mT * SCALE + bias).masked_fill(~members, -math.inf).softmax(-1) @ v
    )
    together = bias.masked_fill(~members, -math.inf)
    same_stages(record, attention(Q, K, V, together))


def test_a_bias_for_each_head_alone() -> None:
    bias = normal(1, 3, 5, 7, seed=4)
    record = see(lambda q, k, v: (q @ k.mT * SCALE + bias).softmax(-1) @ v)
    same_stages(record, attention(Q, K, V, bias))


def test_scores_that_are_capped() -> None:
    record = see(lambda q, k, v: ((q @ k.mT * SCALE / 3).tanh() * 3).softmax(-1) @ v)
    plain = attention(Q, K, V)
    masked = 3 * np.tanh(plain.scaled / 3)
    close(record.scores, plain.scores)
    close(record.masked, masked)
    close(record.weights, softmax(masked))


SOFTMAXES: dict[str, Callable[[Tensor], Tensor]] = {
    "method": lambda x: x.softmax(-1),
    "method by name": lambda x: x.softmax(dim=3),
    "torch": lambda x: torch.softmax(x, -1),
    "functional": lambda x: F.softmax(x, dim=-1),
    "module": nn.Softmax(dim=-1),
    "with a type": lambda x: F.softmax(x, dim=-1, dtype=torch.float64),
    "in another type": lambda x: F.softmax(x.double(), dim=-1).to(x.dtype),
    "after the largest is taken away": lambda x: (x - x.amax(-1, keepdim=True)).softmax(-1),
    "special": lambda x: torch.special.softmax(x, -1),
}


@pytest.mark.parametrize("function", SOFTMAXES.values(), ids=SOFTMAXES)
def test_spellings_of_the_softmax(function: Callable[[Tensor], Tensor]) -> None:
    record = see(lambda q, k, v: function(q @ k.mT * SCALE) @ v)
    expected = attention(Q, K, V)
    for stage in ("scores", "scaled", "weights", "context"):
        close(getattr(record, stage), getattr(expected, stage))


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
    "scores turned round before the softmax": lambda q, k, v: (
        (k @ q.mT * SCALE).transpose(-2, -1).softmax(-1) @ v
    ),
    "scores unfolded": lambda q, k, v: (
        (flat(q) @ flat(k).mT).view(2, 3, 5, 7).mul(SCALE).softmax(-1) @ v
    ),
    "weights folded": lambda q, k, v: torch.bmm(
        (q @ k.mT * SCALE).softmax(-1).view(6, 5, 7), flat(v)
    ),
}


@pytest.mark.parametrize("code", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(code: Code) -> None:
    record = see(code)
    expected = attention(Q, K, V)
    for name, numbers in zip(expected._fields, expected, strict=True):
        found = array(getattr(record, name))
        assert found.shape[-2:] == numbers.shape[-2:], name
        close(found.reshape(numbers.shape), numbers)
    close(array(record.output).reshape(expected.context.shape), expected.context)


def test_two_axes_by_every_product_of_matrices() -> None:
    q, k, v = triple(batch=())
    expected = attention(q, k, v)
    for code in (
        lambda q, k, v: (q @ k.T * SCALE).softmax(-1) @ v,
        lambda q, k, v: torch.mm((torch.mm(q, k.t()) * SCALE).softmax(-1), v),
        lambda q, k, v: (q.mm(k.T) * SCALE).softmax(1).mm(v),
        lambda q, k, v: (q.matmul(k.transpose(0, 1)) / 11**0.5).softmax(1).matmul(v),
    ):
        same_stages(see(code, q, k, v), expected, leading=(1, 1))


def test_three_axes_are_a_batch_with_one_head() -> None:
    q, k, v = triple(batch=(3,))
    record = see(lambda q, k, v: torch.bmm((torch.bmm(q, k.mT) * SCALE).softmax(-1), v), q, k, v)
    same_stages(record, attention(q, k, v), leading=(3, 1))


def test_grouped_queries_by_repeating_keys() -> None:
    q, k, v = triple(batch=(2, 6), kv_batch=(2, 3))
    for repeat in (
        lambda x: x.repeat_interleave(2, dim=1),
        lambda x: x[:, :, None].expand(2, 3, 2, *x.shape[2:]).reshape(2, 6, *x.shape[2:]),
    ):
        record = see(
            lambda q, k, v, repeat=repeat: (  # type: ignore[misc]
                (q @ repeat(k).mT * SCALE).softmax(-1) @ repeat(v)
            ),
            q, k, v,
        )  # fmt: skip
        same_stages(record, attention(q, k, v))


def test_grouped_queries_on_an_axis_of_their_own() -> None:
    q, k, v = triple(batch=(2, 6), kv_batch=(2, 3))
    expected = attention(q, k, v)

    def broadcast(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        apart: Tensor = q.unflatten(1, (3, 2))
        return (apart @ k.unsqueeze(2).mT * SCALE).softmax(-1) @ v.unsqueeze(2)

    def einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("bgrqd,bgkd->bgrqk", q.unflatten(1, (3, 2)), k) * SCALE
        return torch.einsum("bgrqk,bgkd->bgrqd", scores.softmax(-1), v)

    for code in (broadcast, einsum):
        record = see(code, q, k, v)
        for name, numbers in zip(expected._fields, expected, strict=True):
            close(array(getattr(record, name)).reshape(numbers.shape), numbers)


def test_keys_shared_by_all_heads_in_einsum() -> None:
    q, k, v = triple(kv_batch=(2, 1))

    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("bhqd,bkd->bhqk", q, k[:, 0]) * SCALE
        return torch.einsum("bhqk,bkd->bhqd", scores.softmax(-1), v[:, 0])

    same_stages(see(code, q, k, v), attention(q, k, v))


def test_an_empty_batch_and_one_token() -> None:
    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT * SCALE).softmax(-1) @ v

    assert see(code, *triple(batch=(0, 3))).weights.shape == (0, 3, 5, 7)
    one = triple(queries=1, keys=1)
    same_stages(see(code, *one), attention(*one))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    q, k, v = triple(dtype=dtype)
    scaled = see(lambda q, k, v: ((q * SCALE) @ k.mT).softmax(-1) @ v, q, k, v)
    same_stages(scaled, attention(q, k, v), dtype)
    widened = see(
        lambda q, k, v: F.softmax(q @ k.mT * SCALE, -1, dtype=torch.float32).to(dtype) @ v, q, k, v
    )
    same_stages(widened, attention(q, k, v), dtype)


def test_weights_are_those_before_dropout_and_the_proof_still_holds() -> None:
    torch.manual_seed(0)
    drop = nn.Dropout(0.4)
    for code in (
        lambda q, k, v: F.dropout((q @ k.mT * SCALE).softmax(-1), 0.4) @ v,
        lambda q, k, v: drop((q @ k.mT * SCALE).softmax(-1)) @ v,
        lambda q, k, v: torch.dropout((q @ k.mT * SCALE).softmax(-1), 0.4, True) @ v,
    ):
        record = see(code)
        expected = attention(Q, K, V)
        close(record.weights, expected.weights)
        dropped = array(record.applied_weights)
        assert 0.2 < (dropped == 0.0).mean() < 0.6
        kept = dropped != 0.0
        np.testing.assert_allclose(dropped[kept], (expected.weights / 0.6)[kept], rtol=1e-12)
        close(record.output, dropped @ array(V))


def test_heads_mixed_before_and_after_the_softmax() -> None:
    pre_softmax, post_softmax = normal(3, 3, seed=5), normal(3, 3, seed=6)

    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("bhqk,hg->bgqk", q @ k.mT * SCALE, nn.Parameter(pre_softmax))
        weights = torch.einsum("bhqk,hg->bgqk", scores.softmax(-1), nn.Parameter(post_softmax))
        return weights @ v

    record = see(code)
    masked = np.einsum("bhqk,hg->bgqk", attention(Q, K, V).scaled, pre_softmax.numpy())
    close(record.masked, masked)
    close(record.weights, softmax(masked))
    close(record.applied_weights, np.einsum("bhqk,hg->bgqk", softmax(masked), post_softmax.numpy()))


def test_a_product_without_softmax_and_a_softmax_without_product_are_no_attention() -> None:
    codes: tuple[Callable[[], Tensor], ...] = (
        lambda: (Q @ K.mT) @ V,
        lambda: Q.softmax(-1) @ K.mT,
        lambda: (Q @ K.mT).softmax(-1).sum(),
    )
    for code in codes:
        with pytest.raises(ch.errors.NothingCapturedError, match="softmax"), ch.capture():
            code()


def test_a_softmax_over_classes_between_linear_layers_is_no_attention() -> None:
    first, second = nn.Linear(13, 4).double(), nn.Linear(4, 2).double()
    with ch.capture() as seen:
        pooled = F.scaled_dot_product_attention(Q, K, V).mean(2)
        second(first(pooled).softmax(-1))
    assert seen.names == ("attention",)


def test_scores_that_two_softmaxes_share_give_two_attentions() -> None:
    with ch.capture() as seen:
        scores = Q @ K.mT
        (scores * SCALE).softmax(-1) @ V
        (scores * 0.7).softmax(-1) @ V
    seen.verify()
    same_stages(seen[0], attention(Q, K, V))
    same_stages(seen[1], attention(Q, K, V, scale=0.7))
