"""Generation with a key-value cache: one key tensor for all steps, and all steps in one record."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise, takewhile, zip_longest
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clearhead.attention.stages import share_heads
from clearhead.errors import CaptureError
from clearhead.recording._layout import PLACEHOLDER, Layout, Step
from clearhead.recording._record import AttentionRecord, map_tensors, with_fields
from clearhead.recording._torch_internals import Versions
from clearhead.recording._verification import is_masked

MAX_ATTENTIONS = 2  # of a module in one step, as in differential attention


class _Shared(NamedTuple):
    """A tensor of a record as a part of one of later steps: `length` tokens from `start`.

    `dropped` are its first tokens, if the next step lacks them, as in a sliding window.
    """

    axis: int
    length: int
    start: int
    dropped: Tensor | None = None

    def view(self, of: Tensor) -> Tensor:
        """The part of the tensor of later steps."""
        return of.narrow(self.axis, self.start, self.length)

    def next_start(self) -> int:
        """Where the tensor of the next step starts."""
        return self.start + (0 if self.dropped is None else self.dropped.shape[self.axis])


class _Growth(NamedTuple):
    """Records of one cache, oldest first: which of their tensors are parts of those of later ones.

    Masks are parts of those of the next record; keys and values, of which the newest begin at
    `starts`, of all that were in the cache.
    """

    newest: str
    earlier: dict[str, list[_Shared | None]]
    starts: Sequence[int] = (0, 0)


class SharedCaches:
    """Stores the keys, values and masks of a growing cache once, and not again for every step.

    A cache that concatenates makes new tensors in every step, n² · d numbers in the end. Where
    those of one call begin with those of the call before, records of earlier calls become views of
    the newest tensors. So do masks, and biases of relative positions, which end with those before.
    Those of a sliding window become views of all tokens that were in it.
    """

    def __init__(self, records: dict[str, AttentionRecord]) -> None:
        self._records = records
        self._growths: dict[str, list[_Growth]] = {}

    def add(self, record: AttentionRecord) -> None:
        """Compare a new record with the last ones of its module."""
        growths = self._growths.setdefault(base_name(record.name), [])
        added = _Growth(record.name, {})
        for growth in growths:
            before = self._records[growth.newest]
            shared = [] if before.is_modified else _shared_parts(before, record, growth.starts)
            caches = [part for part in shared[:2] if part is not None]
            if len(caches) == 2:
                growths.remove(growth)
                growth.earlier[before.name] = shared
                added = _Growth(record.name, growth.earlier, [x.next_start() for x in caches])
                without = [
                    part and (x.new_empty(0), ())
                    for x, part in zip(_tensors(before), shared, strict=False)
                ]
                self._records[before.name] = _with_tensors(before, without)
                break
        growths.append(added)
        if len(growths) > MAX_ATTENTIONS:
            self._share(growths.pop(0))

    def finish(self) -> None:
        """Complete all records."""
        for growths in self._growths.values():
            for growth in growths:
                self._share(growth)
        self._growths.clear()

    def _share(self, growth: _Growth) -> None:
        later = _with_versions(self._records[growth.newest])
        for i, (x, versions) in enumerate(later[:2]):
            parts = (shared[i] for shared in growth.earlier.values())
            dropped = [part.dropped for part in parts if part and part.dropped is not None]
            later[i] = torch.cat([*dropped, x], dim=-2) if dropped else x, versions
        for name, shared in reversed(growth.earlier.items()):
            record = self._records[name]
            views = [
                part and (part.view(x), versions)
                for part, (x, versions) in zip(shared, later, strict=False)
            ]
            own = zip_longest(views[2:], _with_versions(record)[2:])
            later[2:] = [view or other for view, other in own]
            self._records[name] = _with_tensors(record, views)


def _tensors(record: AttentionRecord) -> list[Tensor]:
    """Keys, values, and masks or other tensors before the softmax."""
    mask = () if record.attn_mask is None else (record.attn_mask,)
    steps = (x for step in record.pre_softmax for x in step.tensors())
    return [record.key, record.value, *mask, *steps]


def _with_versions(record: AttentionRecord) -> list[tuple[Tensor, Versions]]:
    """The `_tensors`, each with its part of the record's versions."""
    versions = {id(x): ((x, version),) for x, version in record.versions}
    return [(x, versions.get(id(x), ())) for x in _tensors(record)]


def _shared_parts(
    record: AttentionRecord, following: AttentionRecord, starts: Sequence[int]
) -> list[_Shared | None]:
    """For each tensor, the part of the next step's tensor that equals it."""
    pairs = zip(_tensors(record), _tensors(following), strict=False)
    kept = following.key.shape[-2] - following.query.shape[-2]
    return [
        _shared_cache(x, new, starts[i], kept) if i < 2 else _shared_mask(x, new)
        for i, (x, new) in enumerate(pairs)
    ]


def _shared_cache(x: Tensor, new: Tensor, start: int, kept: int) -> _Shared | None:
    """Keys or values, of which the next step has all, or the last `kept` tokens."""
    count = x.shape[-2]
    if _equal(new[..., :count, :], x):
        return _Shared(-2, count, start)
    if 0 < kept < count and _equal(new[..., :kept, :], x[..., count - kept :, :]):
        return _Shared(-2, count, start, x[..., : count - kept, :].clone())
    return None


def _shared_mask(x: Tensor, new: Tensor) -> _Shared | None:
    """A mask or bias that is the beginning or the end of that of the next step."""
    count = x.shape[-1] if x.dim() else 0
    if not count or new.dim() != x.dim() or new.shape[-1] < count:
        return None
    parts = (_Shared(-1, count, start) for start in (0, new.shape[-1] - count))
    return next((part for part in parts if _equal(part.view(new), x)), None)


def _with_tensors(
    record: AttentionRecord, changes: Sequence[tuple[Tensor, Versions] | None]
) -> AttentionRecord:
    """The record with some of its `_tensors` replaced, each with a version to check."""
    new = {id(x): y for x, y in zip(_tensors(record), changes, strict=False) if y is not None}
    changed = map_tensors(record, lambda x: new[id(x)][0] if id(x) in new else x)
    rest = [(x, version) for x, version in record.versions if id(x) not in new]
    own = [known for _, versions in new.values() for known in versions]
    return with_fields(changed, versions=(*rest, *own))


def base_name(name: str) -> str:
    """The path of the module, without the number of the call."""
    return name.partition("#")[0]


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether both are the same; NaN, as in padded tokens of some models, equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    try:
        if torch.equal(one, other):
            return True
        has_nan = bool(one.sum().isnan())  # cheaper than a test of each number
        return has_nan and torch.allclose(one, other, rtol=0.0, atol=0.0, equal_nan=True)
    except RuntimeError:  # meta, fake and traced tensors have no values
        return False


def generated(records: Mapping[str, AttentionRecord]) -> dict[str, AttentionRecord]:
    """One record for all steps of each module that ran in every step."""
    calls: dict[str, list[AttentionRecord]] = {}
    for name, record in records.items():
        calls.setdefault(base_name(name), []).append(record)
    steps = max(map(len, calls.values()), default=0)
    if steps < 2:
        raise CaptureError(
            "no module computed attention more than once; generated() expects a recording of "
            "generate() with at least two new tokens"
        )
    complete = {path: of for path, of in calls.items() if len(of) == steps}
    per_step = min(map(_num_alike, complete.values()))
    # one if all are alike, as with a static cache and a prompt of one token
    if per_step == steps or steps % per_step:
        per_step = 1
    return {
        name: _joined(name, of[i::per_step])
        for path, of in complete.items()
        for i in range(per_step)
        for name in [f"{path}#{i + 1}" if i else path]
    }


def _num_alike(records: Sequence[AttentionRecord]) -> int:
    """How many records have the shape of the first: the attentions of a module in one step."""
    return sum(1 for _ in takewhile(lambda x: x.shape == records[0].shape, records))


class _Part(NamedTuple):
    """The new queries of one step, whose keys are the columns `start` to `stop` of all keys."""

    record: AttentionRecord
    rows: slice
    start: int
    stop: int

    def columns(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Keys and values of some columns of all keys."""
        chosen = slice(start - self.start, stop - self.start)
        return self.record.key[..., chosen, :], self.record.value[..., chosen, :]

    def masked(self, total: int) -> Tensor:
        """The inputs of the softmax over all keys, with added columns (sinks) behind."""
        masked, keys = self.record.stages(queries=self.rows).masked, self.record.key.shape[-2]
        count = self.stop - self.start
        ends = (self.start, total - self.stop)
        placed = F.pad(masked[..., :count], ends, value=-math.inf)
        return torch.cat([placed, masked[..., keys:]], dim=-1)


def _joined(path: str, records: list[AttentionRecord]) -> AttentionRecord:
    """The last query of the first step and all queries of the others, over all keys."""
    parts: list[_Part] = []
    key_heads = min(record.key.shape[-3] for record in records)
    for record in records:
        grouped = _with_key_heads(record, key_heads)
        parts.append(_following(grouped, parts[-1]) if parts else _first(grouped))
    if any(record.query.shape[-2] > 1 for record in records[1:]):
        raise CaptureError(
            f"{path}: a step after the first has several queries; generated() expects the prompt "
            "in one step and one new token in each other step (neither prefill_chunk_size nor an "
            "assistant model)"
        )
    new = [part.columns(before.stop, part.stop) for before, part in pairwise(parts)]
    pieces = [parts[0].columns(0, parts[0].stop), *new]
    key, value = (torch.cat(x, dim=-2) for x in zip(*pieces, strict=True))
    total = key.shape[-2]
    sinks = any(record.post_softmax for record in records)
    joined = replace(
        parts[-1].record,
        name=path,
        query=_rows(part.record.query[..., part.rows, :] for part in parts),
        key=key,
        value=value,
        attn_mask=None,
        is_causal=False,
        pre_softmax=(Step("generated", partial(_masked_rows, parts, total)),),
        post_softmax=(Step("narrow", torch.narrow, (PLACEHOLDER, -1, 0, total)),) if sinks else (),
        raw_output=_rows(part.record.output[..., part.rows, :] for part in parts),
        layout=Layout(),
    )
    return map_tensors(joined, lambda x: x)


def _first(record: AttentionRecord) -> _Part:
    rows = slice(-1, None)
    return _Part(record, rows, 0, _num_visible(record, rows))


def _following(record: AttentionRecord, before: _Part) -> _Part:
    """A step with its place among all keys, which is found by comparing keys and values.

    A cache repeats the keys of the step before (cross-attention), appends new ones, or drops as
    many at the start (sliding windows).
    """
    if not _same_scale(record, before.record):
        raise CaptureError(f"{record.name}: its scale differs from that of the step before")
    rows = slice(None)
    count = _num_visible(record, rows)
    for stop in (before.stop, before.stop + record.query.shape[-2]):
        part = _Part(record, rows, stop - count, stop)
        overlap = (part.start, before.stop)
        if before.start <= part.start < before.stop and all(
            map(_equal, part.columns(*overlap), before.columns(*overlap))
        ):
            return part
    raise CaptureError(
        f"{record.name}: its keys do not continue those of the step before; generated() expects "
        "one call of generate(), with a cache and without beam search"
    )


def _same_scale(one: AttentionRecord, other: AttentionRecord) -> bool:
    return torch.equal(*(torch.as_tensor(x.scale).cpu() for x in (one, other)))


def _with_key_heads(record: AttentionRecord, heads: int) -> AttentionRecord:
    """The record with one key head per group, where its keys are repeated for each query head."""
    repeats = record.key.shape[-3] // heads
    if repeats < 2:
        return record
    key, value = record.key[..., ::repeats, :, :], record.value[..., ::repeats, :, :]
    if all(map(_equal, share_heads(key, value, repeats * heads), (record.key, record.value))):
        return replace(record, key=key, value=value, enable_gqa=True)
    return record


def _num_visible(record: AttentionRecord, rows: slice) -> int:
    """The number of keys up to the last one that a query attends to; static caches have more."""
    stages, keys = record.stages(queries=rows), record.key.shape[-2]
    visible = ~is_masked(stages.masked[..., :keys], stages.scaled)
    columns = visible.flatten(0, -2).any(dim=0).nonzero()
    return int(columns[-1]) + 1 if len(columns) else 0


def _rows(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat(list(parts), dim=-2)


def _masked_rows(parts: Sequence[_Part], total: int, _: Tensor) -> Tensor:
    return _rows(part.masked(total) for part in parts)
