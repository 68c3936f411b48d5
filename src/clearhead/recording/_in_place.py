"""Histories of tensors that are changed in place, also through views."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from clearhead.recording._history import History
from clearhead.recording._layout import UNCHANGING, Step, run
from clearhead.recording._tables import WeakTable
from clearhead.recording._torch_internals import storage_of

MAX_STEPS = 64


class Histories(WeakTable[Tensor, History]):
    """The histories of tracked tensors; `on_loss` is called with those that become unknown."""

    def __init__(self, on_loss: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self._on_loss = on_loss

    def keep(self, x: Tensor, history: History) -> None:
        """Set the history of a tensor, unless it is too long to be that of attention."""
        if len(history.pre_softmax) + len(history.post_softmax) <= MAX_STEPS:
            self.put(x, history)

    def in_memory_of(self, x: Any) -> list[Tensor]:
        """Other tracked tensors that are views of a tensor, or of which it is a view."""
        storage = storage_of(x) if isinstance(x, Tensor) else None
        if storage is None:
            return []
        tracked = (reference() for reference, _ in list(self.values()))
        return [y for y in tracked if y is not None and y is not x and storage_of(y) == storage]

    def change(self, step: Step, x: Tensor, others: Sequence[Tensor]) -> None:
        """Follow a change in place of a tensor, in itself and in others in the same memory."""
        tensors = [y for y in (x, *others) if self.of(y) is not None]
        histories = _changed(step, [self[id(y)][1] for y in tensors])
        if histories is None:
            self.lose(tensors, step.name)
        else:
            for y, history in zip(tensors, histories, strict=True):
                self.keep(y, history)

    def lose(self, tensors: Iterable[Tensor], name: str) -> None:
        """Forget tensors that a call has changed in a way that is not followed."""
        for x in tensors:
            history = self.of(x)
            if history is not None:
                self.forget(x)
                if history.softmax is not None:
                    history.softmax.refusal = f"{name} changes a part of its weights in place"
                self._on_loss(f"{name} of a part of them in place", x)


def _changed(step: Step, histories: Sequence[History]) -> list[History] | None:
    """Histories of tensors in one memory after a change in place of the first; None if unknown.

    They have their first steps in common. The change follows these, in the view that the further
    steps of the first tensor make, and before the further steps of each.
    """
    first, count = histories[0], 0
    if any(x.product is not first.product or x.form != first.form for x in histories):
        return None
    for steps in zip(*(x.steps for x in histories), strict=False):
        if any(x is not steps[0] for x in steps):
            break
        count += 1
    views = [x for x in first.steps[count:] if x.name not in UNCHANGING]
    if not all(x.is_layout_only or x.is_selection for x in views):
        return None
    if views:
        function = partial(_in_view, views, step.function)
        step = replace(step, name="__setitem__", function=function)
    return [x.with_step(step, count) for x in histories]


def _in_view(
    views: Sequence[Step], function: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    function(run(views, x), *args, **kwargs)
    return x
