"""`verify` accepts true records and rejects planted faults, in every type."""

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import clearhead as ch
from clearhead.errors import UnfaithfulCaptureError
from clearhead.recording import AttentionRecord, Recording, Verification
from clearhead.recording._verification import verify_record

from .reference import assert_close, normal, record_one, triple

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MASK = torch.ones(7, 7, dtype=torch.bool).tril()
SCALE = 11**-0.5


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=MASK)


def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (torch.einsum("bhqd,bhkd->bhqk", q, k) * SCALE).masked_fill(~MASK, -math.inf)
    return torch.matmul(F.softmax(scores, dim=-1), v)


def steps(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Steps beyond one scale and mask: a soft cap, then a finite mask."""
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * SCALE
    scores = ((scores / 5).tanh() * 5).masked_fill(~MASK, -1e4)
    return torch.matmul(F.softmax(scores, dim=-1), v)


ATTENTIONS = (fused, explicit, steps)
Code = Callable[..., Tensor]


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (normal(2, 3, 7, 11, seed=seed, dtype=dtype) for seed in (1, 2, 3))
    return q, k, v


def record_of(code: Code, dtype: torch.dtype = torch.float64) -> Recording:
    with ch.capture() as recording:
        code(*inputs(dtype))
    return recording


def assert_rejected(result: Recording | AttentionRecord, message: str = "differs") -> None:
    recording = Recording({"attention": result}) if isinstance(result, AttentionRecord) else result
    with pytest.raises(UnfaithfulCaptureError, match=message):
        recording.verify()


types = pytest.mark.parametrize("dtype", DTYPES)
codes = pytest.mark.parametrize("code", ATTENTIONS)


@codes
@types
def test_differences_of_true_records_are_small(code: Code, dtype: torch.dtype) -> None:
    (verification,) = record_of(code, dtype).verify()
    eps = torch.finfo(dtype).eps
    assert isinstance(verification, Verification)
    assert verification.name == "attention"
    assert 0.0 <= verification.row_sum_error < 10 * torch.finfo(torch.float32).eps
    assert verification.masked_mass < 1e-30
    assert verification.output_error <= verification.tolerance < 100 * eps
    assert verification.passed
    assert f"{verification.output_error:.1e}" in str(verification)


PLANTED: dict[str, Callable[[AttentionRecord], AttentionRecord]] = {
    "a wrong scale": lambda r: replace(r, scale=r.scale * 1.5),
    "no scale": lambda r: replace(r, scale=1.0),
    "heads swapped in the queries": lambda r: replace(r, query=r.query[:, [1, 0, 2]]),
    "heads swapped in the values": lambda r: replace(r, value=r.value[:, [0, 2, 1]]),
    "heads swapped in the output": lambda r: replace(r, raw_output=r.raw_output[:, [1, 0, 2]]),
    "keys permuted": lambda r: replace(r, key=r.key[:, :, torch.arange(7).roll(1)]),
    "values permuted": lambda r: replace(r, value=r.value[:, :, torch.arange(7).roll(1)]),
    "images swapped": lambda r: replace(r, query=r.query.flip(0)),
    "another output": lambda r: replace(r, raw_output=r.raw_output * 1.5),
    "an output of zeros": lambda r: replace(r, raw_output=torch.zeros_like(r.raw_output)),
    "one number wrong": lambda r: replace(r, raw_output=one_wrong(r.raw_output)),
    "a NaN": lambda r: replace(r, raw_output=one_wrong(r.raw_output, math.nan)),
}


def one_wrong(x: Tensor, number: float = 9.0) -> Tensor:
    here = torch.zeros_like(x)
    here[(-1,) * x.dim()] = 1.0
    return torch.where(here == 1.0, number, x)  # a new tensor, not one changed in place


@codes
@types
def test_faults_in_a_record_are_rejected(code: Code, dtype: torch.dtype) -> None:
    recording = record_of(code, dtype)
    for plant in PLANTED.values():
        assert_rejected(plant(recording[0]), r"attention: .*differs .*(\de-?|nan)")
    recording.verify()


@types
def test_a_missing_or_wrong_mask_is_rejected(dtype: torch.dtype) -> None:
    for code in (fused, explicit):
        record = record_of(code, dtype)[0]
        for mask in (None, ~MASK, MASK.mT, MASK.roll(1, 1)):
            assert_rejected(replace(record, attn_mask=mask))
    assert_rejected(replace(record_of(steps, dtype)[0], pre_softmax=()))


@codes
@pytest.mark.parametrize("factor", [1.001, 0.999])
def test_a_scale_wrong_by_a_thousandth_is_rejected(code: Code, factor: float) -> None:
    for dtype in (torch.float32, torch.float64):
        record = record_of(code, dtype)[0]
        assert_rejected(replace(record, scale=record.scale * factor))


class Kernel(TorchFunctionMode):
    """Replaces a kernel: entered outside the capture, it is called last."""

    def __init__(self, name: str, wrong: Callable[..., Tensor]) -> None:
        super().__init__()
        self.name, self.wrong = name, wrong

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "") == self.name:
            return self.wrong(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def other_mask(func: Any, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor) -> Tensor:
    result: Tensor = func(q, k, v)
    return result


KERNELS: dict[str, Callable[..., Tensor]] = {
    "other scale": lambda f, q, k, v, attn_mask: f(q, k, v, attn_mask=attn_mask, scale=0.6),
    "no mask": other_mask,
    "causal the other way": lambda f, q, k, v, attn_mask: f(q, k, v, attn_mask=attn_mask.mT),
    "heads swapped": lambda f, q, k, v, attn_mask: f(q, k, v, attn_mask=attn_mask)[:, [1, 0, 2]],
    "heads swapped in keys": lambda f, q, k, v, attn_mask: f(
        q, k[:, [1, 0, 2]], v, attn_mask=attn_mask
    ),
    "keys permuted": lambda f, q, k, v, attn_mask: f(q, k.roll(1, 2), v, attn_mask=attn_mask),
    "the values": lambda f, q, k, v, attn_mask: v,
    "their mean": lambda f, q, k, v, attn_mask: v.mean(2, keepdim=True).expand_as(v),
}


@pytest.mark.parametrize("kernel", KERNELS)
@types
def test_a_wrong_fused_kernel_is_rejected(kernel: str, dtype: torch.dtype) -> None:
    with Kernel("scaled_dot_product_attention", KERNELS[kernel]):
        recording = record_of(fused, dtype)
    assert_rejected(recording)


WRONG_PARTS: dict[str, tuple[str, Callable[..., Tensor]]] = {
    "a softmax of another temperature": ("softmax", lambda f, x, **options: f(x * 1.5, dim=-1)),
    "a softmax over the queries": ("softmax", lambda f, x, **options: f(x, dim=-2)),
    "weights times other values": ("matmul", lambda f, w, v: f(w, v.roll(1, 2))),
    "values added to the context": ("matmul", lambda f, w, v: f(w, v) + 0.1 * v),
    "queries times other keys": ("einsum", lambda f, e, q, k: f(e, q, k[:, [1, 0, 2]])),
}


@pytest.mark.parametrize("kernel", WRONG_PARTS)
@pytest.mark.parametrize("code", [explicit, steps])
@types
def test_wrong_parts_of_explicit_attention_are_rejected(
    kernel: str, code: Code, dtype: torch.dtype
) -> None:
    with Kernel(*WRONG_PARTS[kernel]):
        recording = record_of(code, dtype)
    assert_rejected(recording)


def test_weights_changed_without_torch_are_rejected() -> None:
    def changed_by_numpy(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = F.softmax(q @ k.mT * SCALE, dim=-1)
        weights.numpy()[:, 1] = 1 / 7
        return weights @ v

    assert_rejected(record_of(changed_by_numpy))


def test_the_message_names_the_failed_records_only() -> None:
    q, k, v = inputs()
    with ch.capture() as recording:
        for _ in range(3):
            fused(q, k, v)
    faulty = dict(recording)
    faulty["attention#2"] = replace(recording[1], scale=1.0)
    assert_rejected(Recording(faulty), r"^1 of 3 .*attention#2: rows((?!attention#3).)*$")


def test_weight_on_masked_keys_is_rejected() -> None:
    def lenient(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=torch.where(MASK, 0.0, -1e4))

    q, k, v = (x.float() for x in inputs())
    with ch.capture() as recording:
        lenient(q, k, v)
    assert recording.verify()[0].masked_mass == 0.0
    with ch.capture() as recording:
        lenient(3e2 * q, 3e2 * k, v)  # scores larger than the mask
    assert recording[0].weights[:, :, ~MASK].max() > 0.9
    assert_rejected(recording, r"9\.\d+e-01 on masked keys|1\.0e\+00 on")


@types
@pytest.mark.parametrize("size", [0.0, 1e-3, 30.0])
def test_small_and_large_numbers_are_accepted(size: float, dtype: torch.dtype) -> None:
    q, k, v = inputs(dtype)
    for code in ATTENTIONS:
        with ch.capture() as recording:
            code(size * q, k, v)
            code(size**0.5 * q, size**0.5 * k, v)
            code(q, k, size * v)
            code(q, k, torch.zeros_like(v))
            code(q, k, v + 10.0)
        assert len(recording.verify()) == 5


@types
def test_long_sequences_are_accepted(dtype: torch.dtype) -> None:
    q, k, v = (normal(1, 1, 601, 64, seed=seed, dtype=dtype) for seed in (1, 2, 3))
    with ch.capture() as recording:
        F.scaled_dot_product_attention(q, k, v)
        F.scaled_dot_product_attention(q, k, v, is_causal=True)
        (q * 0.125 @ k.mT).softmax(-1) @ v
    assert len(recording.verify()) == 3


def mostly_equal(seed: int, distinct: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and values of 1,024 tokens that are equal but for the first ones, and 70 queries."""
    tokens = normal(1, 1024, 32, seed=seed, dtype=torch.float32)
    tokens[:, distinct:] = tokens[:, :1]
    layers = normal(3, 32, 32, seed=seed + 100, dtype=torch.float32) / 32**0.5
    q, k, v = ((tokens @ layer).unflatten(-1, (2, 16)).transpose(1, 2) for layer in layers)
    return q[:, :, :70], k, v


def added_one_by_one(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The least precise order of summation."""
    context = torch.zeros_like(q)
    weights = F.softmax(q @ k.mT * 0.25, dim=-1)
    for key in range(k.shape[-2]):
        context += weights[..., key, None] * v[..., key, None, :]
    return context


@pytest.mark.parametrize("seed", range(4))
def test_rounding_errors_of_equal_tokens_are_accepted_and_small_faults_are_not(seed: int) -> None:
    q, k, v = mostly_equal(seed)
    with ch.capture() as recording:
        F.scaled_dot_product_attention(q, k, v)
    recording.verify()
    record = recording[0]
    assert_rejected(replace(record, raw_output=record.raw_output * (1 + 3e-4)))
    assert_rejected(replace(record, scale=record.scale * 1.001))
    assert_rejected(replace(record, value=v[:, :, torch.tensor([0, 2, 1, *range(3, 1024)])]))
    assert_rejected(replace(record, attn_mask=torch.arange(1024) != 5))
    assert_rejected(replace(record, attn_mask=torch.arange(1024) != 500))


@pytest.mark.parametrize("distinct", [1, 64, 512])
def test_the_least_precise_order_of_summation_is_accepted(distinct: int) -> None:
    q, k, v = mostly_equal(0, distinct)
    with ch.capture() as recording:
        F.scaled_dot_product_attention(q, k, v)
    replaced = replace(recording[0], raw_output=added_one_by_one(q, k, v))
    assert Recording({"attention": replaced}).verify()[0].output_error > 1e-6


def test_the_smallest_error_that_is_rejected_between_different_tokens() -> None:
    q, k, v = (normal(1, 2, 1024, 16, seed=seed, dtype=torch.float32) for seed in (1, 2, 3))
    with ch.capture() as recording:
        F.scaled_dot_product_attention(q[:, :, :70], k, v)
    (verification,) = recording.verify()
    record = recording[0]
    assert verification.tolerance < 2e-5
    assert_rejected(replace(record, value=v * (1 + 1e-4)))
    assert_rejected(replace(record, scale=record.scale * (1 + 1e-4)))
    assert_rejected(replace(record, attn_mask=torch.arange(1024) != 500))


SECOND_MASKED = torch.arange(5)[:, None] != 1  # no key for the second query


def masked_steps(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * SCALE).masked_fill(~SECOND_MASKED, -math.inf).softmax(-1) @ v


def masked_exponentials(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    x = (q @ k.mT * SCALE).masked_fill(~SECOND_MASKED, -math.inf).exp()
    return (x / x.sum(-1, keepdim=True)) @ v


def masked_and_replaced(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q @ k.mT * SCALE).masked_fill(~SECOND_MASKED, -math.inf)
    weights: Tensor = scores.softmax(-1).nan_to_num(0.0)
    return weights @ v


def masked_safely(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q @ k.mT * SCALE).masked_fill(~SECOND_MASKED, -math.inf)
    weights: Tensor = torch.ops.aten._safe_softmax(scores, -1)
    return weights @ v


def masked_fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=SECOND_MASKED, scale=SCALE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("code", "weight", "output"),
    [
        (masked_steps, math.nan, math.nan),
        (masked_exponentials, math.nan, math.nan),
        (masked_and_replaced, math.nan, 0.0),
        (masked_safely, 0.0, 0.0),
        (masked_fused, 0.0, 0.0),
    ],
)
def test_a_row_without_keys_is_nan_where_the_model_has_it_and_zero_elsewhere(
    code: Code, weight: float, output: float, dtype: torch.dtype
) -> None:
    with ch.capture() as recording:
        result = code(*triple(dtype=dtype))
    ((record, verification),) = zip(recording.records, recording.verify(), strict=True)
    for x, number in ((result, output), (record.context, output), (record.weights, weight)):
        expected = x.nan_to_num(9.0)
        expected[:, :, 1] = number
        torch.testing.assert_close(x, expected, rtol=0, atol=0, equal_nan=True)
    assert verification.num_nan == int(result.isnan().sum())
    assert record.part(batch=1).weights.isnan().any() == math.isnan(weight)
    planted = (
        replace(record, plain_softmax=False) if verification.num_nan else None,
        replace(record, raw_output=one_wrong(record.raw_output, math.nan)),
        replace(record, value=one_wrong(record.value, 3.0)),
    )
    for fault in filter(None, planted):
        assert_rejected(fault)


def test_nan_in_a_part_of_the_batch_goes_through_all_layers_and_is_verified() -> None:
    layer = torch.nn.MultiheadAttention(12, 3, batch_first=True).eval()
    padding = torch.tensor([[False] * 4 + [True] * 3, [True] * 7])  # the second has no tokens
    tokens = normal(2, 7, 12, dtype=torch.float32)
    with torch.no_grad(), ch.capture() as recording:
        once, _ = layer(tokens, tokens, tokens, key_padding_mask=padding)
        layer(once, once, once)
    verifications = recording.verify()
    assert [verification.num_nan for verification in verifications] == [7 * 12, 7 * 12]
    assert "84 numbers are NaN as in the model" in str(verifications[1])
    for record in recording.records:
        assert record.weights[1].isnan().all()
        assert not record.weights[0].isnan().any()
        assert_rejected(replace(record, value=record.value * (1 + 1e-3)))


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("code", [fused, steps])
def test_values_that_are_not_finite_below_a_causal_mask(code: Code, number: float) -> None:
    """Fused kernels leave out blocks of masked keys, and the product of zero and NaN with them."""
    q, k, v = (normal(1, 1, 700, 8, seed=seed, dtype=torch.float32) for seed in (1, 2, 3))
    v[:, :, 690] = number
    causal = torch.ones(700, 700, dtype=torch.bool).tril()
    with ch.capture() as recording:
        if code is fused:
            output = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            output = (q @ k.mT * SCALE).masked_fill(~causal, -math.inf).softmax(-1) @ v
    (verification,) = recording.verify()
    record = recording[0]
    assert record.context.isnan().equal(output.isnan())
    assert record.context.isinf().equal(output.isinf())
    assert verification.num_nan == int(output.isnan().sum()) > 0
    if output.isfinite().any():
        assert_rejected(replace(record, value=v * (1 + 1e-3)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_differences_of_two_heads_are_verified(dtype: torch.dtype) -> None:
    q, k, _ = triple(batch=(2, 6), dtype=dtype)
    _, _, v = triple(dtype=dtype)

    def code(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights: Tensor = (q @ k.mT * SCALE).softmax(-1).unflatten(1, (3, 2))
        return (weights[:, :, 0] - 0.5 * weights[:, :, 1]) @ v

    record, _ = record_one(code, q, k, v)
    assert_rejected(replace(record, scale=record.scale * 1.5))


AFTER_SOFTMAX: dict[str, Code] = {
    "nan_to_num": lambda q, k, v: (q @ k.mT).softmax(-1).nan_to_num(0.0) @ v,
    "a mask": lambda q, k, v: (q @ k.mT).softmax(-1) * torch.ones(5, 7).tril().to(q) @ v,
    "a sink": lambda q, k, v: torch.cat([q @ k.mT, q[..., :1]], dim=-1).softmax(-1)[..., :7] @ v,
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("code", AFTER_SOFTMAX)
def test_steps_after_the_softmax_are_accepted_in_every_type(code: str, dtype: torch.dtype) -> None:
    record, output = record_one(AFTER_SOFTMAX[code], *triple(dtype=dtype))
    assert_close(record.context_from(record.applied_weights), output, dtype)


def test_faults_under_dropout_are_rejected() -> None:
    torch.manual_seed(0)
    q, k, v = inputs()
    with ch.capture() as recording:
        F.scaled_dot_product_attention(q, k, v, dropout_p=0.3)
        F.dropout((q @ k.mT * SCALE).softmax(-1), 0.3) @ v
    recording.verify()
    for record in recording.records:
        for fault in ("a wrong scale", "heads swapped in the values", "keys permuted"):
            assert_rejected(PLANTED[fault](record))


def test_large_attention_is_verified_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (normal(5, 3, 7, 11, seed=seed) for seed in (1, 2, 3))
    each = torch.stack([MASK.roll(i, 1) for i in range(5)])[:, None]
    with ch.capture() as recording:
        F.scaled_dot_product_attention(q, k, v, attn_mask=each)
    whole = recording.verify()[0]
    monkeypatch.setattr(
        sys.modules["clearhead.recording._verification"], "MAX_ELEMENTS", 2 * 3 * 7 * 7
    )
    error = recording.verify()[0].output_error
    assert error == pytest.approx(whole.output_error, rel=0.5, abs=1e-16)
    assert_rejected(PLANTED["one number wrong"](recording[0]))


@pytest.mark.parametrize("code", [fused, steps])
def test_rows_that_sum_to_less_than_one_and_weights_on_masked_keys_are_measured(
    code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong softmax: uniform, and 0.7 in sum; the first query may attend to one of seven keys."""
    recording = record_of(code)
    monkeypatch.setattr(ch.attention, "weights", lambda masked: torch.full_like(masked, 0.1))
    (record,) = recording.records
    verification = verify_record(record)
    assert verification.row_sum_error == pytest.approx(0.3)
    assert verification.masked_mass == pytest.approx(0.6)
    assert not verification.passed
