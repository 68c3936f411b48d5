"""Attention inside compiled graphs, through an operator that the graph calls with its tensors."""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from threading import local
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from clearhead.errors import CaptureError
from clearhead.recording import _history
from clearhead.recording._call_site import reject_compiled, reject_opaque
from clearhead.recording._history import EXPONENTIAL, OTHER_EXPONENTIAL, OTHER_WEIGHTS
from clearhead.recording._products import FUNCTIONS, MULTIPLY, OTHER_FUNCTIONS
from clearhead.recording._record_of_call import FusedCall
from clearhead.recording._torch_internals import (
    DisableInterception,
    call_while_compiling,
    compiled_module_path,
    is_compiler_running,
    is_of_inductor,
    pop_mode,
    push_mode,
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
PRODUCTS = FUNCTIONS | OTHER_FUNCTIONS
SOFTMAX = _history.SOFTMAX | _history.LOG_SOFTMAX | {"softmin", "gumbel_softmax"}
WEIGHTS = SOFTMAX | EXPONENTIAL | OTHER_EXPONENTIAL | OTHER_WEIGHTS
PAIRED = MULTIPLY | {"addcmul"}
ADD = frozenset("add add_ iadd __add__ __iadd__".split())


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
    if _is_fused(function):
        return _recorded(recorder.level, function(*args, **kwargs), *args, **kwargs)
    if _is_layer(function) and not _is_exporting():
        push_mode(recorder)
        result = LAYER(*args, **kwargs)
        pop_mode()
        return result
    if method := _checked(function):
        return getattr(args[0], method)(*args[1:], **kwargs)
    result = function(*args, **kwargs)
    if not _is_exporting():
        _reject_unseen()
    elif _is_softmax(function):
        reject_compiled()
    return result


def _reject_unseen() -> None:
    """Raise if a new operation of the graph is attention that cannot be recorded there."""
    for node in takewhile(lambda x: CHECKED not in x.meta, reversed(traced_graph().nodes)):
        if _is_explicit(node) or _contains_attention(node):
            reject_compiled()
        node.meta[CHECKED] = True


def _is_explicit(node: fx.Node) -> bool:
    """Whether a call multiplies weights with activations: attention as separate operations."""
    name, activations = _name(node), [x for x in node.all_input_nodes if not _is_parameter(x)]
    if len(activations) < 2 or (name not in PRODUCTS and name not in PAIRED):
        return False
    names = WEIGHTS if name in PRODUCTS else SOFTMAX
    weights = {x for y in activations for x in _behind(y, _adds) if _name(x) in names}
    for x in weights:
        dims = (y.dim() for y in map(_example, (x, *activations)) if isinstance(y, Tensor))
        if _name(x) in OTHER_WEIGHTS and min(dims, default=0) < 3:
            continue
        if (name in PRODUCTS and _name(x) in SOFTMAX) or any(map(_is_score, _behind(x))):
            return True
    return False


def _contains_attention(node: fx.Node) -> bool:
    """Whether a call has a graph of its own, such as a checkpointed layer, with attention in it."""
    bodies = [body for x in node.all_input_nodes if (body := traced_body(x)) is not None]
    graphs = (x.graph for body in bodies for x in body.modules() if isinstance(x, fx.GraphModule))
    return any(_is_fused(x.target) or _is_explicit(x) for graph in graphs for x in graph.nodes)


def _behind(node: fx.Node, stop: Callable[[fx.Node], bool] = lambda _: False) -> Iterator[fx.Node]:
    """The calls that a tensor is computed by, up to products."""
    nodes = dict.fromkeys([node])
    remaining = [node]
    for x in remaining:
        yield x
        if _name(x) not in PRODUCTS and not _is_fused(x.target) and not stop(x):
            inputs = dict.fromkeys(y for y in x.all_input_nodes if not _is_index(y))
            remaining += [y for y in inputs if y not in nodes]
            nodes |= inputs


def _is_index(node: fx.Node) -> bool:
    x = _example(node)
    return isinstance(x, Tensor) and not x.is_floating_point()


def _adds(node: fx.Node) -> bool:
    """Whether it adds two tensors, as weights are not, but a residual stream is."""
    return _name(node) in ADD and len(node.all_input_nodes) > 1


def _is_score(node: fx.Node) -> bool:
    """Whether it is a product of activations, or a sum of elementwise ones."""
    name, inputs = _name(node), node.all_input_nodes
    if name in ("sum", "mean"):
        return (
            _name(inputs[0]) in PAIRED
            and sum(not _is_parameter(x) for x in inputs[0].all_input_nodes) > 1
        )
    return name in PRODUCTS and sum(not _is_parameter(x) for x in inputs) > 1


def _is_parameter(node: fx.Node) -> bool:
    """Whether a tensor is computed from parameters alone."""
    remaining, known = [node], {node}
    while remaining:
        x = remaining.pop()
        if not x.all_input_nodes and not isinstance(_example(x), nn.Parameter):
            return False
        remaining += [y for y in x.all_input_nodes if y not in known]
        known.update(x.all_input_nodes)
    return True


def _example(node: fx.Node) -> Any:
    return node.meta.get("example_value")


def _name(node: fx.Node) -> str:
    """The name of the called function or method."""
    target = node.target
    return target if isinstance(target, str) else str(getattr(target, "__name__", ""))


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
    if dropout_p > 0.0 or _is_exporting():  # its random numbers cannot be repeated
        reject_compiled()
    # graphs of CUDA write their outputs to the same memory again
    number, copied = _number(), range(5) if query.is_cuda else _from_inputs()
    tensors = [x if x is None else x.detach() for x in (query, key, value, attn_mask, output)]
    previous = OUTPUTS.mark if number else None
    options = (is_causal, scale, enable_gqa, _path(), level, list(copied), previous)
    OUTPUTS.mark = torch.ops.clearhead.record.default(*tensors, *options)
    setattr(OUTPUTS, f"call_{number}", tensors)
    return output


def _number() -> int:
    """How many calls the graph that is being traced records so far."""
    return sum(node.target is torch.ops.clearhead.record.default for node in traced_graph().nodes)


def _from_inputs() -> tuple[int, ...]:
    """Which arguments of the last call share memory with inputs, such as caches."""
    graph = traced_graph()
    inputs = {_memory(node) for node in graph.nodes if node.op in ("placeholder", "get_attr")}
    call = next(node for node in reversed(graph.nodes) if _is_fused(node.target))
    arguments: Any = FusedCall(*call.args, **call.kwargs)[:4]
    return tuple(
        i for i, node in enumerate(arguments) if node is not None and _memory(node) in inputs
    )


def _memory(node: fx.Node) -> int | None:
    x = _example(node)
    return x.untyped_storage()._cdata if isinstance(x, Tensor) else None


def _path() -> str:
    """The path of the calling module from the module or variable where the graph begins."""
    # L['self'].attn, or L['args'][0].attn in a decorated method
    path = compiled_module_path().replace("getattr(", "")  # getattr(G['net'].blocks, '0').attn
    path = re.sub(r"^[A-Z]\[[^]]*\](?<='args'\])\[0\]|^[A-Z]\[[^]]*\]", "", path)
    return ".".join(re.findall(r"[^.\[\]'\"(), ]+", path))


def _is_fused(function: Any) -> bool:
    name = str(getattr(function, "__name__", ""))  # of the operator, also in exported programs
    return name.partition(".")[0] == "scaled_dot_product_attention"


def _is_exporting() -> bool:  # called by the compiler, as `is_traced` is
    return torch.compiler.is_exporting()


def _is_softmax(function: Any) -> bool:
    return getattr(function, "__name__", "") in SOFTMAX


def _checked(function: Any) -> str:
    """The name of a tensor's method written in Python, which the compiler traces by name only."""
    name = str(getattr(function, "__name__", ""))
    try:
        reject_opaque(name, function)
    except CaptureError:
        reject_compiled()
    return name if getattr(function, "__module__", "") == "torch._tensor" else ""


def _is_layer(function: Any) -> bool:
    return function is F.multi_head_attention_forward


# The function without its check for overrides, so that attention inside it is recorded.
LAYER = without_override_check(F.multi_head_attention_forward)
# Its error messages refer to tensors, which a full graph cannot.
LAYER.__globals__["_check_key_padding_mask"] = lambda *_: None
call_while_compiling(_is_layer)
call_while_compiling(_reject_unseen)
call_while_compiling(_path)
call_while_compiling(_number)
call_while_compiling(_from_inputs)
call_while_compiling(_is_exporting)
call_while_compiling(_is_fused)
call_while_compiling(_is_softmax)
call_while_compiling(_checked)


GRAPHS: dict[int, CodeType] = {}
"""The functions of compiled graphs that have called an intercepted function, by identity."""


def kind_of_caller() -> Literal["compiler", "graph", ""]:
    """Whether an intercepted function is called while it is traced, or by a function of `GRAPHS`.

    It is called before `torch.compiler.is_compiling`: in graphs compiled while the mode itself
    calls that, all attributes of a tensor have the value of the first one.
    """
    handler = sys._getframe(1)
    if handler.f_code.co_name == "invoke_and_store_as_constant":
        return "compiler"
    return "graph" if handler.f_back and id(handler.f_back.f_code) in GRAPHS else ""


call_while_compiling(kind_of_caller)


def in_compiled_graph() -> bool:
    """Whether the intercepted function is called by the compiler, or by a graph that it made."""
    if is_compiler_running():
        return True
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and _module(frame) in DISPATCHERS:
        frame = frame.f_back
    if frame is None or not _is_generated(frame):
        return False
    code, outer = frame.f_code, frame
    while id(code) not in GRAPHS:
        if outer.f_code.co_filename.endswith("_dynamo/eval_frame.py"):
            GRAPHS[id(code)] = code
        elif outer.f_back is None:
            return False
        else:
            outer = outer.f_back
    return True


def _is_generated(frame: FrameType) -> bool:
    made_by_fx = frame.f_code.co_filename.startswith("<eval_with_key>")
    return made_by_fx or is_of_inductor(frame)


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__") or ""


# Modules between the caller and an intercepted function.
DISPATCHERS = frozenset(
    ["clearhead.recording._interception"]
    + [f"torch.{x}" for x in ("_ops", "overrides", "nn.functional", "functional", "_tensor")]
)
