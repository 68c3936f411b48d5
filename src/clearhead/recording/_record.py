"""One call of attention: its inputs, its output, and the stages between, computed on access."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead import attention
from clearhead.attention.masks import causal_mask
from clearhead.attention.stages import AttentionStages, share_heads
from clearhead.errors import ChoiceError, UnfaithfulCaptureError
from clearhead.recording._layout import Layout
from clearhead.recording._steps import Step, run

Choice = int | slice | Sequence[int] | None


def chosen(x: Tensor, *, images: Choice, heads: Choice, queries: Choice) -> Tensor:
    """The chosen part of `(*batch, heads, queries, …)`; an int keeps its axis, of size 1.

    Numbers count from 0, negative ones from the end. Raises `ChoiceError` for one that is not
    there.
    """
    if images is not None:
        x = x[_numbers(images, x.shape[0], "images")]
    if heads is not None:
        x = x[..., _numbers(heads, x.shape[-3], "heads"), :, :]
    if queries is not None:
        x = x[..., _numbers(queries, x.shape[-2], "queries"), :]
    return x


def _numbers(choice: int | slice | Sequence[int], count: int, what: str) -> slice | list[int]:
    if isinstance(choice, slice):
        return choice
    numbers = [choice] if isinstance(choice, int) else list(choice)
    for number in numbers:
        if not -count <= number < count:
            raise ChoiceError(f"there are {count} {what}, numbered 0 … {count - 1}; got {number}")
    return numbers


# Tensors that are kept, and how often each had been changed in place; torch does not count for
# those of inference mode.
Versions = tuple[tuple[Tensor, int], ...]

# Which heads, queries or images: one, some, or (None) all.


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AttentionRecord:
    """What one call of attention was given and gave; every stage is computed when it is asked for.

    So a layer takes memory for its tokens (n · d), not for its matrix (n²), until someone looks.
    The weights are those before dropout. `before` and `after` hold what a model does between
    scaled scores and softmax beyond one mask (position bias in windows, caps, sinks), and between
    softmax and values (dropout, mixing of heads): empty in most models.
    """

    name: str
    query: Float[Tensor, "*batch heads queries head_dim"]
    key: Float[Tensor, "*batch heads keys head_dim"]
    value: Float[Tensor, "*batch heads keys value_dim"]
    attn_mask: Tensor | None
    is_causal: bool
    scale: float | Tensor
    enable_gqa: bool = False
    dropout_p: float = 0.0
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    produced: Tensor
    layout: Layout = field(default_factory=Layout)
    precision: torch.dtype = torch.float32
    versions: Versions = ()

    def __repr__(self) -> str:
        return f"AttentionRecord({self.name}: {' × '.join(map(str, self.shape))})"

    @property
    def output(self) -> Float[Tensor, "*batch heads queries value_dim"]:
        """What the model really produced: the context by its own arithmetic."""
        return self.layout.canonical(self.produced)

    @property
    def scores(self) -> Float[Tensor, "*batch heads queries keys"]:
        """Q Kᵀ, before any scaling."""
        return self.stages().scores

    @property
    def scaled(self) -> Float[Tensor, "*batch heads queries keys"]:
        """Scores times the scale."""
        return self.stages().scaled

    @property
    def masked(self) -> Float[Tensor, "*batch heads queries keys"]:
        """What the softmax was given."""
        return self.stages().masked

    @property
    def weights(self) -> Float[Tensor, "*batch heads queries keys"]:
        """The softmax of each row: sums to one, or to zero where every key is masked."""
        return self.stages().weights

    @property
    def context(self) -> Float[Tensor, "*batch heads queries value_dim"]:
        """Weights · V, computed anew: equal to `output` up to rounding, as `verify` proves."""
        return self.stages().context

    @property
    def applied(self) -> Float[Tensor, "*batch heads queries keys"]:
        """The weights as they met the values: after dropout or mixing, where the model has any."""
        return self.applied_of(self.weights)

    def stages(
        self, *, images: Choice = None, heads: Choice = None, queries: Choice = None
    ) -> AttentionStages:
        """All stages, for chosen images, heads and queries only; an int keeps its axis, of size 1.

        Half-precision inputs are computed in float32. Raises `UnfaithfulCaptureError` if the model
        has overwritten what was kept.
        """
        self.check_unchanged()
        if self.before or self.after:  # steps are taken on the whole
            whole = self._stages(self.full_mask())
            return AttentionStages(
                *(chosen(x, images=images, heads=heads, queries=queries) for x in whole)
            )
        if images is None and heads is None and queries is None:
            return self._stages(self.full_mask())
        part = self.part(images, heads, queries)
        return part._stages(part.attn_mask)

    def part(
        self, images: Choice = None, heads: Choice = None, queries: Choice = None
    ) -> "AttentionRecord":
        """The record of those images, heads and queries alone; steps are not taken with it."""
        mask, lead = self.full_mask(), self.shape[:-2]

        def choose(x: Tensor, rows: Choice = None) -> Tensor:
            whole = x.expand(*lead, *x.shape[-2:])
            return chosen(whole, images=images, heads=heads, queries=rows)

        key, value = self._shared()
        scale = self.scale
        return replace(
            self,
            query=choose(self.query, queries),
            key=choose(key),
            value=choose(value),
            scale=choose(scale) if isinstance(scale, Tensor) and scale.dim() >= 2 else scale,
            attn_mask=None if mask is None else choose(mask.expand(self.shape), queries),
            is_causal=False,
            enable_gqa=False,
            produced=choose(self.output, queries),
            layout=Layout(),
            versions=(),
        )

    @property
    def shape(self) -> torch.Size:
        """`(*batch, heads, queries, keys)`: what operands that are shared broadcast to."""
        return torch.Size((*self.output.shape[:-1], self.value.shape[-2]))

    def full_mask(self) -> Tensor | None:
        """The mask, the causal one spelt out."""
        if self.is_causal:
            return causal_mask(self.query.shape[-2], self.key.shape[-2], device=self.query.device)
        return self.attn_mask

    def applied_of(self, weights: Tensor) -> Tensor:
        """Those weights after dropout or mixing, where the model has any."""
        with unwatched(weights):
            return run(self.after, weights)

    def context_of(self, applied: Tensor) -> Tensor:
        """Those weights · V, in the type of the model's output: for trying other weights."""
        with unwatched(applied):
            _, value = self._shared()
            return attention.context(applied, _at_least_float32(value)).to(self.produced.dtype)

    def check_unchanged(self) -> None:
        """Raise `UnfaithfulCaptureError` if a kept tensor was changed in place since."""
        if any(x._version != version for x, version in self.versions):
            raise UnfaithfulCaptureError(
                f"{self.name}: the model changed a tensor in place after its attention had used "
                "it; keep copies: capture(copies=True)"
            )

    def _stages(self, attn_mask: Tensor | None) -> AttentionStages:
        with unwatched(self.query):
            return self._computed(attn_mask)

    def _computed(self, attn_mask: Tensor | None) -> AttentionStages:
        key, value = self._shared()
        query, key, value = (_at_least_float32(x) for x in (self.query, key, value))
        raw = attention.scores(query, key)
        small = attention.scaled(raw, self.scale)
        allowed = run(self.before, attention.masked(small, attn_mask))
        rows = attention.weights(_at_least_float32(allowed))
        applied = _at_least_float32(run(self.after, rows))
        moves = [step for step in self.before if step.moves_only]
        return AttentionStages(
            run(moves, raw), run(moves, small), allowed, rows, attention.context(applied, value)
        )

    def _shared(self) -> tuple[Tensor, Tensor]:
        if self.enable_gqa:
            return share_heads(self.key, self.value, self.query.shape[-3])
        return self.key, self.value


@contextmanager
def unwatched(x: Tensor) -> Iterator[None]:
    """Compute for ourselves: unseen by any capture around us, and in full precision."""
    with torch._C.DisableTorchFunction(), torch.autocast(x.device.type, enabled=False):
        yield


def _versions_now(record: AttentionRecord) -> Versions:
    steps = (x for step in (*record.before, *record.after) for x in step.tensors())
    fixed = (record.query, record.key, record.value, record.attn_mask, record.produced)
    kept = (x for x in (*fixed, *steps) if x is not None)
    return tuple((x, x._version) for x in kept if not x.is_inference())


def map_tensors(record: AttentionRecord, change: Callable[[Tensor], Tensor]) -> AttentionRecord:
    """The same record with each tensor it holds changed: detached, copied; now it is kept."""
    fields: dict[str, Any] = {
        name: change(x)
        for name in ("query", "key", "value", "attn_mask", "scale", "produced")
        if isinstance(x := getattr(record, name), Tensor)
    }
    for name in ("before", "after"):
        fields[name] = tuple(step.changed(change) for step in getattr(record, name))
    changed = replace(record, **fields)
    return replace(changed, versions=_versions_now(changed))


def _at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
