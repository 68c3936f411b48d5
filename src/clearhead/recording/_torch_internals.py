"""The private parts of torch that recording needs; the package uses no others."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

OperatorOverload = torch._ops.OpOverload
OPERATORS = (torch._ops.OpOverload, torch._ops.OpOverloadPacket, torch._ops.HigherOrderOperator)
DisableInterception = torch._C.DisableTorchFunction
"""A context manager in which calls do not reach `__torch_function__`."""


def version_of(x: Tensor) -> int:
    """How often a tensor was changed in place."""
    return x._version


def call_while_compiling(function: Callable[..., Any]) -> None:
    """Make the compiler call a function, where it only traces any other.

    The same as `torch.compiler.assume_constant_result`, without importing the compiler (2 s).
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
