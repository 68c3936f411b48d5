"""Constant factors of tensors, such as the scale of attention on its queries."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from clearhead.attention.stages import at_least_float32
from clearhead.recording._operation import Operation
from clearhead.recording._tables import WeakTable

Factor = float | Tensor

MULTIPLY = frozenset("mul mul_ __mul__ __rmul__ __imul__ multiply".split())
DIVIDE = frozenset("div div_ __truediv__ __itruediv__ __div__ true_divide divide".split())


def factor_of_call(name: str, args: Sequence[Any], x: Tensor) -> Factor | None:
    """The factor that a call multiplies `x` by, if it is one number per matrix; else None."""
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
    """`x` before the multiplication by `factor`."""
    if not isinstance(factor, Tensor) and factor in (0.0, 1.0):
        return x
    return at_least_float32(x) / factor


class Factors(WeakTable[Tensor, Factor]):
    """The factors that tensors were multiplied by, also before changes of layout in `moves`."""

    def __init__(self, moves: frozenset[str]) -> None:
        super().__init__()
        self._moves = moves

    def __call__(self, x: Tensor) -> Factor:
        """The constant factor that `x` was multiplied by."""
        known = self.of(x)
        return 1.0 if known is None else known

    def follow(self, call: Operation) -> None:
        """Store the factor of the result of a call."""
        name, result = call.name, call.result
        if not self and name not in MULTIPLY and name not in DIVIDE:
            return
        if not isinstance(result, Tensor) or not result.is_floating_point():
            return
        for x in call.args[:2]:
            if isinstance(x, Tensor) and x.dim() >= 2:
                factor = self(x)
                multiplier = factor_of_call(name, call.args, x)
                if multiplier is not None:
                    factor = factor * multiplier
                elif name not in self._moves or (isinstance(factor, Tensor) and factor.dim()):
                    if result is x:  # changed in place
                        self.forget(x)
                    continue
                if isinstance(factor, Tensor) or factor != 1.0:
                    self.put(result, factor)
                return
