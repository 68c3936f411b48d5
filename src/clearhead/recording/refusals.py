"""What cannot be seen from Python: each is refused at once, with a way out."""

import re
from typing import Any, NoReturn

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
