"""`capture`: names, layers to keep, nesting, threads and modes, without a trace left behind."""

import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
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

from .reference import assert_stages, attention, normal

X = normal(2, 7, 12)


class Attend(nn.Module):
    """Self-attention, fused or explicit."""

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


class Wrapper(nn.Module):
    """A model inside another module, which may record it."""

    def __init__(self, *, records: bool = False) -> None:
        super().__init__()
        self.inner = Model(1)
        self.records = records
        self.recording = Recording()

    def forward(self, x: Tensor) -> Tensor:
        with ch.capture() if self.records else nullcontext(self.recording) as self.recording:
            result: Tensor = self.inner(x)
        return result


NAMES = tuple(f"blocks.{i}.attn" for i in range(4))
both = pytest.mark.parametrize("fused", [False, True])


@both
def test_names_and_stages_of_every_layer(fused: bool) -> None:
    model = Model(fused=fused)
    plain = model(X)
    with ch.capture() as recording:
        assert model(X).equal(plain)
    assert recording.names == NAMES
    assert [record.name for record in recording.records] == list(NAMES)
    recording.verify()
    x = X
    for block, record in zip(model.blocks, recording.records, strict=True):
        assert isinstance(block, Block)
        assert_stages(record, attention(*block.attn.split(block.norm(x))))
        x = block(x)


def test_repeated_calls_are_numbered() -> None:
    model = Model(2)
    with ch.capture() as recording:
        model(X)
        model(X[:1])
        model(X)
    assert recording.names == tuple(
        f"blocks.{i}.attn{call}" for call in ("", "#2", "#3") for i in (0, 1)
    )
    assert recording["blocks.1.attn#2"].weights.shape == (1, 3, 7, 7)


@pytest.mark.parametrize(
    ("calls", "names"),
    [
        ((Model(2).blocks[1],), ("attn",)),
        ((Attend().double(),), ("Attend",)),
        ((Wrapper(),), ("inner.blocks.0.attn",)),
        ((Model(1), Model(1, fused=False)), ("blocks.0.attn", "blocks.0.attn#2")),
    ],
    ids=["block", "layer", "wrapped model", "two models"],
)
def test_names_begin_at_the_outermost_module(calls: Any, names: tuple[str, ...]) -> None:
    with ch.capture() as recording:
        for call in calls:
            call(X)
    assert recording.names == names
    recording.verify()


def test_names_begin_inside_the_module_that_records() -> None:
    wrapper = Wrapper(records=True)
    wrapper(X)
    assert wrapper.recording.names == ("blocks.0.attn",)


@pytest.mark.parametrize(
    ("layers", "indices"),
    [
        (None, (0, 1, 2, 3)),
        ("blocks.2.attn", (2,)),
        ("blocks.*.attn", (0, 1, 2, 3)),
        ("*", (0, 1, 2, 3)),
        ("blocks.[13].*", (1, 3)),
        (0, (0,)),
        (3, (3,)),
        (-1, (3,)),
        (-4, (0,)),
        ([0, 2], (0, 2)),
        ((2, 0), (0, 2)),
        ([0, -1], (0, 3)),
        (["blocks.1.attn", -1, 0], (0, 1, 3)),
        ([1, "blocks.1.*"], (1,)),
        (range(1, 3), (1, 2)),
    ],
)
def test_layers_by_name_pattern_and_index(layers: Any, indices: tuple[int, ...]) -> None:
    with ch.capture(layers=layers) as recording:
        Model()(X)
    assert recording.names == tuple(NAMES[index] for index in indices)
    assert len(recording.verify()) == len(indices)


@pytest.mark.parametrize("layers", ["blocks.9.attn", ["blocks.0.attn", "nothing.*"], 4, -5, [0, 7]])
def test_unknown_layers_raise_with_the_known_ones(layers: Any) -> None:
    with pytest.raises(CaptureError, match=r"blocks\.3\.attn|there were 4"), ch.capture(layers):
        Model()(X)


@pytest.mark.parametrize("layers", [[], (), [None], 1.5, [True, b"x"]])
def test_invalid_layers_raise(layers: Any) -> None:
    with pytest.raises(ClearheadError, match="layers takes names, patterns and indices"):
        ch.capture(layers)


def test_a_name_keeps_each_call_of_the_layer() -> None:
    model = Model(2)
    both_calls = ("blocks.1.attn", "blocks.1.attn#2")
    for layers, names in (("blocks.1.attn", both_calls), ("blocks.1.attn#2", both_calls[1:])):
        with ch.capture(layers) as recording:
            model(X)
            model(X)
        assert recording.names == names


@pytest.mark.parametrize(
    "code",
    [
        lambda: None,
        lambda: nn.Linear(12, 3).double()(X),
        lambda: X.softmax(-1),
        lambda: F.softmax(nn.Linear(12, 3).double()(X), dim=-1).sum(),
    ],
)
def test_a_block_without_attention_raises_with_a_reason(code: Callable[[], Any]) -> None:
    with pytest.raises(NothingCapturedError, match=r"nothing was captured.*softmax"), ch.capture():
        code()


def exports(recording: Recording) -> tuple[Callable[[], Any], ...]:
    bertviz = lambda: recording.to_bertviz("abcdefg")  # noqa: E731
    return recording.verify, recording.to_hf, recording.to_tensor, recording.to_dict, bertviz


def test_an_empty_recording_raises_and_exports_nothing_empty() -> None:
    with ch.capture() as recording:
        Model(1)(X)
        for export in exports(recording):  # before the end of the block
            result: Any = (1,)
            with suppress(ClearheadError):
                result = export()
            assert len(result) > 0
    with pytest.raises(ValueError, match="mine"), ch.capture() as recording:
        raise ValueError("mine")
    for export in exports(recording):
        with pytest.raises(ClearheadError):
            export()


class MineError(Exception):
    pass


@pytest.mark.parametrize(
    "error", [MineError("no"), KeyboardInterrupt(), RuntimeError("torch.compile")]
)
def test_exceptions_pass_unchanged_and_leave_no_trace(error: BaseException) -> None:
    model = Model(2)
    modes = _get_current_function_mode_stack()
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    function = F.scaled_dot_product_attention

    def run_and_fail() -> None:
        model(X)
        raise error

    with pytest.raises(type(error)) as caught, ch.capture() as recording:
        run_and_fail()
    assert caught.value is error
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert _get_current_function_mode_stack() == modes
    assert F.scaled_dot_product_attention is function
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert recording.names == NAMES[:2]  # the records until then
    recording.verify()
    with ch.capture() as recording:
        model(X)
    assert recording.names == NAMES[:2]


def test_errors_inside_attention_pass_unchanged() -> None:
    q = normal(2, 3, 5, 4)
    with pytest.raises(RuntimeError, match=r"(?i)size|shape"), ch.capture():
        F.scaled_dot_product_attention(q, q, q, attn_mask=torch.ones(4, 4, dtype=torch.bool))
    with pytest.raises(RuntimeError, match=r"(?i)size|shape"), ch.capture():
        (q @ q.mT).softmax(-1) @ normal(2, 3, 4, 4)
    with pytest.raises(TypeError), ch.capture():
        F.scaled_dot_product_attention(q, q)  # type: ignore[call-arg]
    assert not _get_current_function_mode_stack()


def test_a_capture_ends_with_its_block_and_can_be_used_again() -> None:
    capture = ch.capture()
    with capture as first:
        Model(1)(X)
    Model(1)(X)
    with capture as second:
        Model(2)(X)
    assert first.names == NAMES[:1]
    assert second.names == NAMES[:2]


@both
def test_nested_captures_record_the_same(fused: bool) -> None:
    model = Model(2, fused)
    with ch.capture() as outer:
        with ch.capture() as inner:
            model(X)
        model.blocks[0](X)
    assert inner.names == NAMES[:2]
    assert outer.names == (*NAMES[:2], "attn")
    for recording in (inner, outer):
        recording.verify()
    for x, y in zip(inner.records, outer.records, strict=False):
        assert x.weights.equal(y.weights)


def test_nested_captures_keep_their_own_layers() -> None:
    with ch.capture(layers=0) as outer, ch.capture(layers=-1) as inner:
        Model()(X)
    assert outer.names == NAMES[:1]
    assert inner.names == NAMES[3:]


def test_computing_stages_inside_another_block_is_not_recorded() -> None:
    model = Model(2, fused=False)
    with ch.capture() as first:
        model(X)
    with ch.capture() as outer:
        model(X)
        first.verify()
        first.to_tensor()
        first[0].stages(heads=1)
    assert outer.names == NAMES[:2]


def test_threads_record_separately() -> None:
    barrier = threading.Barrier(2)
    recordings: dict[int, Recording] = {}
    models = [Model(1), Model(2)]  # built here, as threads share one random generator

    def work(index: int) -> None:
        x = normal(2, 7, 12, seed=index)
        with ch.capture() as recording:
            for _ in range(5):
                barrier.wait()
                models[index](x)
        recordings[index] = recording

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(recordings[0]) == 5
    assert len(recordings[1]) == 10
    for index, recording in recordings.items():
        recording.verify()
        with ch.capture() as again:
            models[index](normal(2, 7, 12, seed=index))
        np.testing.assert_array_equal(recording[0].weights, again[0].weights)


@both
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("inside", [False, True])
def test_grad_modes_inside_and_outside_the_block(fused: bool, mode: Any, inside: bool) -> None:
    model = Model(2, fused)
    outer, inner = (nullcontext, mode) if inside else (mode, nullcontext)
    with outer(), ch.capture() as recording, inner():
        output = model(X)
    assert output.requires_grad == (mode is torch.enable_grad)
    assert output.is_inference() == (mode is torch.inference_mode)
    assert len(recording.verify()) == 2
    assert recording.to_tensor().shape == (2, 2, 3, 7, 7)
    assert not recording[0].weights.requires_grad


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_autocast_and_half_precision(fused: bool, dtype: torch.dtype, autocast: bool) -> None:
    model, x = Model(2, fused).float(), X.float()
    with ch.capture() as exact:
        model(x)
    if not autocast:
        model, x = model.to(dtype), x.to(dtype)
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=autocast), ch.capture() as recording:
        model(x)
    for verification in recording.verify():
        assert verification.tolerance >= torch.finfo(dtype).eps
    assert recording.names == exact.names
    assert (recording[0].weights - exact[0].weights).abs().max() < 0.02


def test_other_functions_of_tensors_work_inside_the_block() -> None:
    with ch.capture() as recording:
        Model(1)(X)
        assert X[0].T.shape == (12, 7)
        assert torch.tensor([1.0]).item() == 1.0
        assert len(torch.split(X, 3, dim=1)) == 3
        values, indices = X.max(dim=-1)
        assert values.shape == indices.shape
        assert torch.is_tensor(X)
        assert str(X).startswith("tensor")
    assert recording.names == NAMES[:1]


def test_a_capture_that_was_not_entered_has_no_records() -> None:
    with pytest.raises(AttributeError, match=r"with clearhead\.capture"):
        _ = ch.capture().records


def test_a_capture_that_is_active_cannot_be_entered_again() -> None:
    twice = ch.capture()
    with twice as recording:
        with pytest.raises(CaptureError, match="already active"), twice:
            pass
        Model(1)(X)
    assert recording.names == NAMES[:1]
    with twice as recording:  # one after the other it can
        Model(1)(X)
    assert recording.names == NAMES[:1]
