"""Relevance of tokens for one class, from attention and its gradients."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clearhead.insight.forward import Classes, check_finite
from clearhead.insight.gradients import OVERFLOW, Inputs, Score, Trace, trace_model, trace_score
from clearhead.insight.propagation import Readout, read_out, readout_mask
from clearhead.recording import Layers, Recording


@dataclass(frozen=True, kw_only=True, eq=False)
class Relevance:
    """Relevance of tokens for the score of each image, in units of the score; at least 0.

    Attributes:
        score: The score y, such as the logit of the class.
        target: The class; None where a function computed the score.
        matrix: R - I: row i is the relevance of each input token for token i of the last layer.
        tokens: The mean of the rows of the tokens in `readout`.
        readout: True for the tokens from which the model computes its output.
    """

    score: Float[Tensor, " batch"]
    target: Int[Tensor, " batch"] | None
    matrix: Float[Tensor, "batch tokens tokens"]
    tokens: Float[Tensor, "batch tokens"]
    readout: Bool[Tensor, "batch tokens"]

    def __repr__(self) -> str:
        batch, tokens = self.tokens.shape
        return f"Relevance({batch} images, {tokens} tokens)"


@torch.inference_mode(mode=False)
def class_relevance(
    model: nn.Module,
    inputs: Inputs,
    target: Classes | None = None,
    *,
    layers: Layers = None,
    score: Score | None = None,
    readout: Readout | None = None,
) -> Relevance:
    """The relevance of each token for the score of a class, in any self-attention model.

    Starting from R = I, each layer updates R ← R + Ā R, where Ā is the mean over heads of
    (∂y/∂A ⊙ A)⁺ and y is the score of the class (Chefer, Gur & Wolf 2021, "Generic
    Attention-model Explainability", arXiv 2103.15679, equations 5 and 6).

    Args:
        model: The model; it runs in evaluation mode.
        inputs: Normalised images of shape (batch, channels, height, width), or a dictionary of the
            model's arguments; tensors are moved to the model's device, and floats cast to its type.
        target: A class for all inputs, or one for each, of shape (batch,); by default the predicted
            class.
        layers: The layers to record, as in `capture`; by default all.
        score: Function from the model's output to the scores, of shape (batch,); needed where the
            output is neither logits nor an object with `.logits`.
        readout: The tokens from which the model computes its output: an index, several, or "mean"
            for all; by default those whose output in the last layer has a gradient.

    Returns:
        The relevance of each token, of shape (batch, tokens), with the matrix R - I, of shape
        (batch, tokens, tokens), and the scores.

    Raises:
        InputError: If the output is not logits, `target` is not a class, the layers attend to
            different tokens, a layer is not computed from the output of the one before, or the
            score or its gradients are not finite.
    """
    return _of_trace(trace_model(model, inputs, target, layers=layers, score=score), readout)


def relevance_of(
    score: Float[Tensor, " batch"], recording: Recording, *, readout: Readout | None = None
) -> Relevance:
    """`class_relevance` for a score of each image, computed inside `capture(gradients=True)`.

    Raises `InputError` if the score has no gradient with respect to a recorded layer.
    """
    return _of_trace(trace_score(score, recording.records), readout)


def relevance_matrix(trace: Trace) -> Float[Tensor, "batch tokens tokens"]:
    """R of `class_relevance` without the identity."""
    matrix: Tensor | None = None
    for contributions in trace.contributions():
        step = contributions.mean(dim=1)
        # (I + step) (I + matrix) - I
        matrix = step if matrix is None else matrix + step + step @ matrix
    assert matrix is not None  # noqa: S101, an empty recording has no gradients
    return matrix


def _of_trace(trace: Trace, readout: Readout | None) -> Relevance:
    matrix = relevance_matrix(trace)
    check_finite(matrix, OVERFLOW)
    readout = trace.readout if readout is None else readout
    return Relevance(
        score=trace.score,
        target=trace.classes,
        matrix=matrix,
        tokens=read_out(matrix, readout),
        readout=readout_mask(matrix, readout),
    )
