"""Attention inside compiled graphs, which return the tensors of its calls beside their results."""

import operator
import re
from collections.abc import Callable
from threading import local
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from clearhead import attention
from clearhead.errors import CaptureError
from clearhead.recording._call_site import BATCHED, reject_compiled, reject_opaque
from clearhead.recording._explicit import OperationTracker
from clearhead.recording._history import SOFTMAX
from clearhead.recording._operation import is_in_place
from clearhead.recording._record_of_call import FusedCall
from clearhead.recording._torch_internals import (
    DisableInterception,
    call_while_compiling,
    copied,
    function_modes,
    is_batched,
    is_wrapped,
    set_modes,
    storage_of,
    unwrapped,
    without_override_check,
)

FUSED = "scaled_dot_product_attention"

if TYPE_CHECKING:
    from clearhead.recording._interception import InterceptionMode


class _Active(local):
    def __init__(self) -> None:
        self.recorders: list[InterceptionMode] = []
        self.in_graph = False


ACTIVE = _Active()
"""The active modes of each thread, and whether a compiled graph is running in it."""


def without_recorders(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that runs a graph, whose calls are not intercepted, as it is recorded as a whole.

    Other modes, such as a default device, are still active in it.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        if not ACTIVE.recorders:
            return function(*args, **kwargs)
        modes, before, ACTIVE.in_graph = function_modes(), ACTIVE.in_graph, True
        set_modes([mode for mode in modes if mode not in ACTIVE.recorders])
        try:
            return function(*args, **kwargs)
        finally:
            ACTIVE.in_graph = before
            set_modes(modes)

    return call


# The compiler takes this function for one call, as that of torch.
OURS = copied(attention.scaled_dot_product_attention)

# The layer of torch that it takes for one call too; the calls of this copy are in the graph.
LAYER = without_override_check(F.multi_head_attention_forward)
# Its error messages refer to tensors, which a full graph cannot.
LAYER.__globals__["_check_key_padding_mask"] = lambda *_: None


def traced_call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call as the compiler traces it."""
    kind, method = _kind_of_call(function)
    if kind == "ours":
        return OURS(*args, **kwargs)
    if kind == "layer":
        return LAYER(*args, **kwargs)
    return getattr(args[0], method)(*args[1:], **kwargs) if method else function(*args, **kwargs)


@call_while_compiling
def _kind_of_call(function: Callable[..., Any]) -> tuple[str, str]:
    """Which copy to call instead, and the name of the method if it is one of `torch._tensor`.

    The compiler traces these methods, which are written in Python, by name only. Raises
    `CaptureError` for attention in an export.
    """
    name = str(getattr(function, "__name__", ""))
    if torch.compiler.is_exporting() and (name in SOFTMAX or _is_opaque(name, function)):
        reject_compiled()
    if function is attention.scaled_dot_product_attention:
        torch.compiler.allow_in_graph(OURS)
        return "ours", ""
    if function is F.multi_head_attention_forward:
        return "layer", ""
    return "", name if getattr(function, "__module__", "") == "torch._tensor" else ""


def _is_opaque(name: str, function: Any) -> bool:
    try:
        reject_opaque(name, function)
    except CaptureError:
        return True
    return False


class GraphCall(NamedTuple):
    """A fused call in a graph, whose arguments and output are nodes, in a module at a path."""

    arguments: FusedCall
    output: fx.Node
    path: str


def recording_compiler(original: Callable[..., Any]) -> Callable[..., Any]:
    """The compiler's method that calls a backend, with records of the graph's attention."""

    def call(self: Any, graph: fx.GraphModule, *args: Any) -> Any:
        is_recorded = any(mode in ACTIVE.recorders for mode in self.torch_function_mode_stack)
        calls = _fused_calls(graph) if is_recorded else []
        if not calls:
            return original(self, graph, *args)
        num_results, returned = _return_tensors(graph.graph, calls)
        graph.recompile()
        compiled = without_recorders(original(self, graph, *args))

        def run(*inputs: Any) -> Any:
            results = compiled(*inputs)
            with DisableInterception():
                added = zip(returned, results[num_results:], strict=True)
                detached = ((x, y.detach() if isinstance(y, Tensor) else y) for x, y in added)
                values = {x.node: y.clone() if x.is_copied else y for x, y in detached}
                made: Any = fx.node.map_arg(calls, values.__getitem__)
            if any(call.arguments.dropout_p for call in made):  # its random numbers are unknown
                reject_compiled()
            for recorder in ACTIVE.recorders:
                recorder.compiled_calls(made)
            return results[:num_results]

        return run

    return call


def _fused_calls(graph: fx.GraphModule) -> list[GraphCall]:
    """The fused calls of a graph; raises `CaptureError` if it has attention that is not recorded.

    That is attention in separate operations, or in the graphs of checkpointed layers and branches.
    """
    graphs = [x.graph for x in graph.modules() if isinstance(x, fx.GraphModule)]
    own, *others = [[node for node in x.nodes if _name(node) == FUSED] for x in graphs]
    if any(others) or any(map(_has_other_attention, graphs)):
        reject_compiled()
    if any(is_batched(x.meta["example_value"]) for x in own):
        raise CaptureError(BATCHED)
    return [GraphCall(FusedCall(*x.args, **x.kwargs), x, _path(x)) for x in own]


class Returned(NamedTuple):
    """A value that a graph returns, and whether it is copied after each run."""

    node: fx.Node
    is_copied: bool


def _return_tensors(graph: fx.Graph, calls: list[GraphCall]) -> tuple[int, list[Returned]]:
    """Let a graph return the values of calls, in which nodes are replaced by the returned ones.

    Tensors that it changes after the call are copied there; after each run, those that share memory
    with inputs of the graph, such as caches, and all on CUDA, where graphs use their memory again.
    Returns the number of the graph's own results, and the values after these.
    """
    nodes = list(graph.nodes)
    inputs = {_memory(x) for x in nodes if x.op in ("placeholder", "get_attr")}
    output = next(iter(graph.find_nodes(op="output")))
    results = {_memory(x) for x in output.all_input_nodes}
    returned: list[Returned] = []
    for i, call in enumerate(calls):
        later = nodes[nodes.index(call.output) :]
        in_place = [x for x in later if is_in_place(_name(x))]
        changed = {_memory(y) for x in in_place for y in x.all_input_nodes}
        is_transformed = is_wrapped(call.output.meta["example_value"])  # as in torch.func.grad
        values: dict[fx.Node, fx.Node] = {}
        with graph.inserting_before(call.output.next):
            for node in dict.fromkeys((*call.arguments, call.output)):
                if not isinstance(node, fx.Node):
                    continue
                value, memory, x = node, _memory(node), node.meta.get("example_value")
                if isinstance(x, Tensor):
                    value = graph.call_method("detach", (value,))
                    # with gradients, a compiled graph cannot return two views of the same memory
                    if memory in changed | results or _has_changed(x):
                        value = graph.call_method("clone", (value,))
                    if is_transformed:
                        value = graph.call_function(unwrapped, (value,))
                values[node] = value
                is_copied = isinstance(x, Tensor) and (x.is_cuda or memory in inputs)
                returned.append(Returned(value, is_copied))
        calls[i] = fx.node.map_arg(call, values.__getitem__)
    (own,) = output.args
    output.args = ((*own, *(x.node for x in returned)),)
    return len(own), returned


def _has_other_attention(graph: fx.Graph) -> bool:
    """Whether a graph has attention that is no fused call.

    Its calls are followed as those of eager mode, on tensors without data.
    """
    tracker, value = OperationTracker(lambda: None), _WithoutData()
    for node in graph.nodes:
        name = _name(node)
        if node.op not in ("call_function", "call_method") or name == FUSED:
            continue
        if _is_opaque(name, node.target):
            return True
        with DisableInterception():
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), value)
            result = value(node)
            if name in ("softmin", "gumbel_softmax"):
                name, args, kwargs = "softmax", args[:1], {"dim": kwargs.get("dim", -1)}
            _, completed = tracker.call(name, lambda *_, result=result, **__: result, args, kwargs)
        if completed is not None:
            return True
    return any(
        x.refusal or (x.multiplied and x.why_unrecorded() is not None) for x in tracker.softmaxes
    )


class _WithoutData:
    """The values of nodes; of a tensor, one of its shape without data."""

    def __init__(self) -> None:
        self._tensors: dict[int, tuple[Any, Tensor]] = {}  # by the examples of the graph

    def __call__(self, node: fx.Node) -> Any:
        return fx.node.map_aggregate(node.meta.get("example_value"), self._of)

    def _of(self, x: Any) -> Any:
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


def _name(node: fx.Node) -> str:
    """The name of the called function, as in eager mode; operators carry an overload."""
    target = node.target
    if target is getattr:
        return str(node.args[1])
    name = target if isinstance(target, str) else str(getattr(target, "__name__", ""))
    name = name.partition(".")[0]
    return f"__{name}__" if getattr(operator, name, None) is target else name


def _memory(node: Any) -> int | None:
    """An identifier of the storage of a node's tensor; None for other values."""
    x = node.meta.get("example_value") if isinstance(node, fx.Node) else None
    return storage_of(x) if isinstance(x, Tensor) else None


def _has_changed(x: Any) -> bool:
    """Whether the graph changes a tensor in place, by any call; unknown in inference mode: True."""
    return isinstance(x, Tensor) and (x.is_inference() or x._version > 0)


def _path(node: fx.Node) -> str:
    """The path of the calling module from the module or variable where the graph begins."""
    modules = list(node.meta.get("nn_module_stack", {}).values())
    # L['self'].attn, or L['args'][0].attn in a decorated method
    path = str(modules[-1][0]) if modules else ""
    path = path.replace("getattr(", "")  # getattr(G['net'].blocks, '0').attn
    path = re.sub(r"^[A-Z]\[[^]]*\](?<='args'\])\[0\]|^[A-Z]\[[^]]*\]", "", path)
    return ".".join(re.findall(r"[^.\[\]'\"(), ]+", path))
