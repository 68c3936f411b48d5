"""Context managers that record attention, or replace its output, while a model runs."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from types import TracebackType
from typing import NoReturn

from jaxtyping import Float
from torch import Tensor

from clearhead.errors import CaptureError, ConfigError, InputError, NothingCapturedError
from clearhead.recording._call_site import why_nothing
from clearhead.recording._interception import Watch
from clearhead.recording._record import AttentionRecord, map_tensors
from clearhead.recording._recording import Recording

Layers = str | int | Sequence[str | int] | None


class Selection:
    """Names, shell patterns and indices; None keeps everything.

    Indices count calls, in their order; negative ones count from the last, which is known only at
    the end, so that until then all are kept. `names` are those of the calls so far.
    """

    def __init__(self, layers: Layers) -> None:
        chosen = [layers] if isinstance(layers, str | int) else layers
        _check(chosen)
        self._everything = chosen is None
        self._patterns = [x for x in chosen or () if isinstance(x, str)]
        self._indices = [x for x in chosen or () if isinstance(x, int)]
        self.waits = any(index < 0 for index in self._indices)
        self.names: list[str] = []

    def wants(self, name: str) -> bool:
        """Whether to keep the call that comes now, as far as is known."""
        self.names.append(name)
        return self._everything or self.waits or self._chooses(name, len(self.names) - 1)

    def keeps(self, name: str) -> bool:
        """Whether to keep a call, now that all are known."""
        place = self.names.index(name)
        return self._everything or any(
            self._chooses(name, number) for number in (place, place - len(self.names))
        )

    def check(self) -> None:
        """Raise `CaptureError` for a choice that chose nothing."""
        count, names = len(self.names), ", ".join(self.names)
        for pattern in self._patterns:
            if not any(_fits(name, pattern) for name in self.names):
                raise CaptureError(f"layers={pattern!r} fits no attention; there were {names}")
        for index in self._indices:
            if not -count <= index < count:
                raise CaptureError(
                    f"layers={index} is out of range; there were {count} attentions: {names}"
                )

    def _chooses(self, name: str, place: int) -> bool:
        return place in self._indices or any(_fits(name, pattern) for pattern in self._patterns)


def _check(chosen: Sequence[str | int] | None) -> None:
    if chosen is None:
        return
    parts = list(chosen) if isinstance(chosen, Sequence) else [chosen]
    wrong = [x for x in parts if isinstance(x, bool) or not isinstance(x, str | int)]
    if wrong or not parts:
        raise ConfigError(
            f"layers takes names, patterns and indices, at least one, got {chosen!r}; leave it out "
            "to keep every layer"
        )


def _fits(name: str, pattern: str) -> bool:
    base, _, _ = name.partition("#")
    return fnmatchcase(name, pattern) or fnmatchcase(base, pattern)


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
