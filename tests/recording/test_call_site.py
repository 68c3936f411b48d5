"""Attention that cannot be recorded raises an error with an alternative, and leaves no trace."""

import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.library import Library
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack

import clearhead as ch
from clearhead.errors import CaptureError, NothingCapturedError

from .reference import normal

pytestmark = [
    pytest.mark.unchecked,  # compiles
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]

Q = normal(1, 2, 8, 4, dtype=torch.float32)


class Attend(nn.Module):
    def __init__(self, fused: bool = True) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, q: Tensor) -> Tensor:
        if self.fused:
            return F.scaled_dot_product_attention(q, q, q)
        return (q @ q.transpose(-2, -1) / 2.0).softmax(-1) @ q


class Outer(nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, q: Tensor) -> Tensor:
        result: Tensor = self.inner(F.scaled_dot_product_attention(q, q, q))
        return result


def attend(q: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q * 2.0, q, q)


@pytest.fixture(autouse=True)
def works_afterwards() -> Iterator[None]:
    yield
    torch._dynamo.reset()
    assert not _get_current_function_mode_stack()
    with ch.capture() as recording:
        Attend()(Q)
        Attend(fused=False)(Q)
    assert len(recording.verify()) == 2


def assert_rejected(code: Callable[[], object], *words: str) -> None:
    """The error is one short line with these words."""
    with pytest.raises(CaptureError) as caught, ch.capture():
        code()
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert len(message) < 600
    assert "\n" not in message


@pytest.mark.parametrize(("fullgraph", "ran_before"), [(False, True), (True, False)])
def test_separate_operations_of_compiled_models_are_rejected(
    fullgraph: bool, ran_before: bool
) -> None:
    compiled = torch.compile(Attend(fused=False), backend="eager", fullgraph=fullgraph)
    expected = compiled(Q) if ran_before else Attend(fused=False)(Q)
    advice = 'torch.compiler.set_stance("force_eager")'
    assert_rejected(lambda: compiled(Q), "compile", "sdpa", advice)
    torch.testing.assert_close(compiled(Q), expected)
    # with the advice of the message, it is recorded
    with torch.compiler.set_stance("force_eager"), ch.capture() as recording:
        compiled(Q)
    assert len(recording.verify()) == 1


def test_torch_export_is_rejected() -> None:
    assert_rejected(lambda: torch.export.export(Attend(), (Q,), strict=True), "export")


@pytest.mark.parametrize(
    "script",
    [
        lambda: torch.jit.script(Attend()),
        lambda: torch.jit.trace(Attend(), Q),
        lambda: torch.jit.script(attend),
    ],
    ids=["scripted", "traced", "scripted function"],
)
def test_torchscript_is_rejected(script: Callable[[], Any]) -> None:
    model = script()
    assert_rejected(lambda: model(Q), "TorchScript")
    assert model(Q).shape == Q.shape
    if isinstance(model, nn.Module):
        assert_rejected(lambda: Outer(model)(Q), "TorchScript", "inner", "scripted from")


@pytest.mark.parametrize(
    ("namespace", "name"),
    [
        ("flash_attn", "_flash_attn_forward"),
        ("xformers", "efficient_attention_forward"),
        ("my_kernels", "fused_mha_attn"),
    ],
)
def test_kernels_of_other_libraries_are_rejected(namespace: str, name: str) -> None:
    library = Library(namespace, "DEF")
    library.define(f"{name}(Tensor q) -> Tensor")
    library.impl(name, lambda q: q.clone(), "CPU")
    packet = getattr(getattr(torch.ops, namespace), name)
    try:
        for operator in (packet, packet.default):
            assert_rejected(lambda operator=operator: operator(Q), namespace, "sdpa")  # type: ignore[misc]
            assert operator(Q).equal(Q)
    finally:
        library._destroy()


def test_kernels_of_torch_are_rejected() -> None:
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    assert_rejected(lambda: kernel(Q, Q, Q), "scaled_dot_product_attention")


def test_the_error_is_raised_at_once_and_earlier_records_are_kept() -> None:
    compiled = torch.compile(Attend(fused=False), backend="eager")
    reached = []

    def run() -> None:
        Attend()(Q)
        compiled(Q)
        reached.append(True)

    with pytest.raises(CaptureError, match="compile") as caught, ch.capture() as recording:
        run()
    assert not reached
    assert not isinstance(caught.value, NothingCapturedError)
    assert recording.names == ("Attend",)


def test_an_intervention_without_attention_is_an_error() -> None:
    with pytest.raises(NothingCapturedError, match="changed"), ch.intervene(lambda record: None):
        Q.sum()


def scripted_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.matmul(torch.softmax(torch.matmul(q, k.transpose(-2, -1)), dim=-1), v)


def scripted_gate(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TorchScript is deprecated
    ATTENTION, GATE = torch.jit.script(scripted_attention), torch.jit.script(scripted_gate)


class CallsScripted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = ATTENTION(x, x, x)
        return result


class AttendsByHelper(nn.Module):
    """A scripted function behind a helper, in a model without other attention."""

    def forward(self, x: Tensor) -> Tensor:
        return helper(x)


def helper(x: Tensor) -> Tensor:
    result: Tensor = ATTENTION(x, x, x)
    return result


class CallsGate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = F.scaled_dot_product_attention(GATE(x), x, x)
        return result


def test_scripted_functions_with_a_softmax_are_named() -> None:
    model = nn.Sequential(CallsGate(), CallsScripted())
    with pytest.warns(UserWarning, match="1: its .* scripted_attention"), ch.capture() as recording:
        model(torch.randn(2, 3, 5, 7))
    assert recording.names == ("0",)
    assert len(recording.unrecorded) == 1


def test_torchscript_is_noticed_where_no_other_attention_is_near() -> None:
    x = torch.randn(2, 3, 5, 7)

    def run(model: Callable[[Tensor], Tensor]) -> None:
        F.scaled_dot_product_attention(x, x, x)
        model(x)

    with pytest.warns(UserWarning, match="scripted_attention"), ch.capture() as recording:
        run(nn.Sequential(nn.ReLU(), AttendsByHelper()))
    assert recording.names == ("attention",)
    assert recording.unrecorded[0].startswith("1: ")
    traced = torch.jit.trace(nn.Softmax(-1), x)
    assert_rejected(lambda: run(traced), "TorchScript")
    assert_rejected(lambda: run(nn.Sequential(nn.ReLU(), traced)), "TorchScript (1)")


def soft_cap(scores: Tensor, cap: float) -> Tensor:
    return (scores / cap).tanh() * cap


def test_a_scripted_function_of_the_scores_is_followed() -> None:
    with warnings.catch_warnings(action="ignore"):
        scripted = torch.jit.script(soft_cap)
    with ch.capture() as recording, ch.capture() as inner:
        scripted(Q @ Q.mT, 2.0).softmax(-1) @ Q
    expected = (((Q @ Q.mT).double() / 2.0).tanh() * 2.0).softmax(-1)
    for record in (recording[0], inner[0]):
        torch.testing.assert_close(record.weights.double(), expected, atol=1e-6, rtol=1e-5)
    recording.verify()


def test_a_method_of_a_scripted_module_is_rejected() -> None:
    class Scripted(nn.Module):
        @torch.jit.export
        def attend(self, q: Tensor) -> Tensor:
            return torch.matmul(torch.softmax(torch.matmul(q, q.transpose(-2, -1)), -1), q)

        def forward(self, q: Tensor) -> Tensor:
            return q

    with warnings.catch_warnings(action="ignore"):
        scripted = torch.jit.script(Scripted())
    assert_rejected(lambda: scripted.attend(Q), "TorchScript")


def test_wrapped_functions_are_as_before_after_a_capture() -> None:
    def wrapped() -> tuple[Any, ...]:
        scripted = (torch.jit.ScriptFunction.__call__, torch._C.ScriptMethod.__call__)
        return (*scripted, threading.Thread.start, ThreadPoolExecutor.submit)

    before = wrapped()
    with ch.capture(), ch.capture():
        assert all(x is not y for x, y in zip(before, wrapped(), strict=True))
        F.scaled_dot_product_attention(Q, Q, Q)
    assert all(x is y for x, y in zip(before, wrapped(), strict=True))
