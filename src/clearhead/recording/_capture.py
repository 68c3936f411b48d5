"""Context managers that record attention, or replace its output, while a model runs."""

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from types import TracebackType
from typing import NoReturn

from jaxtyping import Float
from torch import Tensor

from clearhead.errors import (
    CaptureError,
    ConfigError,
    InputError,
    NothingCapturedError,
    displayed_index,
)
from clearhead.recording._call_site import nothing_recorded_message
from clearhead.recording._generation import SharedCaches
from clearhead.recording._interception import InterceptionMode
from clearhead.recording._record import AttentionRecord, map_tensors
from clearhead.recording._recording import Recording

Layers = str | int | Sequence[str | int] | None
Change = Callable[[AttentionRecord], Float[Tensor, "*batch heads queries value_dim"] | None]


class capture(AbstractContextManager[Recording]):  # noqa: N801, used like a function
    """Record every attention computed inside the block, in any PyTorch model.

    Example:
        with clearhead.capture() as recording:
            logits = model(images)
        recording["blocks.3.attn"].weights
        recording.verify()

    The model is not modified. Calls of `scaled_dot_product_attention` are recorded, and attention
    written as separate operations (product, softmax, product).

    Args:
        layers: Which layers to keep: module paths, shell patterns ("blocks.*.attn"), indices in
            the order of the calls, or a sequence of these. None keeps every layer.
        gradients: Keep the records on the autograd graph, which then lives as long as they do.
        copies: Keep copies of the tensors, for models that overwrite queries, keys or values in
            place (key-value caches).

    Returns:
        On entering the block, a `Recording` that is filled when the block ends.

    Raises:
        ConfigError: `layers` is not a name, a pattern, an index or a sequence of these.
        CaptureError: Attention runs where it cannot be recorded (TorchScript, kernels of other
            libraries, separate operations in compiled graphs), or `layers` matches no attention.
        NothingCapturedError: The block ended and no attention was computed in it.
    """

    def __init__(
        self, layers: Layers = None, *, gradients: bool = False, copies: bool = False
    ) -> None:
        LayerFilter(layers)  # raises at once if `layers` is invalid
        self._layers = layers
        self._gradients = gradients
        self._copies = copies

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"capture has no attribute {name!r}; use it as: with clearhead.capture() as recording: "
            "..."
        )

    def __enter__(self) -> Recording:
        if "_mode" in self.__dict__:
            raise CaptureError("this capture is already active; make another one: capture()")
        self._filter = LayerFilter(self._layers)
        self._records: dict[str, AttentionRecord] = {}
        self._caches = SharedCaches(self._records)
        self._recording = Recording()
        compiled = not self._gradients
        self._mode = InterceptionMode(self._keep, sys._getframe(1), compiled=compiled)
        self._mode.__enter__()
        return self._recording

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        mode, layer_filter = self._mode, self._filter
        softmaxes, parts, unrecorded = len(mode.tracker.softmaxes), mode.parts(), mode.unrecorded()
        joined = mode.joined()
        mode.clear()
        self._caches.finish()
        recording, refused = self._recording, {name for names in parts.values() for name in names}
        recording._records = {
            name: record
            for name, record in self._records.items()
            if layer_filter.keeps(name) and name not in refused
        }
        recording._unrecorded = tuple(x for x in unrecorded if layer_filter.may_concern(x[0]))
        recording._joined = tuple(x for x in joined if recording._records.keys() >= set(x))
        # the caller alone keeps the records alive
        del self._mode, self._recording, self._records, self._caches
        mode.__exit__(kind, error, trace)
        if error is None:
            if refused.issuperset(layer_filter.names):
                raise NothingCapturedError(
                    nothing_recorded_message("captured", softmaxes, unrecorded)
                )
            layer_filter.check()
            warn_unrecorded(recording._unrecorded, "recorded", "recording.unrecorded lists them")

    def _keep(self, record: AttentionRecord) -> Tensor | None:
        if self._filter.accepts(record.name) and record.name not in self._records:
            record = map_tensors(record, self._stored)
            if not self._gradients:
                self._caches.add(record)
            self._records[record.name] = record
        return None

    def _stored(self, x: Tensor) -> Tensor:
        if not self._gradients:
            x = x.detach()
        return _copy(x) if self._copies else x


def intervene(change: Change, layers: Layers = None) -> AbstractContextManager[None]:
    """Replace the output of attention inside the block, in any PyTorch model.

    Removing head 2 of a layer:

        def remove(record):
            output = record.output.clone()
            output[:, 2] = 0
            return output

        with clearhead.intervene(remove, layers="blocks.3.attn"):
            logits = model(images)

    Args:
        change: A function of one `AttentionRecord`, whose tensors are on the autograd graph. It
            returns a new output of shape (*batch, heads, queries, value_dim), the shape of
            `record.output`, in any number type, or None to leave the output as it is.
        layers: Which layers to change, as in `capture`, without negative indices.

    Returns:
        The context manager for the block.

    Raises:
        ConfigError: `change` is not callable, or `layers` is invalid.
        CaptureError: `layers` has negative indices or matches no attention, or attention runs
            where it cannot be recorded.
        InputError: `change` failed, or returned a tensor of another shape.
        NothingCapturedError: The block ended and no attention was computed in it.
    """
    if not callable(change):
        raise ConfigError(f"intervene expects a function of a record, got {change!r}")
    if LayerFilter(layers).has_negative:
        raise CaptureError(
            f"layers={layers!r} has negative indices, which are known only after the last layer; "
            "count from the first, or give names"
        )
    return _intervention(change, layers)


@contextmanager
def _intervention(change: Change, layers: Layers) -> Iterator[None]:
    layer_filter = LayerFilter(layers)
    caller = sys._getframe(2)  # behind this generator and contextlib

    def on_attention(record: AttentionRecord) -> Tensor | None:
        try:
            return change(record) if layer_filter.accepts(record.name) else None
        except TypeError as error:  # else Python's `@` would report its own error instead
            raise InputError(f"{record.name}: the intervening function failed: {error}") from error

    mode = InterceptionMode(on_attention, caller)
    try:
        with mode:
            yield
    finally:
        softmaxes, unrecorded = len(mode.tracker.softmaxes), mode.unrecorded()
        mode.clear()
    if not layer_filter.names:
        raise NothingCapturedError(nothing_recorded_message("changed", softmaxes, unrecorded))
    layer_filter.check()
    unrecorded = tuple(x for x in unrecorded if layer_filter.may_concern(x[0]))
    warn_unrecorded(unrecorded, "changed", "capture() lists them in recording.unrecorded")


def select_layers(names: Iterable[str], layers: Layers) -> list[str]:
    """The names of attentions that `layers` chooses, in their order.

    Args:
        names: Names of all attentions, as in a recording.
        layers: As in `capture`.

    Returns:
        The chosen names; all of them for None.

    Raises:
        ConfigError: `layers` is invalid.
        CaptureError: A name, a pattern or an index of `layers` fits none.
    """
    layer_filter = LayerFilter(layers)
    for name in names:
        layer_filter.accepts(name)
    layer_filter.check()
    return [name for name in layer_filter.names if layer_filter.keeps(name)]


class LayerFilter:
    """Which attentions to keep, by name, shell pattern or index; None keeps all.

    Indices count calls in their order. A negative index is resolved when all calls are known, so
    until then every call is kept. `names` are those of the calls so far, with their indices.
    """

    def __init__(self, layers: Layers) -> None:
        items = [layers] if isinstance(layers, str | int) else layers
        _check_layers(items)
        self._items = items if items is None else tuple(items)
        self.has_negative = any(isinstance(x, int) and x < 0 for x in self._items or ())
        self.names: dict[str, int] = {}

    def accepts(self, name: str) -> bool:
        """Add a call if it is new, and return whether to keep it for now."""
        index = self.names.setdefault(name, len(self.names))
        return self.has_negative or self._matches(name, index)

    def keeps(self, name: str) -> bool:
        """Whether to keep a call, once all calls are known."""
        index = self.names[name]
        return self._matches(name, index, index - len(self.names))

    def may_concern(self, path: str) -> bool:
        """Whether a module without a record could be among the chosen layers."""
        return any(isinstance(x, int) for x in self._items or ()) or self._matches(path)

    def check(self) -> None:
        """Raise `CaptureError` for a pattern or an index that matched no call."""
        count = len(self.names)
        for item in self._items or ():
            if isinstance(item, int):
                is_known, layer = (
                    -count <= item < count,
                    f"{displayed_index(item)} (counted from {displayed_index(0)})",
                )
            else:
                is_known, layer = any(_name_matches(x, item) for x in self.names), repr(item)
            if not is_known:
                known = ", ".join(self.names) or "none"
                raise CaptureError(f"there is no layer {layer} among the {count}: {known}")

    def _matches(self, name: str, *indices: int) -> bool:
        return self._items is None or any(
            x in indices if isinstance(x, int) else _name_matches(name, x) for x in self._items
        )


def _check_layers(items: Sequence[str | int] | None) -> None:
    if items is None:
        return
    parts = list(items) if isinstance(items, Sequence) else [items]
    wrong = [x for x in parts if isinstance(x, bool) or not isinstance(x, str | int)]
    if wrong or not parts:
        raise ConfigError(
            f"layers takes names, patterns and indices, at least one, got {items!r}; leave it out "
            "to keep every layer"
        )


def warn_unrecorded(unrecorded: Sequence[tuple[str, str]], done: str, advice: str) -> None:
    """Warn of what may be attention and was not recorded, or changed, as a whole."""
    if unrecorded:
        first = "; ".join(f"{path}: {reason}" for path, reason in unrecorded[:3])
        warnings.warn(
            f"{len(unrecorded)} computations with a softmax may be attention and were not {done} "
            f"as a whole: {first}{'; …' if len(unrecorded) > 3 else ''} ({advice})",
            stacklevel=3,
        )


def _name_matches(name: str, pattern: str) -> bool:
    base, _, _ = name.partition("#")
    return fnmatchcase(name, pattern) or fnmatchcase(base, pattern)


def _copy(x: Tensor) -> Tensor:
    """A copy that takes no more memory than the storage of an expanded tensor."""
    compact = x[tuple(slice(1) if stride == 0 else slice(None) for stride in x.stride())]
    return compact.clone().expand(x.shape)
