"""The module path that a call comes from, and the calls that cannot be recorded."""

import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import takewhile
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from torch import fx, nn

from clearhead.errors import CaptureError
from clearhead.recording._call_numbers import Checkpoints, checkpoints
from clearhead.recording._record import AttentionRecord
from clearhead.recording._torch_internals import (
    OPERATORS,
    SCRIPT_METHOD,
    call_while_compiling,
    graph_task,
    is_of_inductor,
)

# Names of kernels that compute attention in one opaque call.
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


def reject_compiled() -> NoReturn:
    """Raise, from within the compiler."""
    raise CaptureError(COMPILED)


call_while_compiling(reject_compiled)


@cache
def _is_opaque(name: str) -> bool:
    return OPAQUE.search(name) is not None


def reject_opaque(name: str, function: Any) -> None:
    """Raise `CaptureError` if this call is an opaque attention kernel."""
    where = str(function) if isinstance(function, OPERATORS) else name
    if name in OPAQUE_LAYERS or _is_opaque(where):
        raise CaptureError(
            f"{where} computes attention in an opaque kernel; choose another implementation: "
            'attn_implementation="sdpa" or "eager" in transformers, '
            "torch.nn.functional.scaled_dot_product_attention elsewhere"
        )


def nothing_recorded_message(
    done: str, softmaxes: int, unseen: Sequence[tuple[str, str]] = ()
) -> str:
    """The error message for a block without attention.

    `done` is "captured" or "changed"; `softmaxes` counts the calls of softmax in the block;
    `unseen` has path and reason of those that may be attention.
    """
    if unseen:
        count, (path, why) = len(unseen), unseen[0]
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


def _original(path: str) -> str:
    return f"{path}.".replace(COMPILED_PREFIX, "").removesuffix(".")


class CallSite(NamedTuple):
    """The innermost running module, its path from the outermost one, and the frame of its call.

    Module and frame are None outside modules.
    """

    path: str
    module: nn.Module | None
    call: FrameType | None = None


class CallSites:
    """Finds the running module from the Python frames; module paths are read once per model."""

    def __init__(self, outside: FrameType | None) -> None:
        self._outside = outside
        self._paths: dict[int, tuple[nn.Module, dict[int, str]]] = {}
        self.not_intercepted: dict[str, str] = {}

    def here(self, inner: str | None = None) -> CallSite:
        """The innermost running module, by its path from the outermost that contains it.

        In a compiled graph, `inner` is the path from there to the module that made the call.
        """
        running = list(self._running(sys._getframe(1)))
        if inner is not None:
            running = [pair for pair in running if not isinstance(pair[0], fx.GraphModule)]
        if not running:
            return CallSite(inner or "attention", None)
        modules = list(dict.fromkeys(module for module, _ in running))
        call = [frame for _, frame in takewhile(lambda pair: pair[0] is modules[0], running)][-1]
        innermost = _submodule(modules[0], inner)
        # in a backward pass, the outermost module is not running; it is known from before
        roots = [root for root, _ in self._paths.values()] if graph_task() is not None else []
        for outermost in (*roots, *reversed(modules)):
            path = self._paths_of(outermost).get(id(innermost))
            if path is not None:
                return CallSite(path or type(innermost).__name__, innermost, call)
        return CallSite(type(innermost).__name__, innermost, call)

    def checkpoints(self) -> Checkpoints:
        """The checkpointed segments that are running."""
        return checkpoints(self._frames(sys._getframe(1)))

    def innermost(self) -> nn.Module | None:
        """The innermost running module."""
        return next((module for module, _ in self._running(sys._getframe(1))), None)

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
        paths = (table.get(id(module)) for _, table in self._paths.values())
        return next(filter(None, paths), type(module).__name__)

    def clear(self) -> None:
        """Release the models and the frame."""
        self._outside = None
        self._paths.clear()

    def _running(self, frame: FrameType | None) -> Iterator[tuple[nn.Module, FrameType]]:
        """The modules whose methods are running, innermost first, and the frames of these."""
        for of_method in self._frames(frame):
            code = of_method.f_code
            if (
                code.co_argcount
                and code.co_varnames[0] == "self"
                and not is_of_inductor(of_method)  # f_locals would keep its buffers alive
            ):
                owner = of_method.f_locals.get("self")
                if isinstance(owner, nn.Module):
                    yield owner, of_method

    def _frames(self, frame: FrameType | None) -> Iterator[FrameType]:
        while frame is not None and frame is not self._outside:
            yield frame
            frame = frame.f_back

    def _paths_of(self, root: nn.Module) -> dict[int, str]:
        known = self._paths.get(id(root))
        if known is None or known[0] is not root:
            paths = {module: path for path, module in root.named_modules()}
            known = (
                root,
                {id(module): _original(path) for module, path in paths.items()},
            )
            self._paths[id(root)] = known
        return known[1]


def _submodule(module: nn.Module, path: str | None) -> nn.Module:
    """The module at a path; the one where the path begins, if there is none."""
    if not path:
        return module
    try:
        return module.get_submodule(path)
    except AttributeError:
        return module


ATTENTION_LAYER = re.compile("attention|attn", re.IGNORECASE)


class PartsOfCalls:
    """Finds records that are parts of one attention: blocks of tokens, or landmarks.

    One call of a layer named as attention computes them, for different numbers of queries, or for
    more than two numbers of keys (two are self-attention and cross-attention).
    """

    def __init__(self) -> None:
        self._site: CallSite | None = None  # kept, so that no other call is taken for it
        self._records: list[tuple[str, tuple[int, int]]] = []
        self._parts: dict[str, list[tuple[str, tuple[int, int]]]] = {}

    def add(self, site: CallSite, record: AttentionRecord) -> None:
        """Note a record and the call that computed it."""
        if site.call is None or not ATTENTION_LAYER.search(type(site.module).__name__):
            return
        if self._site is None or self._site[1:] != site[1:]:  # one graph calls several modules
            self._site, self._records = site, []
        self._records.append((record.name, (record.query.shape[-2], record.value.shape[-2])))
        sizes = {size for _, size in self._records}
        if len(sizes) > 2 or len({size[0] for size in sizes}) > 1:
            self._parts[self._records[0][0]] = self._records

    def by_path(self) -> dict[str, tuple[str, ...]]:
        """The names of the parts, by the path of the module."""
        return {path: tuple(name for name, _ in parts) for path, parts in self._parts.items()}

    def clear(self) -> None:
        """Release the call."""
        self._site = None
