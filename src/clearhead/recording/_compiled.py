"""Attention inside compiled graphs, through an operator that the graph calls with its tensors."""

import operator
import re
import sys
from collections.abc import Callable, Sequence
from itertools import takewhile
from threading import local
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from clearhead.errors import CaptureError
from clearhead.recording._call_site import reject_compiled, reject_opaque
from clearhead.recording._explicit import OperationTracker
from clearhead.recording._history import SOFTMAX
from clearhead.recording._record_of_call import FusedCall
from clearhead.recording._tables import WeakTable
from clearhead.recording._torch_internals import (
    DisableInterception,
    call_while_compiling,
    compiled_module_path,
    is_of_inductor,
    pop_mode,
    push_mode,
    running_interpreter,
    storage_of,
    traced_body,
    traced_graph,
    without_override_check,
)

if TYPE_CHECKING:
    from clearhead.recording._interception import InterceptionMode


class _Active(local):
    def __init__(self) -> None:
        self.recorders: list[InterceptionMode] = []


ACTIVE = _Active()
"""The active modes of each thread."""

CHECKED = "checked by clearhead"
RECORDED = "recorded by clearhead"  # a backend may run the operator in another part of the graph


class _Outputs:
    """Attributes that graphs set, so that these tensors are outputs, whose memory is not reused."""

    mark: Tensor


OUTPUTS = _Outputs()


def _record(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    output: Tensor,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
    path: str,
    level: int,
    copied: Sequence[int],
    previous: Tensor | None,
) -> Tensor:
    """Record this call, with copies of some of its tensors.

    The empty result is the next call's `previous`, and the last one an output of the graph, so that
    compilers neither remove calls nor change their order.
    """
    with DisableInterception():
        tensors: list[Any] = [query, key, value, attn_mask, output]
        for i in copied:
            tensors[i] = None if tensors[i] is None else tensors[i].clone()
        *arguments, result = tensors
        call = FusedCall(*[*arguments, 0.0, is_causal, scale, enable_gqa])
        recorder = next(x for x in ACTIVE.recorders if x.level == level)
        running = getattr(previous, "running", {})  # the same for all calls of a graph
        if level not in running:
            running[level] = recorder.running()
        recorder.compiled_call(call, result, path, running[level])
        mark = output.new_empty(0)
        mark.running = running  # type: ignore[attr-defined]
        return mark


# as a plain kernel, since the layers that custom_op adds take longer than the recording itself
OPERATORS = torch.library.Library("clearhead", "FRAGMENT")
OPERATORS.define(
    "record(Tensor query, Tensor key, Tensor value, Tensor? attn_mask, Tensor output, "
    "bool is_causal, float? scale, bool enable_gqa, str path, int level, int[] copied, "
    "Tensor? previous) -> Tensor",
    tags=(torch.Tag.cudagraph_unsafe,),
)
OPERATORS.impl("record", _record, "CompositeExplicitAutograd")
torch.library.register_fake(
    "clearhead::record", lambda query, *_: query.new_empty(0), lib=OPERATORS
)


def traced_call(
    recorder: "InterceptionMode",
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """A call as the compiler traces it: attention is followed by the operator that records it."""
    kind, method = _kind_of_call(function)
    if kind == "attention":
        return _recorded(recorder.level, function(*args, **kwargs), *args, **kwargs)
    if kind == "layer":
        push_mode(recorder)
        result = LAYER(*args, **kwargs)
        pop_mode()
        return result
    result = getattr(args[0], method)(*args[1:], **kwargs) if method else function(*args, **kwargs)
    if kind != "exported":
        _reject_unrecorded()
    return result


@call_while_compiling
def _kind_of_call(function: Callable[..., Any]) -> tuple[str, str]:
    """The kind of a call, and the name of the method if it is one of `torch._tensor`.

    The compiler traces these methods, which are written in Python, by name only. Kinds: "attention"
    (fused), "layer" (`multi_head_attention_forward`), "exported" (any call of an export), or "".
    """
    name = str(getattr(function, "__name__", ""))
    is_exporting = torch.compiler.is_exporting()
    if _is_fused(function) and not is_exporting:
        return "attention", ""
    if function is F.multi_head_attention_forward and not is_exporting:
        return "layer", ""
    try:
        reject_opaque(name, function)
    except CaptureError:
        reject_compiled()
    if is_exporting and name in SOFTMAX:
        reject_compiled()
    method = name if getattr(function, "__module__", "") == "torch._tensor" else ""
    return "exported" if is_exporting else "", method


class GraphTracker:
    """Follows the calls of a graph as those of eager mode, on tensors without data."""

    def __init__(self) -> None:
        self._tracker = OperationTracker(lambda: None)
        self._tensors: dict[int, tuple[Any, Tensor]] = {}  # by the examples of the graph

    def is_attention(self, node: fx.Node) -> bool:
        """Whether a call completes attention, including attention that cannot be recorded."""
        if node.op not in ("call_function", "call_method"):
            return False
        with DisableInterception():
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._value)
            result, name = self._value(node), _name(node)
            if name in ("softmin", "gumbel_softmax"):
                name, args, kwargs = "softmax", args[:1], {"dim": kwargs.get("dim", -1)}
            _, attention = self._tracker.call(name, lambda *_, **__: result, args, kwargs)
        softmaxes = self._tracker.softmaxes
        return attention is not None or any(
            x.refusal or (x.multiplied and x.why_unrecorded() is not None) for x in softmaxes
        )

    def _value(self, node: fx.Node) -> Any:
        return fx.node.map_aggregate(node.meta.get("example_value"), self._without_data)

    def _without_data(self, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return _hint(x)
        if id(x) not in self._tensors:
            y = torch.empty([_hint(n) for n in x.shape], dtype=x.dtype, device="meta")
            is_parameter = isinstance(x, nn.Parameter)
            self._tensors[id(x)] = x, nn.Parameter(y, False) if is_parameter else y
        return self._tensors[id(x)][1]


def _hint(x: Any) -> Any:
    """The size in the call that is traced; no guards of the graph depend on it."""
    return (x.node.hint or 2) if isinstance(x, torch.SymInt) else x


TRACKERS: WeakKeyDictionary[fx.Graph, GraphTracker] = WeakKeyDictionary()


@call_while_compiling
def _reject_unrecorded() -> None:
    """Raise if a new operation of the graph is attention that cannot be recorded there."""
    graph = traced_graph()
    tracker = TRACKERS.setdefault(graph, GraphTracker())
    new = list(takewhile(lambda x: CHECKED not in x.meta, reversed(graph.nodes)))
    for node in reversed(new):
        if tracker.is_attention(node) or _contains_attention(node):
            reject_compiled()
        node.meta[CHECKED] = True


def _contains_attention(node: fx.Node) -> bool:
    """Whether a call has a graph of its own, such as a checkpointed layer, with attention in it."""
    bodies = [body for x in node.all_input_nodes if (body := traced_body(x)) is not None]
    graphs = [x.graph for body in bodies for x in body.modules() if isinstance(x, fx.GraphModule)]
    trackers = [(GraphTracker(), graph) for graph in graphs]
    return any(
        _is_fused(node.target) or tracker.is_attention(node)
        for tracker, graph in trackers
        for node in graph.nodes
    )


def _name(node: fx.Node) -> str:
    """The name of the called function, as in eager mode."""
    target = node.target
    if target is getattr:
        return str(node.args[1])
    name = target if isinstance(target, str) else str(getattr(target, "__name__", ""))
    name = name.partition(".")[0]  # without the overload that operators carry
    return f"__{name}__" if getattr(operator, name, None) is target else name


def _recorded(
    level: int,
    output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if dropout_p > 0.0:  # its random numbers cannot be repeated
        reject_compiled()
    number, copied, kept, path = _last_call()
    if query.is_cuda:  # graphs of CUDA write their outputs to the same memory again
        copied = tuple(range(5))
    tensors = [x if x is None else x.detach() for x in (query, key, value, attn_mask, output)]
    previous = OUTPUTS.mark if number else None
    options = (is_causal, scale, enable_gqa, path, level, list(copied), previous)
    OUTPUTS.mark = torch.ops.clearhead.record.default(*tensors, *options)
    setattr(OUTPUTS, f"call_{number}", [tensors[i] for i in kept])
    return output


@call_while_compiling
def _last_call() -> tuple[int, tuple[int, ...], tuple[int, ...], str]:
    """Of the last fused call: its number, tensors to be copied and kept, and its module's path.

    Tensors are given by their positions: query, key, value, mask and output. Copied are those that
    share memory with inputs of the graph, such as caches; kept is one of each other memory.
    """
    graph = traced_graph()
    number = sum(node.target is torch.ops.clearhead.record.default for node in graph.nodes)
    inputs = {_memory(node) for node in graph.nodes if node.op in ("placeholder", "get_attr")}
    call = next(node for node in reversed(graph.nodes) if _is_fused(node.target))
    call.meta[RECORDED] = True
    arguments: Any = FusedCall(*call.args, **call.kwargs)[:4]
    memory = {i: _memory(x) for i, x in enumerate((*arguments, call)) if x is not None}
    copied = tuple(i for i, x in memory.items() if x in inputs)
    kept = {x: i for i, x in memory.items() if x not in inputs}
    return number, copied, tuple(kept.values()), _path()


def _memory(node: fx.Node) -> int | None:
    """An identifier of the storage of a node's tensor; None for other values."""
    x = node.meta.get("example_value")
    return storage_of(x) if isinstance(x, Tensor) else None


def _path() -> str:
    """The path of the calling module from the module or variable where the graph begins."""
    # L['self'].attn, or L['args'][0].attn in a decorated method
    path = compiled_module_path().replace("getattr(", "")  # getattr(G['net'].blocks, '0').attn
    path = re.sub(r"^[A-Z]\[[^]]*\](?<='args'\])\[0\]|^[A-Z]\[[^]]*\]", "", path)
    return ".".join(re.findall(r"[^.\[\]'\"(), ]+", path))


def _is_fused(function: Any) -> bool:
    name = str(getattr(function, "__name__", ""))  # of the operator, also in exported programs
    return name.partition(".")[0] == "scaled_dot_product_attention"


# The function without its check for overrides, so that attention inside it is recorded.
LAYER = without_override_check(F.multi_head_attention_forward)
# Its error messages refer to tensors, which a full graph cannot.
LAYER.__globals__["_check_key_padding_mask"] = lambda *_: None


@call_while_compiling
def called_by_graph() -> bool:
    """Whether the intercepted function is called by a compiled graph, which records by itself."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") in DISPATCHERS:
        frame = frame.f_back
    return frame is not None and (is_of_inductor(frame) or _records(frame))


# Whether graphs, or their code, contain the recording operator, or a call that it records.
RECORDING: WeakTable[Any, bool] = WeakTable()


def _records(frame: FrameType) -> bool:
    """Whether a frame runs a graph, as code or by an interpreter, whose attention is recorded."""
    is_code = frame.f_code.co_filename.startswith("<eval_with_key>")
    interpreter = None if is_code else running_interpreter(frame)
    key = frame.f_code if is_code else interpreter and interpreter.graph
    if key is None:
        return False
    known = RECORDING.of(key)
    if known is None:
        graph = getattr(frame.f_locals.get("self"), "graph", None)
        nodes: Any = graph.nodes if isinstance(graph, fx.Graph) else ()
        recorder = torch.ops.clearhead.record.default
        is_recorder = {"ops", "clearhead", "record"} <= {*frame.f_code.co_names}
        known = is_recorder or any(x.target is recorder or RECORDED in x.meta for x in nodes)
        RECORDING.put(key, known)
    return known


# Modules between the caller and an intercepted function.
DISPATCHERS = frozenset(
    ["clearhead.recording._interception"]
    + [f"torch.{x}" for x in ("_ops", "overrides", "nn.functional", "functional", "_tensor")]
)
