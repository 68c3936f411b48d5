"""Verification: the stages of a record recomputed and compared with the model's output."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clearhead import attention
from clearhead.errors import UnfaithfulCaptureError
from clearhead.recording._record import AttentionRecord
from clearhead.recording._steps import run

# At most so many cells of attention matrices are computed at a time.
MAX_ELEMENTS = 1 << 24

# A float mask at or below this is meant as "do not attend", as are the finfo.min of many models.
MASK_THRESHOLD = -1e4


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Figures on one record, all of them near zero where it is true.

    `row_sum_error`: how far a row of weights is from summing to one, at most. `masked_mass`: the
    largest sum of weights on keys that the query must not attend to. `output_error`: the largest
    difference between weights · V and the model's output, relative to the size of the terms in
    that sum, weights · |V|. `tolerance`: what rounding explains in the type that the model used.
    """

    name: str
    row_sum_error: float
    masked_mass: float
    output_error: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether all figures lie within the tolerance; NaN never does."""
        figures = (self.row_sum_error, self.masked_mass, self.output_error)
        return all(figure <= self.tolerance for figure in figures)

    def __str__(self) -> str:
        return (
            f"{self.name}: rows sum to one within {self.row_sum_error:.1e}, "
            f"{self.masked_mass:.1e} on masked keys, "
            f"weights · V differs from the output by {self.output_error:.1e} "
            f"({'within' if self.holds else 'beyond'} {self.tolerance:.1e})"
        )


def prove(record: AttentionRecord) -> Proof:
    """The figures of one record, computed some images at a time."""
    record.check_not_modified()
    parts = [_figures(record, images) for images in _batch_slices(record)]
    rows, mass, error, size = (_maximum([part[i] for part in parts]) for i in range(4))
    return Proof(
        name=record.name,
        row_sum_error=rows,
        masked_mass=mass,
        output_error=error,
        tolerance=tolerance(record, size),
    )


def verify(records: Sequence[AttentionRecord]) -> tuple[Proof, ...]:
    """The proof of every record; raises `UnfaithfulCaptureError` with figures if one fails."""
    proofs = tuple(prove(record) for record in records)
    failed = [proof for proof in proofs if not proof.holds]
    if failed:
        raise UnfaithfulCaptureError(
            f"{len(failed)} of {len(proofs)} captured attentions are not what the model computed: "
            + "; ".join(map(str, failed))
        )
    return proofs


def tolerance(record: AttentionRecord, largest_score: float) -> float:
    """What rounding explains: a few units in the last place, more where scores are large.

    A relative error of `eps` in a score s moves its weight by the factor exp(eps · s).
    """
    eps = torch.finfo(record.precision).eps
    if record.raw_output.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32:
        eps = max(eps, 2.0**-11)
    size = min(largest_score, 1e4) if math.isfinite(largest_score) else 0.0
    terms = math.sqrt(max(record.query.shape[-1], record.key.shape[-2], 1))
    return eps * (2.0 + size) if _is_half(record.precision) else eps * (16.0 + terms + 4.0 * size)


def _is_half(dtype: torch.dtype) -> bool:
    return dtype in (torch.float16, torch.bfloat16)


def _batch_slices(record: AttentionRecord) -> list[slice | None]:
    cells, count = math.prod(record.shape), record.shape[0]
    if record.pre_softmax or record.post_softmax or cells <= MAX_ELEMENTS or count < 2:
        return [None]
    step = max(1, count * MAX_ELEMENTS // cells)
    return [slice(start, start + step) for start in range(0, count, step)]


def _figures(record: AttentionRecord, images: slice | None) -> tuple[float, float, float, float]:
    with torch.no_grad():
        seen = record.stages(images=images)
        forbidden = _masked_keys(record, seen, images)
        attends = ~forbidden.all(dim=-1, keepdim=True)
        sums = seen.weights.sum(dim=-1, keepdim=True)
        output = record.output if images is None else record.output[images]
        difference = (seen.context - output.to(seen.context)).abs()
        if _is_half(record.precision):
            # A finite mask over a whole row leaves what rounding left of the scores: no answer
            # that anyone reads, and none that can be told from the inputs.
            difference = difference * (attends | (seen.weights == 0.0).all(-1, keepdim=True))
        size = _term_size(record, seen.weights, images)
        negligible = (seen.weights < torch.finfo(seen.weights.dtype).eps) | forbidden
        return (
            _max(((sums - 1.0) * attends).abs()),
            _max((seen.weights * (forbidden & attends)).sum(dim=-1)),
            _max(difference / size.clamp_min(torch.finfo(size.dtype).tiny)),
            _max(seen.masked.masked_fill(negligible, 0.0).abs()),
        )


def _masked_keys(
    record: AttentionRecord, seen: attention.AttentionStages, images: slice | None
) -> Tensor:
    """Which keys a query must not attend to, read from the mask and not from the weights."""
    forbidden = seen.masked == -math.inf
    if seen.masked.shape == seen.scaled.shape:  # unless keys were added, as attention sinks are
        forbidden = forbidden | (seen.masked - seen.scaled <= MASK_THRESHOLD)
    mask = record.full_mask()
    if mask is None or record.pre_softmax:
        return forbidden
    asked = ~mask if mask.dtype == torch.bool else mask <= MASK_THRESHOLD
    asked = asked.expand(record.shape)
    return forbidden | (asked if images is None else asked[images])


def _term_size(record: AttentionRecord, weights: Tensor, images: slice | None) -> Tensor:
    """Weights · |V|, plus the least that rounding of the largest value leaves."""
    part = record if images is None else record.part(images)
    sizes = replace(part, value=part.value.abs())
    size = sizes.context_from(run(record.post_softmax, weights).abs()).to(weights)
    return size + 1e-3 * sizes.value.amax().to(size) if sizes.value.numel() else size


def _max(x: Tensor) -> float:
    if not x.numel():
        return 0.0
    return float("nan") if bool(x.isnan().any()) else float(x.max())


def _maximum(figures: list[float]) -> float:
    return float("nan") if any(map(math.isnan, figures)) else max(figures, default=0.0)
