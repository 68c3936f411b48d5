"""Change attention on its way, in any model: the interception of `capture`, with an answer."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor

from clearhead.errors import CaptureError, ConfigError, InputError, NothingCapturedError
from clearhead.recording.layers import Layers, Selection
from clearhead.recording.record import AttentionRecord
from clearhead.recording.refusals import why_nothing
from clearhead.recording.watch import Watch

Change = Callable[[AttentionRecord], Float[Tensor, "*batch heads queries value_dim"] | None]


@contextmanager
def intervene(change: Change, layers: Layers = None) -> Iterator[None]:
    """Inside the block, the model goes on with what `change` gives instead of attention's output.

    `change` gets each record as `capture` would keep it (its gradients live) and gives a new
    output in the shape of `record.output`, or None to leave it. `layers` as in `capture`, without
    negative indices. Removing head 2 of a layer:

        def remove(seen):
            output = seen.output.clone()
            output[:, 2] = 0
            return output

        with clearhead.intervene(remove, layers="blocks.3.attn"):
            logits = model(images)
    """
    if not callable(change):
        raise ConfigError(f"intervene takes a function of a record, got {change!r}")
    selection = Selection(layers)
    if selection.waits:
        raise CaptureError(
            f"layers={layers!r} has negative indices, which are known only after the last layer; "
            "count from the first, or give names"
        )
    caller = sys._getframe(2)  # behind this generator and contextlib

    def found(seen: AttentionRecord) -> Tensor | None:
        try:
            return change(seen) if selection.wants(seen.name) else None
        except TypeError as error:  # Python's @ would take it for its own, and say something else
            raise InputError(f"{seen.name}: the intervening function failed: {error}") from error

    watch = Watch(found, caller)
    try:
        with watch:
            yield
    finally:
        softmaxes = watch.explicit.softmaxes
        watch.forget()
    if not selection.names:
        raise NothingCapturedError(why_nothing("changed", softmaxes))
    selection.check()
