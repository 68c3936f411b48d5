"""One call of attention: its inputs, its output, and the stages between, computed on access."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead import attention
from clearhead.attention.masks import with_causal
from clearhead.attention.stages import AttentionStages, at_least_float32, share_heads
from clearhead.errors import ChoiceError, UnfaithfulCaptureError
from clearhead.recording._html import MAX_TOKENS, Row, weights_table
from clearhead.recording._layout import Layout, Step, autocast, run
from clearhead.recording._torch_internals import (
    DisableInterception,
    Versions,
    is_modified,
    is_true,
    versions_of,
)

Index = int | slice | Sequence[int] | None
"""Entries of one axis: one, several, or (None) all; an int keeps the axis, with size 1."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AttentionRecord:
    """One call of attention: inputs, output, and every stage between.

    Stages are computed on access, so a record takes memory for its tokens (n · d) and not for its
    matrix (n²). All tensors have the axes (*batch, heads, queries or keys, …), independent of the
    model's own layout.

    Attributes:
        name: The path of the module, with "#2", "#3" … on its later calls.
        query: (*batch, heads, queries, head_dim).
        key: (*batch, heads, keys, head_dim).
        value: (*batch, heads, keys, value_dim).
        attn_mask: The mask of the call: boolean (True: attend) or additive; None without one.
        is_causal: Whether the call applied a causal mask (and `attn_mask`, if there is one).
        scale: The factor of the scores: a number, or a tensor that broadcasts over them.
        enable_gqa: Whether query heads share key and value heads.
        dropout_p: The dropout probability of the weights.
        pre_softmax: Operations between scaled scores and softmax beyond one mask (position bias
            in windows, soft caps, sinks). Empty in most models.
        post_softmax: Operations between softmax and values (dropout, mixing of heads). Empty in
            most models.
        plain_softmax: Whether rows whose keys are all masked are NaN, and not zero.
        raw_output: The model's own output tensor, in the model's layout.
        layout: The layout of `raw_output`.
        precision: The type of lowest precision that the model used.
        versions: The in-place versions of the stored tensors.
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
    pre_softmax: tuple[Step, ...] = ()
    post_softmax: tuple[Step, ...] = ()
    plain_softmax: bool = False
    raw_output: Tensor
    layout: Layout = field(default_factory=Layout)
    precision: torch.dtype = torch.float32
    versions: Versions = ()

    def __getstate__(self) -> dict[str, Any]:
        self.check_not_modified()
        return vars(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)  # the record is frozen
        vars(self)["versions"] = _versions_now(self)  # of the copies

    def __repr__(self) -> str:
        return f"AttentionRecord({self.name}: {' × '.join(map(str, self.shape))})"

    def _repr_html_(self) -> str:
        return weights_table([self._html_row()])

    def _html_row(self) -> Row:
        has_none = self.raw_output.is_meta or 0 in self.shape
        is_shown = not has_none and max(self.shape[-2:]) <= MAX_TOKENS
        return Row(self.name, self.shape, self.weights if is_shown else None)

    @property
    def shape(self) -> torch.Size:
        """(*batch, heads, queries, keys), the broadcast shape of the scores.

        The heads are those of the weights, of which some models combine several in one output.
        """
        *batch, heads, queries, _ = self.output.shape
        heads = max(heads, self.query.shape[-3])
        return torch.Size((*batch, heads, queries, self.value.shape[-2]))

    @property
    def output(self) -> Float[Tensor, "*batch heads queries value_dim"]:
        """The output that the model computed, by its own arithmetic."""
        return self.layout.canonical(self.raw_output)

    @property
    def scores(self) -> Float[Tensor, "*batch heads queries keys"]:
        """Q Kᵀ, before scaling."""
        return self.stages().scores

    @property
    def scaled(self) -> Float[Tensor, "*batch heads queries keys"]:
        """Scores times the scale.

        In a soft cap, c · tanh(a · scores), a · c is the scale if it is 1/√head_dim, or if the
        model divides by c in an operation of its own. Otherwise `scaled` is the input of the tanh.
        """
        return self.stages().scaled

    @property
    def masked(self) -> Float[Tensor, "*batch heads queries keys"]:
        """The input of the softmax: scaled scores after mask and `pre_softmax`."""
        return self.stages().masked

    @property
    def weights(self) -> Float[Tensor, "*batch heads queries keys"]:
        """The softmax of each row, which sums to one.

        Where every key is masked with -inf, a row is zero in fused calls, as torch computes it, and
        NaN where the model called a plain softmax.
        """
        return self.stages().weights

    @property
    def context(self) -> Float[Tensor, "*batch heads queries value_dim"]:
        """Weights · V, recomputed: equal to `output` up to rounding, as `verify` checks."""
        return self.stages().context

    @property
    def applied_weights(self) -> Float[Tensor, "*batch heads queries keys"]:
        """The weights that multiply the values: after dropout and mixing of heads, if any."""
        return self.applied_weights_from(self.weights)

    def stages(
        self, *, batch: Index = None, heads: Index = None, queries: Index = None
    ) -> AttentionStages:
        """All stages, or those of some batch entries, heads and queries only.

        Half-precision inputs are computed in float32.

        Args:
            batch: Entries of the first axis. An int keeps the axis, with size 1.
            heads: Heads, counted from 0.
            queries: Query tokens, counted from 0.

        Returns:
            Scores, scaled and masked scores, weights, all (*batch, heads, queries, keys), and the
            context (*batch, heads, queries, value_dim).

        Raises:
            ChoiceError: An index is out of range, or `heads` is given where the model combines
                several heads of weights in one output.
            UnfaithfulCaptureError: The model has overwritten a stored tensor.
        """
        self.check_not_modified()
        if batch is None and heads is None and queries is None:
            return self._stages(self.full_mask())
        if self.pre_softmax or self.post_softmax:  # steps are replayed on whole tensors
            whole = self._stages(self.full_mask())
            return AttentionStages(*(self._select(x, batch, heads, queries) for x in whole))
        part = self.part(batch, heads, queries)
        return part._stages(part.attn_mask)

    def token_stages(
        self, *, batch: Index = None, heads: Index = None, queries: Index = None
    ) -> AttentionStages:
        """`stages` without key columns that are not tokens, such as attention sinks.

        Rows of weights then sum to less than 1 where a model has sinks; otherwise the stages are
        the same.

        Args:
            batch: Batch entries, as in `stages`.
            heads: Heads, as in `stages`.
            queries: Query tokens, as in `stages`.

        Returns:
            The stages; `masked` and `weights` have a column for each token.

        Raises:
            ChoiceError: As in `stages`.
            UnfaithfulCaptureError: As in `stages`.
        """
        stages = self.stages(batch=batch, heads=heads, queries=queries)
        if stages.weights.shape[-1] == self.value.shape[-2]:
            return stages
        masked, weights = (
            select(self.on_tokens(x), batch=batch, heads=heads, queries=queries)
            for x in (self.masked, self.weights)
        )
        return stages._replace(masked=masked, weights=weights)

    def on_tokens(
        self, x: Float[Tensor, "*batch heads queries keys"]
    ) -> Float[Tensor, "*batch heads queries tokens"]:
        """Weights, or other numbers per key column, without columns that are not tokens.

        Args:
            x: A number for each query and each key column.

        Returns:
            The same numbers, with one column for each token.
        """
        steps = [step for step in self.post_softmax if step.is_layout_only or step.is_selection]
        if x.shape[-1] == self.value.shape[-2] or not steps:
            return x
        with interception_disabled(x):
            return run(steps, x)

    def part(
        self, batch: Index = None, heads: Index = None, queries: Index = None
    ) -> "AttentionRecord":
        """The record of some batch entries, heads and queries, as in `stages`.

        Args:
            batch: Entries of the first axis. An int keeps the axis, with size 1.
            heads: Heads, counted from 0.
            queries: Query tokens, counted from 0.

        Returns:
            A new record, whose `raw_output` has the axes of `output`.

        Raises:
            ChoiceError: As in `stages`.
        """
        mask, (key, value), scale = self.full_mask(), self.expanded_heads(), self.scale
        choose = partial(self._select, batch=batch, heads=heads)
        before, after = (
            Step("part", partial(self._part_of, name, batch, heads, queries))
            for name in ("masked", "applied_weights")
        )
        return replace(
            self,
            query=choose(self.query, queries=queries),
            key=choose(key),
            value=choose(value),
            scale=choose(scale) if isinstance(scale, Tensor) and scale.dim() >= 2 else scale,
            attn_mask=None if mask is None else choose(mask.expand(self.shape), queries=queries),
            is_causal=False,
            enable_gqa=False,
            pre_softmax=(before,) if self.pre_softmax else (),
            post_softmax=(after,) if self.post_softmax else (),
            raw_output=choose(self.output, queries=queries),
            layout=Layout(),
            versions=(),
        )

    def _part_of(self, name: str, batch: Index, heads: Index, queries: Index, _: Tensor) -> Tensor:
        return self._select(getattr(self, name), batch, heads, queries)

    def _select(
        self, x: Tensor, batch: Index = None, heads: Index = None, queries: Index = None
    ) -> Tensor:
        """A part of a tensor with the axes of a stage, expanded to all batch entries and heads."""
        *lead, num_heads = self.output.shape[:-2]
        if heads is not None and self.shape[-3] != num_heads:
            raise ChoiceError(
                f"{self.name}: the model combines {self.shape[-3]} heads of weights in {num_heads} "
                "of the output; choose heads of `weights` or `output` itself"
            )
        own = x.shape[-3] if x.dim() > 2 else 1
        whole = x.expand(*lead, num_heads if own == 1 else own, *x.shape[-2:])
        return select(whole, batch=batch, heads=heads, queries=queries)

    def full_mask(self) -> Tensor | None:
        """The mask of the call, with the causal one if the call applied it.

        Returns:
            The mask, or None if the call had none.
        """
        if not self.is_causal:
            return self.attn_mask
        with DisableInterception():
            queries, keys = self.query.shape[-2], self.key.shape[-2]
            return with_causal(self.attn_mask, queries, keys, self.query.device)

    def applied_weights_from(
        self, weights: Float[Tensor, "*batch heads queries keys"]
    ) -> Float[Tensor, "*batch heads queries keys"]:
        """Other weights after dropout and mixing of heads, if any.

        Args:
            weights: Weights in place of the recorded ones.

        Returns:
            What the model multiplies with the values.
        """
        with interception_disabled(weights):
            return run(self.post_softmax, weights)

    def context_from(
        self, weights: Float[Tensor, "*batch heads queries keys"]
    ) -> Float[Tensor, "*batch heads queries value_dim"]:
        """Other weights · V, in the type of the model's output.

        Args:
            weights: Weights in place of the recorded `applied_weights`.

        Returns:
            The weighted sums of the values.
        """
        with interception_disabled(weights):
            _, value = self.expanded_heads()
            value = at_least_float32(value)
            context = attention.context(_as_wide(weights, value), _as_wide(value, weights))
            return context.to(self.raw_output.dtype)

    @property
    def is_modified(self) -> bool:
        """Whether a stored tensor was changed in place since."""
        return is_modified(self.versions)

    def to_dict(self) -> dict[str, Any]:
        """Shape and weights as JSON types.

        Returns:
            `shape`, (batch, heads, queries, keys), and `weights` as nested lists.
        """
        return {"shape": list(self.shape), "weights": self.weights.tolist()}

    def check_not_modified(self) -> None:
        """Check that no stored tensor was changed in place since.

        Raises:
            UnfaithfulCaptureError: A stored tensor was changed.
        """
        if self.is_modified:
            raise UnfaithfulCaptureError(
                f"{self.name}: the model changed a tensor in place after its attention had used "
                "it; keep copies: capture(copies=True)"
            )

    def _stages(self, attn_mask: Tensor | None) -> AttentionStages:
        with interception_disabled(self.query):
            key, value = self.expanded_heads()
            query, key, value = (at_least_float32(x) for x in (self.query, key, value))
            raw = attention.scores(query, key)
            scaled = attention.scaled(raw, self.scale)
            masked = run(self.pre_softmax, attention.masked(scaled, attn_mask))
            weights = attention.weights(_as_wide(masked, query))
            if self.plain_softmax:
                weights = weights.masked_fill((masked == -math.inf).all(-1, keepdim=True), math.nan)
            applied = _as_wide(run(self.post_softmax, weights), value)
            moves = [step for step in self.pre_softmax if step.is_layout_only]
            return AttentionStages(
                run(moves, raw),
                run(moves, scaled),
                masked,
                weights,
                self._context(applied, _as_wide(value, applied)),
            )

    def _context(self, weights: Tensor, value: Tensor) -> Tensor:
        """Weights · V; NaN only where the model has it, whose kernel may leave out masked keys."""
        context = attention.context(weights, value)
        if self.plain_softmax or self.post_softmax or not is_true(context.isnan().any()):
            return context
        is_used = attention.context(weights.sign(), (~value.isfinite()).to(value)) != 0
        without = attention.context(weights, value.nan_to_num(0.0, 0.0, 0.0))
        return torch.where(is_used | self.output.isnan(), context, without)

    def expanded_heads(self) -> tuple[Tensor, Tensor]:
        """Keys and values of every query head, also where several query heads share them.

        Returns:
            Keys and values, with as many heads as the queries.
        """
        if self.enable_gqa:
            return share_heads(self.key, self.value, self.query.shape[-3])
        return self.key, self.value


def used_keys(
    weights: Float[Tensor, "*batch queries keys"], count: int
) -> Float[Tensor, "*batch queries tokens"]:
    """The first `count` keys, if no query attends to others: places of a static cache."""
    return weights if bool(weights[..., count:].any()) else weights[..., :count]


def select(x: Tensor, *, batch: Index, heads: Index, queries: Index) -> Tensor:
    """The selected part of a (*batch, heads, queries, …) tensor.

    Indices count from 0, negative ones from the end. Raises `ChoiceError` for one out of range.
    """
    if batch is not None:
        x = x[_indices(batch, x.shape[0], "images")]
    if heads is not None:
        x = x[..., _indices(heads, x.shape[-3], "heads"), :, :]
    if queries is not None:
        x = x[..., _indices(queries, x.shape[-2], "queries"), :]
    return x


def _indices(index: int | slice | Sequence[int], count: int, what: str) -> slice | list[int]:
    if isinstance(index, slice):
        return index
    indices = [index] if isinstance(index, int) else list(index)
    for number in indices:
        if not -count <= number < count:
            raise ChoiceError(f"there are {count} {what}, numbered 0 … {count - 1}; got {number}")
    return indices


@contextmanager
def interception_disabled(x: Tensor) -> Iterator[None]:
    """Compute without interception by an enclosing capture, and without autocast."""
    with DisableInterception(), autocast(x.device.type, None):
        yield


TENSORS = ("query", "key", "value", "attn_mask", "scale", "raw_output")


def _versions_now(record: AttentionRecord) -> Versions:
    steps = (x for step in (*record.pre_softmax, *record.post_softmax) for x in step.tensors())
    kept = [x for name in TENSORS if isinstance(x := getattr(record, name), Tensor)]
    return versions_of([*kept, *steps])


def map_tensors(record: AttentionRecord, change: Callable[[Tensor], Tensor]) -> AttentionRecord:
    """The record with a function applied to each tensor, and the versions of the results."""
    changed = with_fields(record)
    fields = vars(changed)
    fields |= {name: change(x) for name in TENSORS if isinstance(x := fields[name], Tensor)}
    for name in ("pre_softmax", "post_softmax"):
        fields[name] = tuple([step.changed(change) for step in fields[name]])
    fields["versions"] = _versions_now(changed)
    return changed


def with_fields(record: AttentionRecord, **fields: Any) -> AttentionRecord:
    """The record with other fields; faster than `dataclasses.replace`."""
    changed = object.__new__(AttentionRecord)
    vars(changed).update(vars(record), **fields)
    return changed


def _as_wide(x: Tensor, other: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, other.dtype))
