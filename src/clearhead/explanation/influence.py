"""Four measures of what a prediction depends on, with different meanings.

- rollout: where information can have come from, through all layers, independent of the class
- relevance: attention weighted by its gradient, for the predicted class
- shapley: each patch's exact share in the score of the predicted class, against black pixels
- masking: how far the predicted class's probability falls when no token may attend to a patch
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.errors import CaptureError, ConfigError, InputError
from clearhead.insight import Grid, ablate, rollout, shapley
from clearhead.insight.propagation import Readout, read_out
from clearhead.insight.relevance import relevance_of
from clearhead.recording import Recording

NO_PREDICTION = "there is no prediction"
MAX_MASKED_PATCHES = 64
# 4,096 coalitions take about two seconds in the digit classifier on one core; digits with ink in
# more patches get estimates in less time.
MAX_SHAPLEY_PATCHES, MAX_EXACT_PATCHES, NUM_PERMUTATIONS = 16, 12, 50
DECIMALS = 8

Shape: TypeAlias = Sequence[int]  # of a layer's weights: (*windows, heads, queries, keys)


@dataclass(frozen=True, kw_only=True, eq=False)
class Influence:
    """One number for each token, or None and the reason.

    Rollout and relevance have a number for all tokens, masking and Shapley values for the patches
    alone.
    """

    values: Float[Tensor, " tokens"] | None = None
    reason: str = ""

    def shares(self) -> "Influence":
        """The values as shares of their sum; unchanged where the sum is not positive.

        Returns:
            An `Influence` whose values sum to 1, or this one.
        """
        if self.values is None or not float(self.values.sum()) > 0:
            return self
        return Influence(values=self.values / self.values.sum())

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON has them, or the reason.

        Returns:
            `values`; if they are None, also the `reason`.
        """
        if self.values is None:
            return {"values": None, "reason": self.reason}
        return {"values": rounded(self.values)}

    def __repr__(self) -> str:
        return (
            f"Influence({self.reason!r})"
            if self.values is None
            else (f"Influence({len(self.values)} tokens)")
        )


def has_windows(shape: Shape) -> bool:
    """Whether each head has several weight matrices for one picture, one for each window."""
    return math.prod(shape[:-3]) > 1


def why_no_rollout(shapes: Sequence[Shape], grid: Grid | None) -> str:
    """Why attention cannot be followed from layer to layer; empty if it can."""
    if any(map(has_windows, shapes)):
        return (
            "this model attends inside windows whose positions are unknown, so attention "
            "cannot be followed through the layers"
        )
    if grid is None:
        return "the model does not declare the grid of its patches"
    tokens = grid.num_tokens
    others = sum(list(shape[-2:]) != [tokens, tokens] for shape in shapes)
    if not others:
        return ""
    verb = "does" if others == 1 else "do"
    return (
        f"{others} of {len(shapes)} layers {verb} not attend from all {tokens} tokens to all of "
        "them (pooling does not), so attention cannot be followed through the layers"
    )


def why_no_masking(shapes: Sequence[Shape], grid: Grid | None) -> str:
    """Why a patch cannot be masked in every layer; empty if it can.

    Only the keys have to be the tokens of the grid, whatever the queries are.
    """
    if grid is None or any(map(has_windows, shapes)):
        return why_no_rollout(shapes, grid)
    others = sum(shape[-1] != grid.num_tokens for shape in shapes)
    if others:
        return f"in {others} of {len(shapes)} layers the keys are other tokens than the grid's"
    if grid.num_patches > MAX_MASKED_PATCHES:
        return (
            f"it takes one forward pass per patch, and {grid.num_patches} are too many "
            f"(at most {MAX_MASKED_PATCHES})"
        )
    return ""


def measure_rollout_and_relevance(
    recording: Recording,
    shapes: Sequence[Shape],
    grid: Grid | None,
    score: Float[Tensor, " 1"] | None,
) -> tuple[Influence, Influence]:
    """Rollout, and the relevance for a score that was computed inside the capture.

    Rollout starts from the tokens that the classifier pools: according to the gradient, else the
    class token, else all.
    """
    reason = why_no_rollout(shapes, grid)
    if grid is None or reason:
        return Influence(reason=reason), Influence(reason=reason)
    readout: Readout = 0 if grid.num_prefix_tokens else "mean"
    relevance = Influence(reason=NO_PREDICTION)
    try:
        if score is not None:
            result = relevance_of(score, recording)
            readout = result.readout[0]
            relevance = Influence(values=result.tokens[0].detach().double().cpu())
    except (InputError, CaptureError) as error:
        relevance = Influence(reason=str(error))
    try:
        with torch.no_grad():
            values = read_out(rollout(recording)[0], readout).detach().cpu()
    except (InputError, CaptureError) as error:
        return Influence(reason=str(error)), relevance
    return Influence(values=values), relevance


def measure_masking(
    model: nn.Module,
    inputs: Float[Tensor, "1 channels height width"],
    shapes: Sequence[Shape],
    grid: Grid | None,
    predicted: Sequence[float],
) -> Influence:
    """The fall of the largest probability when no query may attend to the patch.

    In every layer and head the softmax then shares that patch's weight among the other keys; the
    patch's own token still passes through the residual connections.
    """
    reason = why_no_masking(shapes, grid) or ("" if predicted else NO_PREDICTION)
    if grid is None or reason:
        return Influence(reason=reason)
    label = torch.tensor([predicted.index(max(predicted))])
    try:
        without = ablate(model, inputs, label, "patch", method="mask", grid=grid)
    except (InputError, CaptureError) as error:
        return Influence(reason=str(error))
    falls = [patch.probability_drop for patch in without]
    return Influence(values=torch.tensor(falls, dtype=torch.float64))


def measure_shapley(
    model: nn.Module,
    inputs: Float[Tensor, "1 channels height width"],
    grid: Grid | None,
    predicted: Sequence[float],
) -> Influence:
    """Shapley values of the patches for the log-odds of the predicted class."""
    if grid is None:
        return Influence(reason="the model does not declare the grid of its patches")
    if grid.num_patches > MAX_SHAPLEY_PATCHES:
        return Influence(
            reason=f"exact values are computed for at most {MAX_SHAPLEY_PATCHES} patches, and this "
            f"model has {grid.num_patches}"
        )
    if not predicted:
        return Influence(reason=NO_PREDICTION)
    try:
        result = shapley(
            model,
            inputs,
            grid=grid,
            max_exact_players=MAX_EXACT_PATCHES,
            num_permutations=NUM_PERMUTATIONS,
        )
    except (ConfigError, InputError) as error:
        return Influence(reason=str(error))
    return Influence(values=result.values[0])


def rounded(values: Tensor) -> list[Any]:
    """Nested lists of numbers for files."""
    numbers: list[Any] = np.round(values.double().numpy(), DECIMALS).tolist()
    return numbers
