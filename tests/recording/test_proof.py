"""True records are proved with small figures; planted faults are caught, in every precision."""

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
from clearhead.recording import AttentionRecord, Proof, Recording

from .independent import normal

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MASK = torch.ones(7, 7, dtype=torch.bool).tril()
SCALE = 11**-0.5


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=MASK)


def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (torch.einsum("bhqd,bhkd->bhqk", q, k) * SCALE).masked_fill(~MASK, -math.inf)
    return torch.matmul(F.softmax(scores, dim=-1), v)


def steps(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What no mask and scale can say: a cap, then a mask that is not quite infinite."""
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * SCALE
    scores = ((scores / 5).tanh() * 5).masked_fill(~MASK, -1e4)
    return torch.matmul(F.softmax(scores, dim=-1), v)


ATTENTIONS = (fused, explicit, steps)


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (normal(2, 3, 7, 11, seed=seed, dtype=dtype) for seed in (1, 2, 3))
    return q, k, v


def see(code: Callable[..., Tensor], dtype: torch.dtype = torch.float64) -> Recording:
    with ch.capture() as seen:
        code(*inputs(dtype))
    return seen


@pytest.mark.parametrize("code", ATTENTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_figures_of_true_records_are_small(code: Callable[..., Tensor], dtype: torch.dtype) -> None:
    (proof,) = see(code, dtype).verify()
    eps = torch.finfo(dtype).eps
    assert isinstance(proof, Proof)
    assert proof.name == "attention"
    assert 0.0 <= proof.row_sum_error < 10 * torch.finfo(torch.float32).eps
    assert proof.masked_mass < 1e-30
    assert proof.output_error <= proof.tolerance < 100 * eps
    assert proof.holds
    assert f"{proof.output_error:.1e}" in str(proof)


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


@pytest.mark.parametrize("fault", PLANTED)
@pytest.mark.parametrize("code", ATTENTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_faults_in_a_record_are_caught(
    fault: str, code: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    seen = see(code, dtype)
    wrong = Recording({"attention": PLANTED[fault](seen[0])})
    with pytest.raises(UnfaithfulCaptureError, match=r"attention: .*differs .*(\de-?|nan)"):
        wrong.verify()
    seen.verify()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mask_that_was_dropped_or_turned_round_is_caught(dtype: torch.dtype) -> None:
    for code in (fused, explicit):
        record = see(code, dtype)[0]
        for mask in (None, ~MASK, MASK.mT, MASK.roll(1, 1)):
            wrong = Recording({"attention": replace(record, attn_mask=mask)})
            with pytest.raises(UnfaithfulCaptureError):
                wrong.verify()
    record = see(steps, dtype)[0]
    with pytest.raises(UnfaithfulCaptureError):
        Recording({"attention": replace(record, pre_softmax=())}).verify()


@pytest.mark.parametrize("code", ATTENTIONS)
@pytest.mark.parametrize("factor", [1.001, 0.999])
def test_a_scale_off_by_a_thousandth_is_caught_in_single_precision(
    code: Callable[..., Tensor], factor: float
) -> None:
    for dtype in (torch.float32, torch.float64):
        record = see(code, dtype)[0]
        with pytest.raises(UnfaithfulCaptureError):
            Recording({"attention": replace(record, scale=record.scale * factor)}).verify()


class Kernel(TorchFunctionMode):
    """A model whose kernels give something else: entered outside the capture, it answers last."""

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
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_kernel_that_computes_something_else_is_caught(kernel: str, dtype: torch.dtype) -> None:
    with Kernel("scaled_dot_product_attention", KERNELS[kernel]):
        seen = see(fused, dtype)
    with pytest.raises(UnfaithfulCaptureError):
        seen.verify()


WRITTEN: dict[str, tuple[str, Callable[..., Tensor]]] = {
    "a softmax of another temperature": ("softmax", lambda f, x, **options: f(x * 1.5, dim=-1)),
    "a softmax over the queries": ("softmax", lambda f, x, **options: f(x, dim=-2)),
    "weights times other values": ("matmul", lambda f, w, v: f(w, v.roll(1, 2))),
    "values added to the context": ("matmul", lambda f, w, v: f(w, v) + 0.1 * v),
    "queries times other keys": ("einsum", lambda f, e, q, k: f(e, q, k[:, [1, 0, 2]])),
}


@pytest.mark.parametrize("kernel", WRITTEN)
@pytest.mark.parametrize("code", [explicit, steps])
@pytest.mark.parametrize("dtype", DTYPES)
def test_written_out_code_whose_parts_compute_something_else_is_caught(
    kernel: str, code: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    with Kernel(*WRITTEN[kernel]):
        seen = see(code, dtype)
    with pytest.raises(UnfaithfulCaptureError):
        seen.verify()


def test_weights_that_change_out_of_sight_of_torch_are_caught() -> None:
    def behind_the_back(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = F.softmax(q @ k.mT * SCALE, dim=-1)
        weights.numpy()[:, 1] = 1 / 7
        return weights @ v

    with pytest.raises(UnfaithfulCaptureError):
        see(behind_the_back).verify()


def test_values_that_change_out_of_sight_of_torch_are_caught() -> None:
    q, k, v = inputs()
    with ch.capture() as seen:
        fused(q, k, v)
    seen.verify()
    v.numpy()[0, 0, 0, 0] += 1.0
    with pytest.raises(UnfaithfulCaptureError):
        seen.verify()


def test_the_message_names_each_record_that_failed_and_only_those() -> None:
    q, k, v = inputs()
    with ch.capture() as seen:
        for _ in range(3):
            fused(q, k, v)
    faulty = dict(seen)
    faulty["attention#2"] = replace(seen[1], scale=1.0)
    with pytest.raises(UnfaithfulCaptureError, match=r"^1 of 3 .*attention#2: rows") as caught:
        Recording(faulty).verify()
    assert "attention#3" not in str(caught.value)


def test_a_mask_that_lets_weight_through_shows_in_the_masked_mass() -> None:
    def lenient(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=torch.where(MASK, 0.0, -1e4))

    q, k, v = (x.float() for x in inputs())
    with ch.capture() as seen:
        lenient(q, k, v)
    assert seen.verify()[0].masked_mass == 0.0
    with ch.capture() as seen:
        lenient(3e2 * q, 3e2 * k, v)  # scores so large that they climb over the mask
    assert seen[0].weights[:, :, ~MASK].max() > 0.9
    with pytest.raises(UnfaithfulCaptureError, match=r"9\.\d+e-01 on masked keys|1\.0e\+00 on"):
        seen.verify()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [0.0, 1e-3, 30.0])
def test_no_false_alarm_for_small_and_large_numbers(size: float, dtype: torch.dtype) -> None:
    q, k, v = inputs(dtype)
    for code in ATTENTIONS:
        with ch.capture() as seen:
            code(size * q, k, v)
            code(size**0.5 * q, size**0.5 * k, v)
            code(q, k, size * v)
            code(q, k, torch.zeros_like(v))
            code(q, k, v + 10.0)
        assert len(seen.verify()) == 5


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_false_alarm_for_long_sequences(dtype: torch.dtype) -> None:
    q, k, v = (normal(1, 2, 601, 64, seed=seed, dtype=dtype) for seed in (1, 2, 3))
    with ch.capture() as seen:
        F.scaled_dot_product_attention(q, k, v)
        F.scaled_dot_product_attention(q, k, v, is_causal=True)
        (q * 0.125 @ k.mT).softmax(-1) @ v
    assert len(seen.verify()) == 3


def test_dropout_in_training_is_proved_and_its_faults_are_caught() -> None:
    torch.manual_seed(0)
    q, k, v = inputs()
    with ch.capture() as seen:
        F.scaled_dot_product_attention(q, k, v, dropout_p=0.3)
        F.dropout((q @ k.mT * SCALE).softmax(-1), 0.3) @ v
    seen.verify()
    for record in seen.records:
        for fault in ("a wrong scale", "heads swapped in the values", "keys permuted"):
            with pytest.raises(UnfaithfulCaptureError):
                Recording({"attention": PLANTED[fault](record)}).verify()


def test_an_attention_too_large_for_one_piece_is_proved_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    q, k, v = (normal(5, 3, 7, 11, seed=seed) for seed in (1, 2, 3))
    each = torch.stack([MASK.roll(i, 1) for i in range(5)])[:, None]
    with ch.capture() as seen:
        F.scaled_dot_product_attention(q, k, v, attn_mask=each)
    whole = seen.verify()[0]
    monkeypatch.setattr(sys.modules["clearhead.recording._proof"], "MAX_ELEMENTS", 2 * 3 * 7 * 7)
    assert seen.verify()[0].output_error == pytest.approx(whole.output_error, rel=0.5, abs=1e-16)
    wrong = replace(seen[0], raw_output=one_wrong(seen[0].raw_output))
    with pytest.raises(UnfaithfulCaptureError, match="differs"):
        Recording({"attention": wrong}).verify()
