"""Change attention on its way, in any model: the interception of `capture`, with an answer."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor

from clearhead.capture.layers import Layers, Selection
from clearhead.capture.record import Attention
from clearhead.capture.watch import Watch

Change = Callable[[Attention], Float[Tensor, "*batch heads queries value_dim"] | None]


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
    selection = Selection(layers)

    def found(record: Attention) -> Tensor | None:
        return change(record) if selection.wants(record.name) else None

    watch = Watch(found, sys._getframe(2))
    try:
        with watch:
            yield
    finally:
        watch.explicit.forget()
        watch.places.forget()
    selection.check()
