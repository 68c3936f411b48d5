"""The context manager that captures attention."""

import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import NoReturn

from torch import Tensor

from clearhead.errors import NothingCapturedError
from clearhead.recording.captured import Recording
from clearhead.recording.layers import Layers, Selection
from clearhead.recording.record import AttentionRecord, map_tensors
from clearhead.recording.refusals import why_nothing
from clearhead.recording.watch import Watch


class capture(AbstractContextManager[Recording]):  # noqa: N801, used like a function
    """Capture every attention that is computed inside the block, in any PyTorch model.

    Example:
        with clearhead.capture() as seen:
            logits = model(images)
        seen["blocks.3.attn"].weights
        seen.verify()

    The model stays as it is. `layers` picks what is kept: names, shell patterns ("blocks.*.attn"),
    indices in the order of the calls, or several of these. With `gradients` the records hang on the
    autograd graph, which then lives as long as they do. With `copies` they keep copies, for models
    that overwrite queries, keys or values in place, as caches do.

    Raises `CaptureError` at once where attention cannot be seen (compiled graphs, TorchScript,
    kernels of other libraries), and `NothingCapturedError` at the end of a block without any.
    """

    def __init__(
        self, layers: Layers = None, *, gradients: bool = False, copies: bool = False
    ) -> None:
        Selection(layers)  # raises at once what is wrong with it
        self._layers = layers
        self._gradients = gradients
        self._copies = copies

    def __getattr__(self, name: str) -> NoReturn:
        hint = "" if name.startswith("_") else "; use it as: with clearhead.capture() as seen: ..."
        raise AttributeError(f"a capture has no attribute {name!r}{hint}")

    def __enter__(self) -> Recording:
        self._selection = Selection(self._layers)
        self._records: dict[str, AttentionRecord] = {}
        self._seen = Recording()
        self._watch = Watch(self._keep, sys._getframe(1))
        self._watch.__enter__()  # type: ignore[no-untyped-call]
        return self._seen

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        watch, selection = self._watch, self._selection
        softmaxes = watch.explicit.softmaxes
        watch.forget()
        self._seen._records = {n: r for n, r in self._records.items() if selection.keeps(n)}
        del self._watch, self._seen, self._records  # records live as long as someone holds them
        watch.__exit__(kind, error, trace)
        if error is None:
            if not selection.names:
                raise NothingCapturedError(why_nothing("captured", softmaxes))
            selection.check()

    def _keep(self, record: AttentionRecord) -> Tensor | None:
        if self._selection.wants(record.name):
            self._records[record.name] = map_tensors(record, self._kept)
        return None

    def _kept(self, x: Tensor) -> Tensor:
        if not self._gradients:
            x = x.detach()
        return _copy(x) if self._copies else x


def _copy(x: Tensor) -> Tensor:
    """A copy that is no larger than what lies behind an expanded tensor."""
    once = x[tuple(slice(1) if stride == 0 else slice(None) for stride in x.stride())]
    return once.clone().expand(x.shape)
