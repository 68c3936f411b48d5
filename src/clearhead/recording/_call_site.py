"""The module path that a call comes from, and the calls that cannot be recorded."""

import re
import sys
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import torch
from torch import jit, nn

from clearhead.errors import CaptureError

# Names of kernels that compute attention out of sight.
HIDDEN = re.compile(r"attention|attn|fmha|flash|multi_head|multihead", re.IGNORECASE)
HIDDEN_LAYERS = ("_transformer_encoder_layer_fwd", "_transformer_decoder_only_layer_fwd")

COMPILED = (
    "this attention runs inside a compiled graph (torch.compile, flex attention, torch.export), "
    "which nothing can look into; capture the model before compiling it, or call the compiled one "
    'inside torch.compiler.set_stance("force_eager"); for flex attention use '
    "scaled_dot_product_attention with a mask"
)

NESTED = (
    "this attention runs on nested tensors, whose rows differ in length; pad them and give a mask "
    "(in nn.TransformerEncoder: enable_nested_tensor=False)"
)

SCRIPTED = (
    "part of this model is TorchScript ({}), which nothing can look into; capture the model it was "
    "scripted from"
)


def refuse_compiled() -> NoReturn:
    """Raise, from within the compiler."""
    raise CaptureError(COMPILED)


# The compiler calls what is marked so, where it only reads everything else. This is what
# `torch.compiler.assume_constant_result` does, without importing the compiler (2 s).
refuse_compiled._dynamo_marked_constant = True  # type: ignore[attr-defined]


def refuse_scripted(root: nn.Module) -> None:
    """Raise `CaptureError` if a part of this model is TorchScript."""
    for path, module in root.named_modules():
        if isinstance(module, jit.ScriptModule):
            raise CaptureError(SCRIPTED.format(path or type(module).__name__))


def refuse_hidden(name: str, function: Any) -> None:
    """Raise `CaptureError` if this call is an attention kernel that shows nothing of its inside."""
    where = str(function) if isinstance(function, _OPERATORS) else name
    if name in HIDDEN_LAYERS or HIDDEN.search(where):
        raise CaptureError(
            f"{where} computes attention in a kernel of its own, which shows nothing of its "
            'inside; choose another: attn_implementation="sdpa" or "eager" in transformers, '
            "torch.nn.functional.scaled_dot_product_attention elsewhere"
        )


def why_nothing(done: str, softmaxes: int) -> str:
    """Why nothing was captured, or changed, in a block with so many calls of softmax."""
    if softmaxes:
        found = (
            f"{softmaxes} calls of softmax passed, but none between a product of queries and keys "
            "and a product with values"
        )
    else:
        found = "no softmax and no attention function passed"
    return (
        f"nothing was {done}: {found}. Either this model has no attention, or it did not run "
        "inside the block, in this thread, in eager mode: TorchScript and other processes cannot "
        "be looked into"
    )


_OPERATORS = (torch._ops.OpOverload, torch._ops.OpOverloadPacket, torch._ops.HigherOrderOperator)


# Between a compiled module and the one that it was made from.
COMPILED_PREFIX = "_orig_mod."


class Place(NamedTuple):
    """The path of the module at work below the outermost one; both None outside any module."""

    path: str
    module: nn.Module | None


class Places:
    """Names modules by their path, each model read once."""

    def __init__(self, outside: FrameType | None) -> None:
        self._outside = outside
        self._paths: dict[int, tuple[nn.Module, dict[int, str]]] = {}

    def here(self) -> Place:
        """The innermost module at work, by its path from the outermost that holds it."""
        modules = self._modules_at_work()
        if not modules:
            return Place("attention", None)
        innermost = modules[0]
        for outermost in reversed(modules):
            path = self._paths_of(outermost).get(id(innermost))
            if path is not None:
                return Place(path or type(innermost).__name__, innermost)
        return Place(type(innermost).__name__, innermost)

    def forget(self) -> None:
        """Let go of the models and of the frame."""
        self._outside = None
        self._paths.clear()

    def _modules_at_work(self) -> list[nn.Module]:
        """The modules whose methods are running, the innermost first."""
        modules: list[nn.Module] = []
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame is not self._outside:
            code = frame.f_code
            if code.co_argcount and code.co_varnames[0] == "self":
                owner = frame.f_locals.get("self")
                if isinstance(owner, nn.Module) and not (modules and modules[-1] is owner):
                    modules.append(owner)
            frame = frame.f_back
        return modules

    def _paths_of(self, root: nn.Module) -> dict[int, str]:
        known = self._paths.get(id(root))
        if known is None or known[0] is not root:
            refuse_scripted(root)
            known = (
                root,
                {
                    id(module): path.replace(COMPILED_PREFIX, "")
                    for path, module in root.named_modules()
                },
            )
            self._paths[id(root)] = known
        return known[1]
