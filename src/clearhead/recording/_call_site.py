"""The module path that a call comes from, and the calls that cannot be recorded."""

import re
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cache
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from torch import fx, nn

from clearhead.errors import CaptureError
from clearhead.recording._call_numbers import Checkpoints
from clearhead.recording._tables import WeakTable
from clearhead.recording._torch_internals import (
    CHECKPOINTING,
    OPERATORS,
    SCRIPT_METHOD,
    call_while_compiling,
    checkpoint_of,
    graph_task,
    is_of_inductor,
    sequence_of,
)

OPAQUE = re.compile(r"attention|attn|fmha|flash|multi_head|multihead", re.IGNORECASE)
OPAQUE_LAYERS = ("_transformer_encoder_layer_fwd", "_transformer_decoder_only_layer_fwd")

COMPILED = (
    "this attention runs inside a compiled graph (torch.compile, flex attention, torch.export), "
    "where only scaled_dot_product_attention is recorded, without dropout, gradients=True or "
    'intervene; use scaled_dot_product_attention in the model (attn_implementation="sdpa" in '
    "transformers), capture the model before compiling it, or call the compiled model inside "
    'torch.compiler.set_stance("force_eager"), which runs its original code'
)

NESTED = (
    "this attention runs on nested tensors, whose rows differ in length; pad them and pass a mask "
    "(in nn.TransformerEncoder: enable_nested_tensor=False)"
)

BATCHED = (
    "this attention runs inside torch.vmap, whose entries cannot be recorded one by one; call the "
    "model on a batch instead"
)

SCRIPTED = (
    "part of this model is TorchScript ({}), which cannot be intercepted; capture the model "
    "that it was scripted from"
)

SCRIPTED_FUNCTION = "its scripted function {} has a softmax, which cannot be intercepted"
PACKAGED = "it calls a package of AOTInductor, which cannot be intercepted"


@call_while_compiling
def reject_compiled() -> NoReturn:
    """Raise `CaptureError` while a graph is compiled."""
    raise CaptureError(COMPILED)


@cache
def is_opaque(name: str) -> bool:
    """Whether this is the name of a kernel that computes attention in one opaque call."""
    return OPAQUE.search(name) is not None


def reject_opaque(name: str, function: Any) -> None:
    """Raise `CaptureError` if this call is an opaque attention kernel."""
    where = str(function) if isinstance(function, OPERATORS) else name
    is_forward = not name.endswith("_backward")  # a graph of the backward pass calls `…_backward`
    if name in OPAQUE_LAYERS or (is_forward and is_opaque(where)):
        raise CaptureError(
            f"{where} computes attention in an opaque kernel; choose another implementation: "
            'attn_implementation="sdpa" or "eager" in transformers, '
            "torch.nn.functional.scaled_dot_product_attention elsewhere"
        )


def nothing_recorded_message(
    done: str, softmaxes: int, unrecorded: Sequence[tuple[str, str]] = ()
) -> str:
    """The error message for a block without attention.

    `done` is "captured" or "changed"; `softmaxes` counts the calls of softmax in the block;
    `unrecorded` has path and reason of those that may be attention.
    """
    if unrecorded:
        count, (path, why) = len(unrecorded), unrecorded[0]
        reason = f"{count} computations with a softmax may be attention; {path}: {why}"
    elif softmaxes:
        reason = (
            f"{softmaxes} calls of softmax ran, but none between a product of queries and keys and "
            "a product with values"
        )
    else:
        reason = "no softmax and no attention function ran"
    return (
        f"nothing was {done}: {reason}. Either this model has no attention, or it did not run "
        "inside the block, in this thread, in eager mode (TorchScript and other processes cannot "
        "be intercepted)"
    )


# What `torch.compile` puts between a compiled module and the original.
COMPILED_PREFIX = "_orig_mod."


class Running(NamedTuple):
    """The modules whose methods are running, innermost first.

    Attributes:
        modules: Each module once.
        call: The frame of the innermost module's call; None outside modules.
        checkpoints: The checkpointed segments that are running.
    """

    modules: list[nn.Module]
    call: FrameType | None
    checkpoints: Checkpoints


class CallSite(NamedTuple):
    """The innermost running module, and its path from the outermost one.

    The module is None outside modules.
    """

    path: str
    module: nn.Module | None
    running: Running


# The raw paths of modules in models that ran before; they may have changed since.
PATHS: WeakTable[nn.Module, dict[int, str]] = WeakTable()


class CallSites:
    """Finds the running module from the Python frames; module paths are read once per model."""

    def __init__(self, outside: FrameType | None) -> None:
        self._outside = outside
        self.roots: dict[int, tuple[nn.Module, bool]] = {}  # and whether their paths were read here
        self.not_intercepted: dict[str, str] = {}
        self._sequences: dict[int, tuple[list[Any], nn.Module]] = {}

    def here(self) -> CallSite:
        """The innermost running module, by its path from the outermost that contains it."""
        return self.within(self.running(sys._getframe(1)))

    def within(self, running: Running, path: str | None = None) -> CallSite:
        """The innermost running module, or the module at a path from there."""
        if not running.modules:
            return CallSite(path or "attention", None, running)
        module = _submodule(running.modules[0], path)
        # in a backward pass, the outermost module is not running; it is known from before
        roots = [root for root, _ in list(self.roots.values())] if graph_task() is not None else []
        known = (self._path_in(root, module) for root in (*roots, *reversed(running.modules)))
        path = next((x for x in known if x is not None), None)
        return CallSite(path or type(module).__name__, module, running)

    def running(self, frame: FrameType | None) -> Running:
        """What is running."""
        modules: dict[int, nn.Module] = {}
        segments: list[Any] = []
        call = repeated = None
        for of_method, owner in self._methods(frame):
            if owner is None:
                if repeated is None:
                    segment, is_repeated = checkpoint_of(of_method)
                    repeated = segment if is_repeated else None
                    segments += [] if is_repeated or segment is None else [segment]
                functions = sequence_of(of_method)
                if functions is not None and modules:
                    sequence = self._sequence(functions)
                    modules[id(sequence)] = sequence
            else:
                modules[id(owner)] = owner
                call = of_method if len(modules) == 1 else call
        return Running(list(modules.values()), call, Checkpoints(tuple(segments), repeated))

    def innermost(self) -> nn.Module | None:
        """The innermost running module."""
        methods = self._methods(sys._getframe(1))
        return next((owner for _, owner in methods if owner is not None), None)

    def scripted_call(self, called: Any) -> None:
        """Note a scripted function with a softmax; raise `CaptureError` for a scripted module."""
        graph = str(called.inlined_graph)
        if "softmax" not in graph and "scaled_dot_product" not in graph:
            return
        path = self.here().path
        if isinstance(called, SCRIPT_METHOD):
            raise CaptureError(SCRIPTED.format(path))
        self.not_intercepted[path] = SCRIPTED_FUNCTION.format(called.name)

    def packaged_call(self) -> None:
        """Note a call of a package of AOTInductor, whose operations are not known."""
        self.not_intercepted[self.here().path] = PACKAGED

    def known_path(self, module: nn.Module | None) -> str:
        """The path of a module in a model that has been running before."""
        if module is None:
            return "attention"
        paths = (self._path_in(root, module) for root, _ in list(self.roots.values()))
        return next(filter(None, paths), type(module).__name__)

    def clear(self) -> None:
        """Release the models and the frame."""
        self._outside = None
        self.roots.clear()
        self._sequences.clear()

    def _methods(self, frame: FrameType | None) -> Iterator[tuple[FrameType, nn.Module | None]]:
        """The running methods of modules, innermost first, and functions of checkpointing."""
        while frame is not None and frame is not self._outside:
            code = frame.f_code
            if code.co_argcount and code.co_varnames[0] == "self":
                if not is_of_inductor(frame):  # f_locals would keep its buffers alive
                    owner = frame.f_locals.get("self")
                    if isinstance(owner, fx.Interpreter):
                        owner = owner.module
                    if isinstance(owner, nn.Module):
                        yield frame, owner
            elif code.co_filename == CHECKPOINTING:
                yield frame, None
            frame = frame.f_back

    def _sequence(self, functions: list[Any]) -> nn.Module:
        """An `nn.Sequential` of these functions, as far as they are modules, for their paths."""
        if id(functions) not in self._sequences:
            children = {str(i): x for i, x in enumerate(functions) if isinstance(x, nn.Module)}
            self._sequences[id(functions)] = functions, nn.Sequential(OrderedDict(children))
        return self._sequences[id(functions)][1]

    def _path_in(self, root: nn.Module, module: nn.Module) -> str | None:
        """The path of a module in another; None if it is not part of it."""
        known, is_read = PATHS.of(root), self.roots.setdefault(id(root), (root, False))[1]
        path = None if known is None else known.get(id(module))
        if path is None or _submodule(root, path) is not module:
            if is_read:
                return None
            known = {id(x): path for path, x in root.named_modules()}
            PATHS.put(root, known)
            self.roots[id(root)] = root, True
            path = known.get(id(module))
        return path and f"{path}.".replace(COMPILED_PREFIX, "").removesuffix(".")


def _submodule(module: nn.Module, path: str | None) -> nn.Module:
    """The module at a path, also in lists and dictionaries; the first one, if there is none."""
    found: Any = module
    for name in path.split(".") if path else ():
        found = _part(found, name)
    return found if isinstance(found, nn.Module) else module


def _part(x: Any, name: str) -> Any:
    if isinstance(x, list | tuple):
        x = dict(enumerate(x))
    if isinstance(x, dict):
        return next((value for key, value in x.items() if str(key) == name), None)
    return getattr(x, name, None)
