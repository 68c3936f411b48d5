"""Gradients through records, and no graph kept alive without `gradients=True`."""

import gc
import weakref
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

import clearhead as ch
from tests.marks import slow_after

from .reference import assert_close, normal

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
    """With tokens before heads in the output."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * 11**-0.5
    weights = scores.masked_fill(~MASK, -torch.inf).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", weights, v).transpose(1, 2)


CODES = (fused, explicit, transposed)


def logit(output: Tensor) -> Tensor:
    return (output.sin() * WHERE).sum()


def by_autograd() -> tuple[Tensor, Tensor]:
    """∂logit/∂weights and ∂logit/∂output, with the weights as a leaf."""
    q, k, v = inputs(grad=False)
    weights = (q @ k.mT * 11**-0.5).masked_fill(~MASK, -torch.inf).softmax(-1).requires_grad_()
    output = weights @ v
    for_weights, for_output = torch.autograd.grad(logit(output), (weights, output))
    return for_weights, for_output


@pytest.mark.parametrize("code", CODES)
def test_the_gradient_of_the_weights(code: Callable[..., Tensor]) -> None:
    with ch.capture(gradients=True) as recording:
        output = code(*inputs())
    record = recording[0]
    (gradient,) = torch.autograd.grad(logit(output), record.raw_output)
    gradient = record.layout.canonical(gradient)
    for_weights, for_output = by_autograd()
    assert_close(gradient, for_output)
    assert_close(gradient @ record.value.mT, for_weights)


def test_the_gradient_of_grouped_weights() -> None:
    q, k, v = normal(2, 6, 5, 11), normal(2, 3, 7, 11, seed=1), normal(2, 3, 7, 13, seed=2)
    q.requires_grad_()
    with ch.capture(gradients=True) as recording:
        output = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    (gradient,) = torch.autograd.grad(output.square().sum(), recording[0].raw_output)
    k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    weights = (q @ k.mT * 11**-0.5).softmax(-1).detach().requires_grad_()
    (expected,) = torch.autograd.grad((weights @ v).square().sum(), weights)
    assert_close(gradient @ v.mT, expected)


@pytest.mark.parametrize("need_weights", [False, True])
def test_the_gradient_in_a_layer_of_torch(need_weights: bool) -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(12, 3, batch_first=True).double()
    x = normal(2, 5, 12)
    with ch.capture(gradients=True) as recording:
        output, _ = layer(x, x, x, need_weights=need_weights)
    record = recording[0]
    (gradient,) = torch.autograd.grad(output.square().sum(), record.raw_output, retain_graph=True)
    gradient = record.layout.canonical(gradient)
    assert gradient.shape == record.output.shape == (2, 3, 5, 4)

    weights = record.weights.detach().requires_grad_()
    context = (weights @ record.value.detach()).transpose(1, 2).flatten(2)
    (expected,) = torch.autograd.grad(layer.out_proj(context).square().sum(), weights)
    assert_close(gradient @ record.value.mT, expected)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_training_is_unchanged(code: Callable[..., Tensor], gradients: bool) -> None:
    plain, recorded = inputs(), inputs()
    logit(code(*plain)).backward()
    with ch.capture(gradients=gradients) as recording:
        logit(code(*recorded)).backward()
    assert len(recording.verify()) == 1
    for x, y in zip(plain, recorded, strict=True):
        assert x.grad is not None
        assert y.grad is not None
        assert x.grad.equal(y.grad)


@pytest.mark.parametrize("code", CODES)
def test_records_are_on_the_graph_only_with_gradients(code: Callable[..., Tensor]) -> None:
    for gradients in (False, True):
        with ch.capture(gradients=gradients) as recording:
            code(*inputs())
        record = recording[0]
        for x in (record.query, record.key, record.value, record.output, record.weights):
            assert x.requires_grad == gradients


def test_gradients_of_stages() -> None:
    q, k, v = inputs()
    with ch.capture(gradients=True) as recording:
        explicit(q, k, v)
    (gradient,) = torch.autograd.grad(recording[0].weights.square().sum(), q)
    expected_weights = (q @ k.mT * 11**-0.5).masked_fill(~MASK, -torch.inf).softmax(-1)
    (expected,) = torch.autograd.grad(expected_weights.square().sum(), q)
    assert_close(gradient, expected)


class Witness(torch.autograd.Function):
    """The identity; its graph holds an object to which there is a weak reference."""

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
    """Whether any object is alive after a garbage collection, which runs only if needed."""
    if any(reference() is not None for reference in references):
        gc.collect()
    return any(reference() is not None for reference in references)


TOKENS: list[weakref.ref[Token]] = []
BIAS = nn.Parameter(normal(3, 5, 7, seed=4))

HELD: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "fused": fused,
    "explicit": explicit,
    "transposed": transposed,
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
    "maximum subtracted": lambda q, k, v: (
        (lambda s: (s - s.amax(-1, keepdim=True)).softmax(-1))(q @ k.mT) @ v
    ),
    "mixed heads": lambda q, k, v: (
        torch.einsum("bhqk,hg->bgqk", (q @ k.mT).softmax(-1), witnessed(BIAS[:, :3, 0])) @ v
    ),
}


@pytest.mark.parametrize("code", HELD)
@pytest.mark.parametrize("copies", [False, True])
def test_without_gradients_no_graph_is_kept(code: str, copies: bool) -> None:
    TOKENS.clear()
    with ch.capture(copies=copies) as recording:
        output = HELD[code](*(witnessed(x) for x in inputs()))
        assert all(token() is not None for token in TOKENS)
        del output
    assert len(TOKENS) >= 3
    assert not alive(TOKENS)
    assert len(recording.verify()) == 1


def test_neither_the_model_nor_its_output_is_kept() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(12, 2, 5, batch_first=True).double()
    references: list[Any] = [weakref.ref(model)]
    with ch.capture() as recording:
        output = model(normal(2, 5, 12))
    references.append(weakref.ref(output))
    del model, output
    assert not alive(references)
    recording.verify()


def test_weights_are_freed_inside_the_block() -> None:
    references: list[weakref.ref[Tensor]] = []
    with torch.no_grad(), ch.capture() as recording:
        for step in range(3):
            q = normal(2, 3, 5, 11, seed=step)
            weights = (q @ q.mT).softmax(-1)
            references.append(weakref.ref(weights))
            weights @ q
            (q @ q.mT).sum()  # a product that never becomes attention
            del weights
        assert not alive(references)
    assert len(recording) == 3


def test_with_gradients_the_graph_lives_as_long_as_the_records() -> None:
    TOKENS.clear()
    with ch.capture(gradients=True) as recording:
        fused(*(witnessed(x) for x in inputs()))
    assert all(token() is not None for token in TOKENS)
    del recording
    assert not alive(TOKENS)


@pytest.mark.parametrize("gradients", [False, True])
def test_records_are_freed_without_garbage_collection(gradients: bool) -> None:
    gc.disable()
    try:
        for code in CODES:
            with ch.capture(gradients=gradients) as recording:
                code(*inputs())
            record = weakref.ref(recording[0])
            del recording
            assert record() is None
    finally:
        gc.enable()


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = ch.attention.MultiHeadAttention(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.attn(x)
        return result


class Checkpointed(nn.Module):
    """Three layers, each computed again in the backward pass."""

    def __init__(self, reentrant: bool | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(3))
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if self.reentrant is None:
                x = layer(x)
            else:
                x = checkpoint(layer, x, use_reentrant=self.reentrant)
        return x


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_layers_that_are_computed_again_are_recorded_once(reentrant: bool, gradients: bool) -> None:
    torch.manual_seed(0)
    model = Checkpointed(reentrant)
    x = torch.randn(2, 5, 12, requires_grad=True)
    with ch.capture(gradients=gradients) as recording:
        loss = model(x).square().sum()
        loss.backward(retain_graph=True)
    assert recording.names == tuple(f"layers.{number}.attn" for number in range(3))
    recording.verify()
    if gradients and not reentrant:  # the records are those of the forward pass
        outputs = [record.raw_output for record in recording.records]
        gradient = torch.autograd.grad(loss, outputs, allow_unused=True)
        assert all(x is not None for x in gradient)
    model.reentrant = None
    with ch.capture() as plain:
        model(x)
    torch.testing.assert_close(ch.insight.rollout(recording), ch.insight.rollout(plain))


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_backward_pass_in_another_thread_keeps_the_names(reentrant: bool) -> None:
    model = Checkpointed(reentrant)
    with ch.capture() as recording:
        loss = model(torch.randn(2, 5, 12, requires_grad=True)).sum()
        thread = Thread(target=loss.backward)
        thread.start()
        thread.join()
    assert recording.names == tuple(f"layers.{number}.attn" for number in range(3))


@pytest.mark.parametrize("reentrant", [False, True])
def test_an_intervention_also_changes_layers_that_are_computed_again(reentrant: bool) -> None:
    torch.manual_seed(0)
    model = Checkpointed(reentrant)
    x = torch.randn(2, 5, 12, requires_grad=True)

    def gradient() -> Tensor:
        with ch.intervene(lambda record: record.output.sin(), layers="layers.1.attn"):
            (result,) = (
                torch.autograd.grad(model(x).square().sum(), x)
                if not reentrant
                else (backward(model(x).square().sum()))
            )
        return result

    def backward(loss: Tensor) -> tuple[Tensor]:
        x.grad = None
        loss.backward()
        assert x.grad is not None
        return (x.grad.clone(),)

    found = gradient()
    model.reentrant = None
    torch.testing.assert_close(found, gradient())


class Pipeline(nn.Module):
    """Layers that `checkpoint_sequential` runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Layer() for _ in range(5)))

    def forward(self, x: Tensor, reentrant: bool | None = None) -> Tensor:
        return run_in_segments(self.layers, x, reentrant)


def run_in_segments(layers: Any, x: Tensor, reentrant: bool | None) -> Tensor:
    if reentrant is None:
        for layer in layers:
            x = layer(x)
        return x
    result: Tensor = checkpoint_sequential(layers, 2, x, use_reentrant=reentrant)
    return result


@pytest.mark.parametrize("reentrant", [False, True])
def test_layers_that_checkpoint_sequential_runs_have_their_paths(reentrant: bool) -> None:
    model, x = Pipeline(), torch.randn(2, 5, 12, requires_grad=True)
    layers = model.layers
    runs: dict[str, Callable[[], Tensor]] = {
        "layers.": lambda: model(x, reentrant),
        "": lambda: run_in_segments(layers, x, reentrant),
    }
    for prefix, run in runs.items():
        with ch.capture() as recording:
            run().sum().backward()
        assert recording.names == tuple(f"{prefix}{i}.attn" for i in range(5))
        loss = run().sum()
        with ch.capture() as recording:
            loss.backward()
        assert set(recording.names) == {"0.attn", "1.attn"}
    with ch.capture() as recording:  # a list, with functions
        run_in_segments([layers[0], torch.cos, layers[1]], x, reentrant)
    assert recording.names == ("0.attn", "2.attn")


class Shared(nn.Module):
    """One layer that is called several times, in segments that may be computed again."""

    def __init__(self, forward: Callable[["Shared", Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = Layer()
        self.reentrant: bool | None = None
        self._forward = forward

    def segment(self, function: Callable[..., Tensor], *args: Tensor) -> Tensor:
        if self.reentrant is None:
            return function(*args)
        result: Tensor = checkpoint(function, *args, use_reentrant=self.reentrant)
        return result

    def twice(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(self.layer(x).cos())
        return result

    def nested(self, x: Tensor) -> Tensor:
        return self.segment(self.layer, self.segment(self.layer, x).cos())

    def weighted(self, x: Tensor) -> Tensor:
        """Both calls have the same input."""
        result: Tensor = self.layer(x) + 2.0 * self.layer(x).sin()
        return result

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


SEGMENTS: dict[str, Callable[[Shared, Tensor], Tensor]] = {
    "one": lambda m, x: m.segment(m.twice, x),
    "one for each call": lambda m, x: m.segment(m.layer, m.segment(m.layer, x).cos()),
    "two": lambda m, x: m.segment(m.twice, m.segment(m.twice, x)),
    "nested": lambda m, x: m.segment(m.nested, m.segment(m.nested, x)),
    "one with equal inputs": lambda m, x: m.segment(m.weighted, x),
    "two with equal inputs": lambda m, x: m.segment(m.layer, x) + 2.0 * m.segment(m.layer, x).sin(),
    "one between other calls": lambda m, x: m.layer(m.segment(m.twice, m.layer(x).cos())),
    "one that ends early": lambda m, x: m.segment(lambda y: m.twice(y) + m.layer(y), x).sin(),
}


@pytest.mark.filterwarnings("ignore:None of the inputs")  # of a segment within another
@pytest.mark.parametrize("reentrant", slow_after(1, [False, True]))
@pytest.mark.parametrize("segments", slow_after(4, SEGMENTS))
def test_an_intervention_on_one_call_has_its_gradient_in_segments_that_are_computed_again(
    segments: str, reentrant: bool
) -> None:
    model = Shared(SEGMENTS[segments])
    x = torch.randn(2, 5, 12, requires_grad=True)
    with ch.capture() as recording:
        model(x)

    def gradients(call: int, reentrant: bool | None, times: int) -> list[Tensor]:
        model.reentrant = reentrant
        with ch.intervene(lambda record: record.output.sin() * 3.0, layers=call):
            loss = model(x).square().sum()
            found: list[Tensor] = []
            for _ in range(times):
                x.grad = None
                loss.backward(retain_graph=True)
                assert x.grad is not None
                found.append(x.grad.clone())
        return found

    assert len(recording) > 1
    for call in range(len(recording)):
        (expected,), found = gradients(call, None, 1), gradients(call, reentrant, 2)
        for gradient in found:
            torch.testing.assert_close(gradient, expected)


@pytest.mark.filterwarnings("ignore:None of the inputs")  # of a segment within another
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("segments", SEGMENTS)
def test_calls_are_recorded_once_however_often_they_are_computed_again(
    segments: str, reentrant: bool
) -> None:
    model = Shared(SEGMENTS[segments])
    x = torch.randn(2, 5, 12, requires_grad=True)
    with ch.capture() as plain:
        model(x)
    model.reentrant = reentrant
    with ch.capture() as recording:
        loss = model(x).square().sum()
        loss.backward(retain_graph=True)
        loss.backward()
    assert recording.names == plain.names
    for record, expected in zip(recording.records, plain.records, strict=True):
        assert record.query.equal(expected.query)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_forward_pass_before_the_block_is_recorded_once_where_it_is_computed_again(
    reentrant: bool,
) -> None:
    torch.manual_seed(0)
    model = Checkpointed(reentrant)
    loss = model(torch.randn(2, 5, 12, requires_grad=True)).square().sum()
    with ch.capture() as recording:
        for _ in range(2):
            loss.backward(retain_graph=True)
    assert len(recording) == 3
    recording.verify()
    with (
        pytest.raises(ch.errors.CaptureError, match="not known"),
        ch.intervene(lambda record: record.output * 3.0, layers=0),
    ):
        loss.backward()


class Recomputed(torch.autograd.Function):
    """A checkpoint that is not that of torch."""

    @staticmethod
    def forward(ctx: Any, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(x)
        return function(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            ctx.function(x).backward(*gradients)
        assert x.grad is not None
        return None, x.grad


def test_calls_that_a_checkpoint_of_another_kind_computes_again_are_changed_or_refused() -> None:
    model = Shared(Shared.twice)
    x = torch.randn(2, 5, 12, requires_grad=True)

    def gradient(layers: int | None, again: bool) -> Tensor:
        with ch.intervene(lambda record: record.output.sin(), layers=layers):
            y: Any = Recomputed.apply(model, x) if again else model(x)  # type: ignore[no-untyped-call]
            x.grad = None
            y.square().sum().backward()
        assert x.grad is not None
        return x.grad.clone()

    torch.testing.assert_close(gradient(None, True), gradient(None, False))
    with pytest.raises(ch.errors.CaptureError, match=r"layer\.attn.*torch\.utils\.checkpoint"):
        gradient(0, True)
    with ch.capture() as recording:
        Recomputed.apply(model, x).square().sum().backward()  # type: ignore[no-untyped-call]
    assert recording.names == ("layer.attn", "layer.attn#2")


def test_vmap_is_refused_at_once() -> None:
    model = Checkpointed(None)

    def one(x: Tensor) -> Tensor:
        result: Tensor = model(x[None])[0]
        return result

    def explicit_one(x: Tensor) -> Tensor:
        return (x @ x.mT).softmax(-1) @ x

    x = torch.randn(2, 5, 12)
    for code in (one, explicit_one, lambda x: torch.func.grad(lambda y: one(y).sum())(x)):
        with pytest.raises(ch.errors.CaptureError, match="vmap"), ch.capture():
            torch.vmap(code)(x)
