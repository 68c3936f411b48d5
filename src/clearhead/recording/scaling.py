"""Constants that queries, keys or scores are multiplied by: they belong to the scale."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Factor = float | Tensor

MULTIPLY = frozenset("mul mul_ __mul__ __rmul__ __imul__ multiply".split())
DIVIDE = frozenset("div div_ __truediv__ __itruediv__ __div__ true_divide divide".split())


def factor_of_call(name: str, args: Sequence[Any], x: Tensor) -> Factor | None:
    """What a call multiplies `x` by, if that is one number for each matrix; None otherwise."""
    if (name not in MULTIPLY and name not in DIVIDE) or len(args) != 2:
        return None
    other = args[1] if args[0] is x else args[0]
    if name in DIVIDE and args[0] is not x:
        return None
    if isinstance(other, Tensor):
        if other.dim() and (other.dim() < 3 or other.shape[-2:] != (1, 1) or other.dim() > x.dim()):
            return None
        return 1.0 / other if name in DIVIDE else other
    if isinstance(other, bool) or not isinstance(other, int | float) or not math.isfinite(other):
        return None
    if name in DIVIDE:
        return 1.0 / other if other else None
    return float(other)


def divided(x: Tensor, factor: Factor) -> Tensor:
    """`x` as it was before it was multiplied by `factor`."""
    if not isinstance(factor, Tensor) and factor in (0.0, 1.0):
        return x
    precise = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return precise / factor
