"""What cannot be seen is refused with a way out, and afterwards all works as before."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.library import Library
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention
from torch.overrides import _get_current_function_mode_stack

import clearhead as ch
from clearhead.errors import CaptureError, NothingCapturedError

from .independent import normal

pytestmark = pytest.mark.unchecked  # compiles

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
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, q: Tensor) -> Tensor:
        result: Tensor = self.inner(F.scaled_dot_product_attention(q, q, q))
        return result


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    torch._dynamo.reset()
    assert not _get_current_function_mode_stack()
    with ch.capture() as seen:  # whatever was refused, this works
        Attend()(Q)
        Attend(fused=False)(Q)
    assert len(seen.verify()) == 2


def refused(code: Callable[[], object], *words: str) -> str:
    """The message; it is short, and it has these words."""
    with pytest.raises(CaptureError) as caught, ch.capture():
        code()
    message = str(caught.value)
    for word in words:
        assert word in message
    assert len(message) < 600
    assert "\n" not in message
    return message


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize("ran_before", [False, True])
def test_a_compiled_model(fused: bool, fullgraph: bool, ran_before: bool) -> None:
    compiled = torch.compile(Attend(fused), backend="eager", fullgraph=fullgraph)
    expected = compiled(Q) if ran_before else Attend(fused)(Q)
    refused(lambda: compiled(Q), "compile", "set_stance")
    torch.testing.assert_close(compiled(Q), expected)


def test_a_model_that_is_compiled_inside_the_block() -> None:
    refused(lambda: torch.compile(Attend(), backend="eager")(Q), "compile")


def test_a_model_compiled_in_place_and_one_with_a_compiled_part() -> None:
    in_place = Attend()
    in_place.compile(backend="eager")
    refused(lambda: in_place(Q), "compile")
    part = Outer(torch.compile(Attend(), backend="eager"))  # type: ignore[arg-type]
    part(Q)
    refused(lambda: part(Q), "compile")


def test_a_compiled_function() -> None:
    @torch.compile(backend="eager")
    def attend(q: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q * 2.0, q, q)

    attend(Q)
    refused(lambda: attend(Q), "compile")


def test_the_way_out_of_a_compiled_model_that_the_message_names() -> None:
    compiled = torch.compile(Attend(), backend="eager")
    compiled(Q)
    refused(lambda: compiled(Q), 'torch.compiler.set_stance("force_eager")')
    with torch.compiler.set_stance("force_eager"), ch.capture() as seen:
        compiled(Q)
    assert len(seen.verify()) == 1


def test_compiled_code_elsewhere_still_runs_while_nothing_looks() -> None:
    compiled = torch.compile(Attend(), backend="eager")
    expected = compiled(Q)
    with ch.capture() as seen:
        Attend()(Q)
    torch.testing.assert_close(compiled(Q), expected)
    assert len(seen) == 1


def test_an_export() -> None:
    refused(lambda: torch.export.export(Attend(), (Q,), strict=True), "export")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_scripted_model_a_traced_one_and_a_function() -> None:
    scripted, traced = torch.jit.script(Attend()), torch.jit.trace(Attend(), Q)

    def attend(q: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, q, q)

    for model in (scripted, traced, torch.jit.script(attend)):
        refused(lambda model=model: model(Q), "TorchScript")  # type: ignore[misc]
        assert model(Q).shape == Q.shape


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_model_with_a_part_that_is_scripted_or_traced() -> None:
    for part in (torch.jit.script(Attend()), torch.jit.trace(Attend(), Q)):
        message = refused(lambda part=part: Outer(part)(Q), "TorchScript", "inner")  # type: ignore[misc]
        assert "scripted from" in message


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention() -> None:
    q = normal(1, 2, 16, 16, dtype=torch.float32)
    refused(lambda: flex_attention(q, q, q), "flex", "scaled_dot_product_attention")


@pytest.fixture
def kernels() -> Iterator[None]:
    """What packages with kernels of their own register, here without any attention."""
    libraries = []
    for namespace, name in (
        ("flash_attn", "_flash_attn_forward"),
        ("xformers", "efficient_attention_forward"),
        ("my_kernels", "fused_mha_attn"),
    ):
        library = Library(namespace, "DEF")
        library.define(f"{name}(Tensor q) -> Tensor")
        library.impl(name, lambda q: q.clone(), "CPU")
        libraries.append(library)
    yield
    for library in libraries:
        library._destroy()


@pytest.mark.usefixtures("kernels")
def test_kernels_of_other_libraries() -> None:
    for operator in (
        torch.ops.flash_attn._flash_attn_forward,
        torch.ops.flash_attn._flash_attn_forward.default,
        torch.ops.xformers.efficient_attention_forward,
        torch.ops.my_kernels.fused_mha_attn,
    ):
        refused(lambda operator=operator: operator(Q), str(operator).split(".")[0], "sdpa")  # type: ignore[misc]
        assert operator(Q).equal(Q)


def test_kernels_of_torch_called_by_hand() -> None:
    refused(
        lambda: torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(Q, Q, Q),
        "scaled_dot_product_attention",
    )


def test_the_refusal_comes_at_once_also_where_something_was_seen_before() -> None:
    compiled = torch.compile(Attend(), backend="eager")
    reached = []

    def run() -> None:
        Attend()(Q)
        compiled(Q)
        reached.append(True)

    with pytest.raises(CaptureError, match="compile") as caught, ch.capture() as seen:
        run()
    assert not reached
    assert not isinstance(caught.value, NothingCapturedError)
    assert seen.names == ("Attend",)


def test_interventions_refuse_the_same() -> None:
    compiled = torch.compile(Attend(), backend="eager")
    with pytest.raises(CaptureError, match="compile"), ch.intervene(lambda seen: None):
        compiled(Q)


def test_interventions_that_met_no_attention_say_so() -> None:
    with pytest.raises(CaptureError, match="nothing"), ch.intervene(lambda seen: None):
        Q.sum()
