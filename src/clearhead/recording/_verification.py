"""Verification: the stages of a record recomputed and compared with the model's output."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clearhead.attention.stages import HALF, AttentionStages
from clearhead.errors import UnfaithfulCaptureError
from clearhead.recording._layout import Layout, run
from clearhead.recording._record import AttentionRecord

MAX_ELEMENTS = 1 << 24
"""Elements of attention matrices that are computed at a time."""

MASK_THRESHOLD = -1e4
"""An additive mask at or below this means "do not attend", as the finfo.min of many models does."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Verification:
    """Differences between a record and the model's computation; near zero for a correct record.

    Attributes:
        name: The name of the record.
        row_sum_error: The largest difference between the sum of a row of weights and one.
        masked_mass: The largest sum of weights on the masked keys of a query.
        output_error: The largest difference between weights · V and the model's output, relative
            to the size of the terms in that sum, weights · |V|.
        tolerance: What rounding explains in the type that the model used.
        num_nan: How many numbers of the output are NaN in the model, and here (as where a plain
            softmax has no key that is not masked).
    """

    name: str
    row_sum_error: float
    masked_mass: float
    output_error: float
    tolerance: float
    num_nan: int = 0

    @property
    def passed(self) -> bool:
        """Whether all differences lie within the tolerance, and NaN is where the model has it."""
        differences = (self.row_sum_error, self.masked_mass, self.output_error)
        return all(difference <= self.tolerance for difference in differences)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types, with `passed`.

        Returns:
            A number, text or bool for each field.
        """
        return asdict(self) | {"passed": self.passed}

    def __repr__(self) -> str:
        error = f"output_error={self.output_error:.1e}"
        return f"Verification({self.name!r}, passed={self.passed}, {error})"

    def __str__(self) -> str:
        return (
            f"{self.name}: rows sum to one within {self.row_sum_error:.1e}, "
            f"{self.masked_mass:.1e} on masked keys, "
            f"weights · V differs from the output by {self.output_error:.1e} "
            f"({'within' if self.passed else 'beyond'} {self.tolerance:.1e})"
            f"{f', {self.num_nan} numbers are NaN as in the model' if self.num_nan else ''}"
        )


def verify_record(record: AttentionRecord) -> Verification:
    """The differences of one record.

    Rounding errors of different terms average out; those of equal terms, from many equal tokens,
    add up. A record that differs by more than the former explain is computed again in float64. If
    that shows float32 to be less precise than usual on these tensors, the tolerance is the bound
    for any order of the terms: half an `eps` per key in the softmax, and as much in the product.
    """
    record.check_not_modified()
    verification = _compared(record)
    if verification.passed or record.query.device.type == "mps":  # which has no float64
        return verification
    tensors = {name: getattr(record, name).double() for name in ("query", "key", "value")}
    precise = replace(record, **tensors)
    rounded = replace(precise, raw_output=record.context.to(precise.value), layout=Layout())
    verification, rounding = _compared(precise), _compared(rounded).output_error
    if rounding < verification.tolerance / 4.0:
        return verification
    bound = record.key.shape[-2] * torch.finfo(torch.float32).eps
    return replace(verification, tolerance=verification.tolerance + bound)


def _compared(record: AttentionRecord) -> Verification:
    """The differences of one record, computed for some batch entries at a time."""
    parts = (_differences(record, batch) for batch in _batch_slices(record))
    *figures, num_nan = zip(*parts, strict=True)
    rows, mass, error, size = (float(np.max(x)) for x in figures)  # NaN if one is
    return Verification(
        name=record.name,
        row_sum_error=rows,
        masked_mass=mass,
        output_error=error,
        tolerance=tolerance(record, size),
        num_nan=sum(num_nan),
    )


def verify(records: Sequence[AttentionRecord]) -> tuple[Verification, ...]:
    """Verify every record; raises `UnfaithfulCaptureError` with the differences if one fails."""
    if any(record.raw_output.is_meta for record in records):
        raise UnfaithfulCaptureError(
            "records of meta tensors have shapes but no numbers; verify a pass on data"
        )
    verifications = tuple(verify_record(record) for record in records)
    failed = [verification for verification in verifications if not verification.passed]
    if failed:
        raise UnfaithfulCaptureError(
            f"{len(failed)} of {len(verifications)} records differ from what the model computed: "
            + "; ".join(map(str, failed))
        )
    return verifications


def tolerance(record: AttentionRecord, largest_score: float) -> float:
    """The relative error that rounding explains, a few units in the last place.

    A relative error of `eps` in a score s multiplies its weight by exp(eps · s).
    """
    eps = torch.finfo(record.precision).eps
    if record.raw_output.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32:
        eps = max(eps, 2.0**-11)
    size = min(largest_score, 1e4) if math.isfinite(largest_score) else 0.0
    terms = math.sqrt(max(record.query.shape[-1], record.key.shape[-2], 1))
    return eps * (2.0 + size) if record.precision in HALF else eps * (16.0 + terms + 4.0 * size)


def _batch_slices(record: AttentionRecord) -> list[slice | None]:
    elements, count = math.prod(record.shape), record.shape[0]
    if record.pre_softmax or record.post_softmax or elements <= MAX_ELEMENTS or count < 2:
        return [None]
    step = max(1, count * MAX_ELEMENTS // elements)
    return [slice(start, start + step) for start in range(0, count, step)]


def _differences(
    record: AttentionRecord, batch: slice | None
) -> tuple[float, float, float, float, int]:
    """Row sum error, masked mass, output error, the largest score that matters, and NaN."""
    with torch.no_grad():
        stages = record.stages(batch=batch)
        weights = stages.weights.nan_to_num()  # that the output is NaN, too, is tested
        masked = _masked_keys(record, stages, batch)
        all_masked = masked.all(dim=-1, keepdim=True)
        attends = ~all_masked & ~stages.weights.isnan().any(dim=-1, keepdim=True)
        output = record.output if batch is None else record.output[batch]
        context, output = stages.context, output.to(stages.context)
        difference = (context - output).abs().masked_fill(context == output, 0.0)
        if record.precision in HALF:
            # Where a finite mask covers a whole row, only the rounding of the scores is left: an
            # output that is not used and cannot be recomputed from the inputs.
            unused = all_masked & weights.any(dim=-1, keepdim=True)
            if unused.shape[-3] > difference.shape[-3]:  # the model combines heads of weights
                unused = unused.all(dim=-3, keepdim=True)
            difference = difference.masked_fill(unused, 0.0)
        size = _term_size(record, weights, batch)
        error = difference / size.clamp_min(torch.finfo(size.dtype).tiny)
        undefined = context.isnan() & output.isnan()
        negligible = (weights < torch.finfo(weights.dtype).eps) | masked
        return (
            _max(((weights.sum(dim=-1, keepdim=True) - 1.0) * attends).abs()),
            _max((weights * (masked & attends)).sum(dim=-1)),
            _max(error.masked_fill(undefined, 0.0)),
            _max(stages.masked.masked_fill(negligible, 0.0).abs()),
            int(undefined.sum()),
        )


def _masked_keys(record: AttentionRecord, stages: AttentionStages, batch: slice | None) -> Tensor:
    """Which keys each query is masked from, read from the mask and not from the weights."""
    masked = stages.masked == -math.inf
    if stages.masked.shape == stages.scaled.shape:  # unless keys were added (attention sinks)
        masked = masked | is_masked(stages.masked, stages.scaled)
    mask = record.full_mask()
    if mask is None or record.pre_softmax:
        return masked
    ignored = ~mask if mask.dtype == torch.bool else mask <= MASK_THRESHOLD
    ignored = ignored.expand(record.shape)
    return masked | (ignored if batch is None else ignored[batch])


def is_masked(masked: Tensor, scaled: Tensor) -> Tensor:
    """True for scores that were masked by adding, or setting them to, a large negative number.

    Scores that a soft cap has changed are not masked.
    """
    changed = torch.minimum(masked, masked - scaled) <= MASK_THRESHOLD
    return changed & (masked <= MASK_THRESHOLD / 2.0)


def _term_size(record: AttentionRecord, weights: Tensor, batch: slice | None) -> Tensor:
    """Weights · |V|, plus the smallest error that rounding of the largest value can leave."""
    part = record if batch is None else record.part(batch)
    sizes = replace(part, value=part.value.abs().nan_to_num(0.0, 0.0, 0.0))
    size = sizes.context_from(run(record.post_softmax, weights).abs()).to(weights)
    return size + 1e-3 * sizes.value.amax().to(size) if sizes.value.numel() else size


def _max(x: Tensor) -> float:
    return float(x.max()) if x.numel() else 0.0  # NaN if a number is
