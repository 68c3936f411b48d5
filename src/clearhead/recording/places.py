"""Where in a model a call comes from, read from the Python frames that led to it."""

import sys
from types import FrameType
from typing import Any, NamedTuple

from torch import Tensor, nn

from clearhead.recording.layout import Heads
from clearhead.recording.refusals import refuse_scripted

# How modules of the libraries in use call the number of their heads.
HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")

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


def find_heads(module: nn.Module | None, x: Tensor) -> Heads:
    """Where the heads of these queries are, as far as the module says.

    It says so by its number of heads; where they share an axis with the batch, also by its widths:
    the last axis must then be one head's share.
    """
    count = next((n for n in (_number(module, name) for name in HEADS) if n), None)
    if count is not None and x.dim() == 5:
        return Heads(before_windows=x.shape[-3] != count == x.shape[1])
    if count is None or x.dim() != 3 or x.shape[0] % count:
        return Heads()
    width = _number(module, "embed_dim") or _number(module, "hidden_size")
    head_dim = _number(module, "head_dim") or (width and width // count)
    return Heads(count) if head_dim is None or head_dim == x.shape[-1] else Heads()


def _number(module: Any, name: str) -> int | None:
    number = getattr(module, name, None)
    return number if isinstance(number, int) and not isinstance(number, bool) else None
