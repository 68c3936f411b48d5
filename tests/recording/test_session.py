"""The block itself: what it names and keeps, and that it leaves everything as it was."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack

import clearhead as ch
from clearhead.errors import CaptureError, ClearheadError, NothingCapturedError
from clearhead.recording import Recording

from .independent import attention, normal, same_stages

X = normal(2, 7, 12)


class Attend(nn.Module):
    """Self-attention, fused or written out."""

    def __init__(self, fused: bool = True) -> None:
        super().__init__()
        self.qkv = nn.Linear(12, 36)
        self.num_heads, self.fused = 3, fused

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        parts: Tensor = self.qkv(x).unflatten(-1, (3, 3, 4)).permute(2, 0, 3, 1, 4)
        return parts.unbind()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        if self.fused:
            out = F.scaled_dot_product_attention(q, k, v)
        else:
            out = (q @ k.mT / 2.0).softmax(-1) @ v
        return out.transpose(1, 2).flatten(2)


class Block(nn.Module):
    def __init__(self, fused: bool = True) -> None:
        super().__init__()
        self.attn = Attend(fused)
        self.norm = nn.LayerNorm(12)

    def forward(self, x: Tensor) -> Tensor:
        attended: Tensor = self.attn(self.norm(x))
        return x + attended


class Model(nn.Module):
    def __init__(self, depth: int = 4, fused: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(Block(fused) for _ in range(depth))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


NAMES = tuple(f"blocks.{i}.attn" for i in range(4))


def test_names_are_module_paths_in_the_order_of_the_calls() -> None:
    with ch.capture() as seen:
        Model()(X)
    assert isinstance(seen, Recording)
    assert seen.names == NAMES
    assert [record.name for record in seen.records] == list(NAMES)
    assert seen["blocks.3.attn"] is seen[3] is seen[-1]


@pytest.mark.parametrize("fused", [False, True])
def test_stages_of_every_layer(fused: bool) -> None:
    model = Model(fused=fused)
    with ch.capture() as seen:
        model(X)
    seen.verify()
    x = X
    for block, record in zip(model.blocks, seen.records, strict=True):
        assert isinstance(block, Block)
        same_stages(record, attention(*block.attn.split(block.norm(x))))
        x = block(x)


def test_repeated_calls_are_numbered() -> None:
    model = Model(2)
    with ch.capture() as seen:
        model(X)
        model(X[:1])
        model(X)
    assert seen.names == tuple(
        f"blocks.{i}.attn{call}" for call in ("", "#2", "#3") for i in (0, 1)
    )
    assert seen["blocks.1.attn#2"].weights.shape == (1, 3, 7, 7)


def test_names_when_a_part_of_a_model_is_called_by_itself() -> None:
    model = Model(2)
    with ch.capture() as seen:
        model.blocks[1](X)
        model.blocks[1].attn(X)  # type: ignore[operator]
    assert seen.names == ("attn", "Attend")


def test_names_below_a_wrapper_of_the_model() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Model(1)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.inner(x)
            return result

    with ch.capture() as seen:
        Wrapper()(X)
    assert seen.names == ("inner.blocks.0.attn",)


def test_names_when_the_block_is_opened_inside_a_module() -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Model(1)
            self.seen: Recording | None = None

        def forward(self, x: Tensor) -> Tensor:
            with ch.capture() as self.seen:
                result: Tensor = self.model(x)
            return result

    looks = Looks()
    looks(X)
    assert looks.seen is not None
    assert looks.seen.names == ("blocks.0.attn",)


def test_two_models_in_one_block() -> None:
    with ch.capture() as seen:
        Model(1)(X)
        Model(1, fused=False)(X)
    assert seen.names == ("blocks.0.attn", "blocks.0.attn#2")
    assert len(seen.verify()) == 2


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, NAMES),
        ("blocks.2.attn", ("blocks.2.attn",)),
        ("blocks.*.attn", NAMES),
        ("*", NAMES),
        ("blocks.[13].*", ("blocks.1.attn", "blocks.3.attn")),
        (0, NAMES[:1]),
        (3, NAMES[3:]),
        (-1, NAMES[3:]),
        (-4, NAMES[:1]),
        ([0, 2], ("blocks.0.attn", "blocks.2.attn")),
        ((2, 0), ("blocks.0.attn", "blocks.2.attn")),
        ([0, -1], ("blocks.0.attn", "blocks.3.attn")),
        (["blocks.1.attn", -1, 0], ("blocks.0.attn", "blocks.1.attn", "blocks.3.attn")),
        ([1, "blocks.1.*"], ("blocks.1.attn",)),
        (range(1, 3), ("blocks.1.attn", "blocks.2.attn")),
    ],
)
def test_layers_are_kept_by_name_pattern_and_index(layers: Any, expected: tuple[str, ...]) -> None:
    with ch.capture(layers=layers) as seen:
        Model()(X)
    assert seen.names == expected
    assert len(seen.verify()) == len(expected)


@pytest.mark.parametrize("layers", ["blocks.9.attn", ["blocks.0.attn", "nothing.*"], 4, -5, [0, 7]])
def test_layers_that_are_not_there_raise_with_what_there_is(layers: Any) -> None:
    with pytest.raises(CaptureError, match=r"blocks\.3\.attn|there were 4"), ch.capture(layers):
        Model()(X)


@pytest.mark.parametrize("layers", [[], (), [None], 1.5, [True, b"x"]])
def test_layers_that_say_nothing_raise(layers: Any) -> None:
    with pytest.raises(ClearheadError), ch.capture(layers):
        Model()(X)


def test_each_call_of_a_chosen_layer_is_kept() -> None:
    model = Model(2)
    with ch.capture("blocks.1.attn") as seen:
        model(X)
        model(X)
    assert seen.names == ("blocks.1.attn", "blocks.1.attn#2")
    with ch.capture("blocks.1.attn#2") as seen:
        model(X)
        model(X)
    assert seen.names == ("blocks.1.attn#2",)


@pytest.mark.parametrize(
    "code",
    [
        lambda: None,
        lambda: nn.Linear(12, 3).double()(X),
        lambda: X.softmax(-1),
        lambda: F.softmax(nn.Linear(12, 3).double()(X), dim=-1).sum(),
    ],
)
def test_a_block_without_attention_raises_and_says_why(code: Callable[[], Any]) -> None:
    with pytest.raises(NothingCapturedError, match=r"nothing was captured.*softmax"), ch.capture():
        code()


def test_what_was_seen_is_never_an_empty_answer() -> None:
    """In the block nothing is ready, and after an exception there may be nothing."""
    with ch.capture() as seen:
        Model(1)(X)
        for ask in (seen.verify, seen.to_hf, seen.to_tensor, lambda: seen.to_bertviz("abcdefg")):
            answer: Any = (1,)
            with suppress(ClearheadError):
                answer = ask()
            assert len(answer) > 0
    with pytest.raises(ValueError, match="mine"), ch.capture() as seen:
        raise ValueError("mine")
    for ask in (seen.verify, seen.to_hf, seen.to_tensor, lambda: seen.to_bertviz("abc")):
        with pytest.raises(ClearheadError):
            ask()


class MineError(Exception):
    pass


@pytest.mark.parametrize(
    "error", [MineError("no"), KeyboardInterrupt(), RuntimeError("torch.compile")]
)
def test_exceptions_pass_unchanged_and_leave_nothing_behind(error: BaseException) -> None:
    model = Model(2)
    modes = _get_current_function_mode_stack()
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    function = F.scaled_dot_product_attention

    def run_and_fail() -> None:
        model(X)
        raise error

    with pytest.raises(type(error)) as caught, ch.capture() as seen:
        run_and_fail()
    assert caught.value is error
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert _get_current_function_mode_stack() == modes
    assert F.scaled_dot_product_attention is function
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert seen.names == NAMES[:2]  # what was seen until then is there
    seen.verify()
    with ch.capture() as seen:
        model(X)
    assert seen.names == NAMES[:2]


def test_an_exception_of_the_model_amid_an_attention() -> None:
    q = normal(2, 3, 5, 4)
    with pytest.raises(RuntimeError, match=r"(?i)size|shape"), ch.capture():
        F.scaled_dot_product_attention(q, q, q, attn_mask=torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(RuntimeError, match=r"(?i)size|shape"), ch.capture():
        (q @ q.mT).softmax(-1) @ normal(2, 3, 4, 4)
    with pytest.raises(TypeError), ch.capture():
        F.scaled_dot_product_attention(q, q)  # type: ignore[call-arg]
    assert not _get_current_function_mode_stack()


def test_nothing_is_seen_after_the_block() -> None:
    model = Model(1)
    with ch.capture() as seen:
        model(X)
    model(X)
    assert seen.names == NAMES[:1]


def test_one_capture_can_be_used_twice() -> None:
    looking = ch.capture()
    with looking as first:
        Model(1)(X)
    with looking as second:
        Model(2)(X)
    assert first.names == NAMES[:1]
    assert second.names == NAMES[:2]


@pytest.mark.parametrize("fused", [False, True])
def test_nested_captures_both_see_everything(fused: bool) -> None:
    model = Model(2, fused)
    with ch.capture() as outer:
        with ch.capture() as inner:
            model(X)
        model.blocks[0](X)
    assert inner.names == NAMES[:2]
    assert outer.names == (*NAMES[:2], "attn")
    for seen in (inner, outer):
        seen.verify()
    for one, other in zip(inner.records, outer.records, strict=False):
        assert one.weights.equal(other.weights)


def test_nested_captures_choose_for_themselves() -> None:
    with ch.capture(layers=0) as outer, ch.capture(layers=-1) as inner:
        Model()(X)
    assert outer.names == NAMES[:1]
    assert inner.names == NAMES[3:]


def test_looking_at_records_inside_another_block_is_not_captured() -> None:
    model = Model(2, fused=False)
    with ch.capture() as first:
        model(X)
    with ch.capture() as outer:
        model(X)
        first.verify()
        first.to_tensor()
        first[0].stages(heads=1)
    assert outer.names == NAMES[:2]


def test_threads_do_not_see_one_another() -> None:
    together = threading.Barrier(2)
    found: dict[int, Recording] = {}

    models = [Model(1), Model(2)]  # made here: the threads share one random generator

    def work(index: int) -> None:
        model, x = models[index], normal(2, 7, 12, seed=index)
        with ch.capture() as seen:
            for _ in range(5):
                together.wait()
                model(x)
        found[index] = seen

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found[0]) == 5
    assert len(found[1]) == 10
    for index, seen in found.items():
        seen.verify()
        model, x = Model(index + 1), normal(2, 7, 12, seed=index)
        with ch.capture() as again:
            model(x)
        np.testing.assert_array_equal(seen[0].weights, again[0].weights)


def test_a_model_that_runs_in_another_thread_is_not_seen_and_the_message_says_so() -> None:
    def in_a_thread() -> None:
        thread = threading.Thread(target=Model(1), args=(X,))
        thread.start()
        thread.join()

    with pytest.raises(NothingCapturedError, match="thread"), ch.capture():
        in_a_thread()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("inside", [False, True])
def test_grad_modes_in_either_order(fused: bool, mode: Any, inside: bool) -> None:
    model = Model(2, fused)
    if inside:
        with ch.capture() as seen, mode():
            output = model(X)
    else:
        with mode(), ch.capture() as seen:
            output = model(X)
    assert output.requires_grad == (mode is torch.enable_grad)
    assert output.is_inference() == (mode is torch.inference_mode)
    assert len(seen.verify()) == 2
    assert seen.to_tensor().shape == (2, 2, 3, 7, 7)
    assert not seen[0].weights.requires_grad


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["autocast", "half"])
def test_autocast_and_half_precision(fused: bool, dtype: torch.dtype, how: str) -> None:
    model = Model(2, fused).float()
    x = X.float()
    with ch.capture() as exact:
        model(x)
    with torch.no_grad(), ch.capture() as seen:
        if how == "autocast":
            with torch.autocast("cpu", dtype):
                model(x)
        else:
            model.to(dtype)(x.to(dtype))
    for proof in seen.verify():
        assert proof.tolerance >= torch.finfo(dtype).eps
    assert seen.names == exact.names
    assert (seen[0].weights - exact[0].weights).abs().max() < 0.02


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("fused", [False, True])
def test_an_empty_batch_and_a_batch_of_one(batch: int, fused: bool) -> None:
    with ch.capture() as seen:
        Model(2, fused)(X[:batch])
    seen.verify()
    assert seen.to_tensor().shape == (batch, 2, 3, 7, 7)


def test_the_model_computes_what_it_computes_without_looking() -> None:
    for fused in (False, True):
        model = Model(fused=fused)
        plain = model(X)
        with ch.capture():
            looked_at = model(X)
        assert looked_at.equal(plain)


def test_calling_attributes_and_functions_of_tensors_is_undisturbed() -> None:
    with ch.capture() as seen:
        Model(1)(X)
        assert X[0].T.shape == (12, 7)
        assert torch.tensor([1.0]).item() == 1.0
        assert len(torch.split(X, 3, dim=1)) == 3
        values, indices = X.max(dim=-1)
        assert values.shape == indices.shape
        assert torch.is_tensor(X)
        assert str(X).startswith("tensor")
    assert seen.names == NAMES[:1]
