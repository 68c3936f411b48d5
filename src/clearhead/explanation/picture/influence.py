"""What the answer rests on, by three measures: different answers, and none of them ground truth.

- rollout: where information could have come from, through all layers; it knows no answer
- relevance: attention weighted by its gradient, for the class that was answered
- silencing: how far the answer's probability falls when no token may look at a patch
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.errors import CaptureError, InputError
from clearhead.insight.ablation import Part, without_part
from clearhead.insight.forward import probabilities
from clearhead.insight.propagation import Relevance, read_out, relevance_of, rollout
from clearhead.insight.tokens import Grid
from clearhead.recording._recording import Recording

MOST_SILENCED = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Influence:
    """One number for each token, or None and why there is none.

    Rollout and relevance are for all tokens, silencing for the patches alone.
    """

    values: Float[Tensor, " tokens"] | None = None
    missing: str = ""


class Sized(Protocol):
    """What has a number of windows, of queries and of keys."""

    @property
    def windows(self) -> int:
        """How many matrices one picture has in every head."""

    @property
    def queries(self) -> int:
        """How many tokens ask."""

    @property
    def keys(self) -> int:
        """How many are asked."""


def why_no_flow(sizes: Sequence[Sized], grid: Grid | None) -> str:
    """Why nothing can be followed from layer to layer; empty if it can."""
    if any(size.windows > 1 for size in sizes):
        return (
            "this model attends inside windows, and nothing says where they lie, so attention "
            "cannot be followed through the layers"
        )
    if grid is None:
        return "the model does not say where its patches lie"
    tokens = grid.num_tokens
    others = sum((size.queries, size.keys) != (tokens, tokens) for size in sizes)
    if not others:
        return ""
    verb = "does" if others == 1 else "do"
    return (
        f"{others} of {len(sizes)} layers {verb} not attend from all {tokens} tokens to all of "
        "them (pooling does not), so attention cannot be followed through the layers"
    )


def why_no_silence(sizes: Sequence[Sized], grid: Grid | None) -> str:
    """Why a patch cannot be silenced in every layer; empty if it can.

    It takes less than flow: each layer's keys are the tokens of the grid, whoever asks.
    """
    if grid is None or any(size.windows > 1 for size in sizes):
        return why_no_flow(sizes, grid)
    others = sum(size.keys != grid.num_tokens for size in sizes)
    if others:
        return f"in {others} of {len(sizes)} layers other tokens are asked than those of the grid"
    if grid.num_patches > MOST_SILENCED:
        return (
            f"it takes one forward pass a patch, and {grid.num_patches} are too many "
            f"(at most {MOST_SILENCED})"
        )
    return ""


def measure_relevance(score: Float[Tensor, " 1"], seen: Recording) -> Relevance | str:
    """The relevance of every token for a score made inside the capture, or why there is none."""
    try:
        return relevance_of(score, seen)
    except (InputError, CaptureError) as error:
        return str(error)


def measure_rollout(seen: Recording, readout: Sequence[int]) -> Influence:
    """Rollout from the tokens that the answer is read from, a distribution over all tokens."""
    try:
        with torch.no_grad():
            return Influence(values=read_out(rollout(seen)[0], readout).detach().cpu())
    except (InputError, CaptureError) as error:
        return Influence(missing=str(error))


def measure_silencing(
    model: nn.Module,
    inputs: Float[Tensor, "1 channels height width"],
    grid: Grid,
    answer: int,
) -> Influence:
    """The probability of the answer, less what it is when nobody may look at the patch.

    In every layer and head the softmax then shares that patch's weight among the other keys; its
    token still goes on by itself. Above 0: the patch spoke for the answer.
    """
    before = probabilities(model, inputs)[0, answer]
    falls = torch.zeros(grid.num_patches, dtype=torch.float64)
    for patch in range(grid.num_patches):
        try:
            around = without_part(Part(patch=patch), "mask", grid=grid)
            after = probabilities(model, inputs, around=around)
        except (InputError, CaptureError) as error:
            return Influence(missing=str(error))
        falls[patch] = before - after[0, answer]
    return Influence(values=falls)
