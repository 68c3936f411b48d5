"""Gradients flow where they are wanted, and keep nothing alive where they are not."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import clearhead as ch

from .independent import array, close, normal

MASK = torch.ones(5, 7, dtype=torch.bool).tril(1)
WHERE = normal(2, 3, 5, 13, seed=8)


def inputs(*, grad: bool = True) -> list[Tensor]:
    shapes = ((2, 3, 5, 11), (2, 3, 7, 11), (2, 3, 7, 13))
    return [normal(*shape, seed=i).requires_grad_(grad) for i, shape in enumerate(shapes)]


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=MASK)


def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT * 11**-0.5).masked_fill(~MASK, -torch.inf).softmax(-1) @ v


def transposed(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Tokens before heads in what comes out."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * 11**-0.5
    weights = scores.masked_fill(~MASK, -torch.inf).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", weights, v).transpose(1, 2)


WAYS = (fused, explicit, transposed)


def logit(output: Tensor) -> Tensor:
    return (output.sin() * WHERE).sum()


def by_autograd() -> tuple[Tensor, Tensor]:
    """∂logit/∂weights and ∂logit/∂output, with the weights as a tensor of their own."""
    q, k, v = inputs(grad=False)
    weights = (q @ k.mT * 11**-0.5).masked_fill(~MASK, -torch.inf).softmax(-1).requires_grad_()
    output = weights @ v
    by_weights, by_output = torch.autograd.grad(logit(output), (weights, output))
    return by_weights, by_output


@pytest.mark.parametrize("way", WAYS)
def test_the_gradient_with_respect_to_the_weights(way: Callable[..., Tensor]) -> None:
    with ch.capture(gradients=True) as seen:
        output = way(*inputs())
    record = seen[0]
    (gradient,) = torch.autograd.grad(logit(output), record.raw_output)
    gradient = record.layout.canonical(gradient)
    with_respect_to_weights, with_respect_to_output = by_autograd()
    close(gradient, array(with_respect_to_output))
    close(gradient @ record.value.mT, array(with_respect_to_weights))


def test_the_gradient_with_respect_to_grouped_weights() -> None:
    q, k, v = normal(2, 6, 5, 11), normal(2, 3, 7, 11, seed=1), normal(2, 3, 7, 13, seed=2)
    q.requires_grad_()
    with ch.capture(gradients=True) as seen:
        output = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    (gradient,) = torch.autograd.grad(output.square().sum(), seen[0].raw_output)
    k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    weights = (q @ k.mT * 11**-0.5).softmax(-1).detach().requires_grad_()
    (expected,) = torch.autograd.grad((weights @ v).square().sum(), weights)
    close(gradient @ v.mT, array(expected))


@pytest.mark.parametrize("needed", [False, True])
def test_the_gradient_in_a_layer_of_torch(needed: bool) -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(12, 3, batch_first=True).double()
    x = normal(2, 5, 12)
    with ch.capture(gradients=True) as seen:
        output, _ = layer(x, x, x, need_weights=needed)
    record = seen[0]
    (gradient,) = torch.autograd.grad(output.square().sum(), record.raw_output, retain_graph=True)
    gradient = record.layout.canonical(gradient)
    assert gradient.shape == record.output.shape == (2, 3, 5, 4)

    weights = record.weights.detach().requires_grad_()
    context = (weights @ record.value.detach()).transpose(1, 2).flatten(2)
    (expected,) = torch.autograd.grad(layer.out_proj(context).square().sum(), weights)
    close(gradient @ record.value.mT, array(expected))


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_training_goes_on_as_if_nobody_looked(way: Callable[..., Tensor], gradients: bool) -> None:
    plain, watched = inputs(), inputs()
    logit(way(*plain)).backward()
    with ch.capture(gradients=gradients) as seen:
        logit(way(*watched)).backward()
    assert len(seen.verify()) == 1
    for one, other in zip(plain, watched, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert one.grad.equal(other.grad)


@pytest.mark.parametrize("way", WAYS)
def test_records_hang_on_the_graph_only_when_asked(way: Callable[..., Tensor]) -> None:
    for gradients in (False, True):
        with ch.capture(gradients=gradients) as seen:
            way(*inputs())
        record = seen[0]
        for x in (record.query, record.key, record.value, record.output, record.weights):
            assert x.requires_grad == gradients


def test_gradients_flow_through_the_stages_too() -> None:
    q, k, v = inputs()
    with ch.capture(gradients=True) as seen:
        explicit(q, k, v)
    (found,) = torch.autograd.grad(seen[0].weights.square().sum(), q)
    expected_weights = (q @ k.mT * 11**-0.5).masked_fill(~MASK, -torch.inf).softmax(-1)
    (expected,) = torch.autograd.grad(expected_weights.square().sum(), q)
    close(found, array(expected))


class Witness(torch.autograd.Function):
    """Passes numbers on; its graph holds an object whose life can be watched."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.token = Token()
        TOKENS.append(weakref.ref(ctx.token))
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def witnessed(x: Tensor) -> Tensor:
    result: Tensor = Witness.apply(x)  # type: ignore[no-untyped-call]
    return result


class Token:
    pass


def alive(references: list[Any]) -> bool:
    """Whether any of them is, also after a search for cycles (which is slow: only if it must)."""
    if any(reference() is not None for reference in references):
        gc.collect()
    return any(reference() is not None for reference in references)


TOKENS: list[weakref.ref[Token]] = []
BIAS = nn.Parameter(normal(3, 5, 7, seed=4))

HELD: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "fused": fused,
    "explicit": explicit,
    "turned": transposed,
    "fused dropout": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=0.2),
    "explicit dropout": lambda q, k, v: F.dropout((q @ k.mT).softmax(-1), 0.2) @ v,
    "fused bias": lambda q, k, v: F.scaled_dot_product_attention(
        q, k, v, attn_mask=witnessed(BIAS)
    ),
    "a bias in steps": lambda q, k, v: ((q @ k.mT).tanh() + witnessed(BIAS)).softmax(-1) @ v,
    "a learned scale": lambda q, k, v: (q @ k.mT * witnessed(BIAS[:, :1, :1])).softmax(-1) @ v,
    "a learned scale on queries": lambda q, k, v: F.scaled_dot_product_attention(
        q * witnessed(BIAS[:, :1, :1]), k, v, scale=1.0
    ),
    "the largest taken away": lambda q, k, v: (
        (lambda s: (s - s.amax(-1, keepdim=True)).softmax(-1))(q @ k.mT) @ v
    ),
    "heads mixed": lambda q, k, v: (
        torch.einsum("bhqk,hg->bgqk", (q @ k.mT).softmax(-1), witnessed(BIAS[:, :3, 0])) @ v
    ),
}


@pytest.mark.parametrize("way", HELD)
@pytest.mark.parametrize("copies", [False, True])
def test_without_gradients_no_graph_stays_alive(way: str, copies: bool) -> None:
    TOKENS.clear()
    with ch.capture(copies=copies) as seen:
        output = HELD[way](*(witnessed(x) for x in inputs()))
        assert all(token() is not None for token in TOKENS)
        del output
    assert len(TOKENS) >= 3
    assert not alive(TOKENS)
    assert len(seen.verify()) == 1


def test_neither_the_model_nor_its_output_is_kept_alive() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(12, 2, 5, batch_first=True).double()
    watched = weakref.ref(model)
    with ch.capture() as seen:
        output = model(normal(2, 5, 12))
    result = weakref.ref(output)
    del model, output
    assert not alive([watched, result])
    seen.verify()


def test_what_passes_through_the_block_is_freed_while_the_block_is_open() -> None:
    passed: list[weakref.ref[Tensor]] = []
    with torch.no_grad(), ch.capture() as seen:
        for step in range(3):
            q = normal(2, 3, 5, 11, seed=step)
            weights = (q @ q.mT).softmax(-1)
            passed.append(weakref.ref(weights))
            weights @ q
            (q @ q.mT).sum()  # a product that never becomes attention
            del weights
        assert not alive(passed)
    assert len(seen) == 3


def test_a_graph_that_is_wanted_lives_as_long_as_the_records() -> None:
    TOKENS.clear()
    with ch.capture(gradients=True) as seen:
        fused(*(witnessed(x) for x in inputs()))
    assert all(token() is not None for token in TOKENS)
    del seen
    assert not alive(TOKENS)


@pytest.mark.parametrize("gradients", [False, True])
def test_records_are_freed_as_soon_as_nobody_holds_them(gradients: bool) -> None:
    gc.disable()  # without waiting for the search for cycles
    try:
        for way in WAYS:
            with ch.capture(gradients=gradients) as seen:
                way(*inputs())
            record = weakref.ref(seen[0])
            del seen
            assert record() is None
    finally:
        gc.enable()


def test_layers_that_are_computed_again_for_their_gradients() -> None:
    q, k, v = inputs()
    with ch.capture() as seen:
        # the sine comes last: computing again stops where the last value needed has been found
        output: Any = checkpoint(lambda *x: fused(*x).sin(), q, k, v, use_reentrant=False)
        output.sum().backward()
    assert all(proof.holds for proof in seen.verify())
    assert seen.names[0] == "attention"
    assert q.grad is not None
