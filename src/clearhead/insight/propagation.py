"""Attention through all layers: rollout, maximum flow, and relevance for one class."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor, nn

from clearhead.errors import ConfigError, InputError
from clearhead.inference import evaluation_mode
from clearhead.insight.forward import logits_of
from clearhead.insight.weights import Records, Weights, name_of, records_of
from clearhead.recording import AttentionRecord, Layers, Recording, capture

HeadFusion = Literal["mean", "max", "min"]
FUSIONS: dict[str, Callable[..., Tensor]] = {
    "mean": torch.mean,
    "max": torch.amax,
    "min": torch.amin,
}
# The unit of integer capacities: sums over paths stay below 2³¹.
FLOW_UNIT = 2**26

Readout = int | Sequence[int] | Literal["mean"]
Inputs = Tensor | Mapping[str, Any]
Score = Callable[[Any], Float[Tensor, " batch"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Relevance:
    """Relevance of tokens for the score of each image, in units of the score; at least 0.

    Attributes:
        score: The score, such as the logit of the class.
        target: The class, where the score is a logit.
        matrix: R without the identity: row i is what token i received through attention.
        tokens: The row, or the mean of the rows, of the tokens in `readout`.
        readout: The tokens from which the model computes its output.
    """

    score: Float[Tensor, " batch"]
    target: Int[Tensor, " batch"] | None
    matrix: Float[Tensor, "batch tokens tokens"]
    tokens: Float[Tensor, "batch tokens"]
    readout: tuple[int, ...]

    def __repr__(self) -> str:
        batch, tokens = self.tokens.shape
        return f"Relevance({batch} images, {tokens} tokens, readout {self.readout})"


def rollout(
    layers: Records,
    *,
    residual: float = 0.5,
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
) -> Float[Tensor, "batch tokens tokens"]:
    """Attention rollout: R = Ã_L … Ã_2 Ã_1, with Ã = residual · I + (1 - residual) · A.

    (Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv 2005.00928, with
    residual 0.5.) A is the weights of a layer with its heads fused. Each row of Ã is scaled to sum
    to 1, after the identity is added, as in the implementation that introduced `head_fusion` and
    `discard_ratio` (github.com/jacobgil/vit-explain); a query token that attends to nothing keeps
    its own. Rollout uses neither values nor MLPs nor the output: it shows where information could
    have come from, not where it came from.

    Args:
        layers: A recording, or a sequence of records or weights, first layer first.
        residual: Share of the residual connection, from 0 to below 1.
        head_fusion: Mean, maximum or minimum over the heads.
        discard_ratio: Share of each layer's fused weights, the smallest, that is set to 0 first,
            but for the weight of the first token (often a class token) on itself.

    Returns:
        R in float64; each row is a distribution over the input tokens.

    Raises:
        InputError: Unless every layer attends from all tokens to the same tokens.
        ConfigError: For an option out of range.
    """
    product: Tensor | None = None
    for step in _mixed_with_residual(layers, residual, head_fusion, discard_ratio):
        product = step if product is None else step @ product
    assert product is not None  # noqa: S101, there is at least one layer
    return product


def max_flow(
    layers: Records, *, readout: Readout = 0, residual: float = 0.5
) -> Float[Tensor, "batch tokens"]:
    """Maximum flow of attention from the output to each input token.

    (Abnar & Zuidema 2020, arXiv 2005.00928, "attention flow".) The layers are a graph, in which an
    edge from a query token to a key token has the capacity Ã of `rollout`; the value of an input
    token is the maximum flow to it from the readout token. Several readout tokens share a source,
    with equal capacities that sum to 1. Each token takes one run of Dinic's algorithm.

    Args:
        layers: A recording, or a sequence of records or weights, first layer first.
        readout: The tokens from which the model computes its output, as in `class_relevance`.
        residual: Share of the residual connection, from 0 to below 1.

    Returns:
        The flows, between 0 and 1, in float64.

    Raises:
        InputError: Unless every layer attends from all tokens to the same tokens.
        ConfigError: For a residual out of range.
    """
    steps = torch.stack([*_mixed_with_residual(layers, residual, "mean", 0.0)]).flip(0).cpu()
    depth, batch, tokens, _ = steps.shape
    last = torch.eye(tokens, dtype=steps.dtype).expand(batch, tokens, tokens)
    first = read_out(last, readout)
    # node 0 is the source; then the tokens, from the output to the input of the model
    start = torch.arange(depth * tokens) + 1
    rows = torch.cat([torch.zeros(tokens, dtype=torch.long), start.repeat_interleave(tokens)])
    keys = (torch.arange(tokens) + 1).expand(depth, tokens, tokens)
    columns = keys + tokens * torch.arange(1, depth + 1)[:, None, None]
    columns = torch.cat([torch.arange(tokens) + 1, columns.flatten()])
    nodes = 1 + (depth + 1) * tokens
    flows = torch.empty(batch, tokens, dtype=torch.float64)
    for image in range(batch):
        capacities = torch.cat([first[image], steps[:, image].flatten()]) * FLOW_UNIT
        graph = csr_array(
            (capacities.round().int().numpy(), (rows.numpy(), columns.numpy())), (nodes, nodes)
        )
        for token in range(tokens):
            sink = nodes - tokens + token
            flows[image, token] = maximum_flow(graph, 0, sink).flow_value / FLOW_UNIT
    return flows


def _mixed_with_residual(
    layers: Records, residual: float, head_fusion: HeadFusion, discard_ratio: float
) -> Iterator[Float[Tensor, "batch tokens tokens"]]:
    """Ã of each layer: residual · I + (1 - residual) · A, rows scaled to sum to 1."""
    for name, share in (("residual", residual), ("discard_ratio", discard_ratio)):
        if not 0.0 <= share < 1.0:
            raise ConfigError(f"{name} must be at least 0 and below 1, got {share}")
    if head_fusion not in FUSIONS:
        raise ConfigError(f'head_fusion must be "mean", "max" or "min", got {head_fusion!r}')
    _check_one_pass(layers)
    first: Tensor | None = None
    for layer in records_of(layers):
        weights = FUSIONS[head_fusion](square_weights(layer), dim=1)
        flat = weights.flatten(1)
        smallest = flat.argsort(dim=1, stable=True)[:, : int(discard_ratio * flat.shape[1])]
        kept = flat.scatter(1, smallest, 0.0)
        kept[:, 0] = flat[:, 0]
        identity = _identity(weights)
        step = residual * identity + (1.0 - residual) * kept.view_as(weights)
        sums = step.sum(dim=-1, keepdim=True)
        step = torch.where(sums > 0, step / sums.clamp_min(torch.finfo(sums.dtype).tiny), identity)
        first = step if first is None else first
        _check_same_tokens(step, first, name_of(layer))
        yield step


def class_relevance(
    model: nn.Module,
    inputs: Inputs,
    target: int | Sequence[int] | Int[Tensor, " batch"] | None = None,
    *,
    layers: Layers = None,
    score: Score | None = None,
    readout: Readout | None = None,
) -> Relevance:
    """Which tokens contribute to the score of a class, in any self-attention model.

    Starting from R = I, each layer updates R ← R + Ā R, where Ā is the mean over heads of
    (∂y/∂A ⊙ A)⁺ and y is the score of the class (Chefer, Gur & Wolf 2021, "Generic
    Attention-model Explainability", arXiv 2103.15679, equations 5 and 6).

    Args:
        model: The model; it runs in evaluation mode.
        inputs: Model inputs: a tensor, or arguments by name.
        target: A class for all images, or one for each; by default the predicted class.
        layers: Which layers to record, as in `capture`.
        score: Function from the model's output to one number for each image; needed where the
            output is not logits and has no `.logits`.
        readout: The tokens from which the model computes its output; by default those whose output
            in the last layer has a gradient.

    Raises:
        InputError: If the output is not logits, `target` is not a class, or the layers attend to
            different tokens.
    """
    y, classes, recording = scored(model, inputs, target, layers=layers, score=score)
    return replace(relevance_of(y, recording, readout=readout), target=classes)


def scored(
    model: nn.Module,
    inputs: Inputs,
    target: int | Sequence[int] | Int[Tensor, " batch"] | None,
    *,
    layers: Layers,
    score: Score | None = None,
) -> tuple[Float[Tensor, " batch"], Int[Tensor, " batch"] | None, Recording]:
    """One forward pass with gradients, as `class_relevance` runs it: score, class, recording."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be an nn.Module, got a {type(model).__name__}")
    if isinstance(inputs, Tensor) and inputs.is_inference():
        inputs = inputs.clone()
    classes = None
    with evaluation_mode(model), gradients_on(model), capture(layers, gradients=True) as recording:
        output = model(inputs) if isinstance(inputs, Tensor) else model(**inputs)
        if score is None:
            logits = logits_of(
                output, advice="give score=..., a function from the output to a score for each"
            )
            classes = _classes(logits, target)
            y = logits.gather(1, classes[:, None])[:, 0]
        else:
            y = score(output)
    return y, classes, recording


def relevance_of(
    score: Float[Tensor, " batch"], recording: Recording, *, readout: Readout | None = None
) -> Relevance:
    """`class_relevance` for a score of each image, computed inside `capture(gradients=True)`.

    Raises `InputError` if the score has no gradient with respect to a recorded layer.
    """
    gradients = output_gradients(score, recording.records)
    matrix = relevance_matrix(recording.records, gradients)
    if readout is None:
        readout = readout_tokens(gradients[-1])
    elif readout == "mean":
        readout = range(matrix.shape[-1])
    return Relevance(
        score=score.detach(),
        target=None,
        matrix=matrix,
        tokens=read_out(matrix, readout),
        readout=(readout,) if isinstance(readout, int) else tuple(readout),
    )


def relevance_matrix(
    records: Sequence[AttentionRecord],
    gradients: Sequence[Float[Tensor, "batch heads queries value_dim"]],
) -> Float[Tensor, "batch tokens tokens"]:
    """R of `class_relevance` without the identity, from the gradients of the outputs."""
    matrix: Tensor | None = None
    for record, gradient in zip(records, gradients, strict=True):
        step = positive_contributions(record, gradient).mean(dim=1)
        matrix = _identity(step).expand_as(step) if matrix is None else matrix
        _check_same_tokens(step, matrix, record.name)
        matrix = matrix + step @ matrix
    assert matrix is not None  # noqa: S101, an empty recording has no gradients
    return matrix - _identity(matrix)


def positive_contributions(
    record: AttentionRecord, output_gradient: Float[Tensor, "batch heads queries value_dim"]
) -> Float[Tensor, "batch heads tokens tokens"]:
    """(∂y/∂A ⊙ A)⁺ of one layer, in float64."""
    weights = square_weights(record).detach()
    return (weight_gradient(record, output_gradient).double() * weights).clamp_min(0.0)


def read_out(
    matrix: Float[Tensor, "*batch tokens tokens"], readout: Readout
) -> Float[Tensor, "*batch tokens"]:
    """The row of the tokens from which the model computes its output.

    One token (mostly the class token, 0), or the mean of some, or of all ("mean") as in a model
    with mean pooling. Raises `InputError` if there is no such token.
    """
    if readout == "mean":
        return matrix.mean(dim=-2)
    tokens = [readout] if isinstance(readout, int) else list(readout)
    count = matrix.shape[-2]
    if not tokens or not all(-count <= token < count for token in tokens):
        raise InputError(f"readout must name some of {count} tokens, got {tokens}")
    return matrix[..., tokens, :].mean(dim=-2)


def square_weights(layer: Weights) -> Float[Tensor, "batch heads tokens tokens"]:
    """A layer's weights in float64; `InputError` unless they are self-attention over all tokens."""
    weights = layer.token_stages().weights if isinstance(layer, AttentionRecord) else layer
    weights = weights.double()
    if weights.dim() == 4 and weights.shape[-1] > weights.shape[-2]:
        unused = weights[..., weights.shape[-2] :]  # places of a static cache
        weights = weights if bool(unused.any()) else weights[..., : weights.shape[-2]]
    if weights.dim() != 4 or weights.shape[-1] != weights.shape[-2]:
        raise InputError(
            f"{name_of(layer)}: expected weights (batch, heads, tokens, tokens), got "
            f"{tuple(weights.shape)}; choose layers that attend from all tokens to all tokens: "
            'capture(layers="blocks.*")'
        )
    return weights


def _identity(x: Tensor) -> Float[Tensor, "tokens tokens"]:
    return torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)


def _check_one_pass(layers: Records) -> None:
    """Raise `InputError` for a recording of several forward passes."""
    if not isinstance(layers, Mapping):
        return
    modules = [name.partition("#")[0] for name in layers]
    once = len(set(modules))
    if 1 < once < len(modules) and modules == modules[:once] * (len(modules) // once):
        raise InputError(
            f"expected one forward pass, got {len(modules) // once} of {once} layers; record one. "
            "Where one pass calls the same layers again, give list(recording.records)"
        )


def _check_same_tokens(new: Tensor, old: Tensor, name: str) -> None:
    if new.shape != old.shape:
        raise InputError(
            f"{name} has (batch, tokens, tokens) {tuple(new.shape)}, the layer before it "
            f"{tuple(old.shape)}; choose layers over the same tokens: capture(layers=...)"
        )


def output_gradients(
    score: Float[Tensor, " batch"], records: Sequence[AttentionRecord]
) -> tuple[Float[Tensor, "batch heads queries value_dim"], ...]:
    """∂y/∂output of every recorded attention."""
    if score.dim() != 1:
        raise InputError(f"score must be one number for each image, got {tuple(score.shape)}")
    outputs = [record.raw_output for record in records]
    if not score.requires_grad or not all(x.requires_grad for x in outputs):
        raise InputError(
            "the score or a recorded layer has no gradient; run the model inside "
            "capture(gradients=True), without torch.no_grad, with parameters that require gradients"
        )
    with torch.inference_mode(False):
        ones = torch.ones_like(score)
        gradients = torch.autograd.grad(score, outputs, ones, allow_unused=True)
    pairs = list(zip(records, gradients, strict=True))
    for record, gradient in pairs:
        if gradient is None:
            raise InputError(
                f"the score does not depend on {record.name}; choose other layers: "
                "capture(layers=..., gradients=True)"
            )
    return tuple(record.layout.canonical(gradient) for record, gradient in pairs)


def weight_gradient(
    record: AttentionRecord, output_gradient: Float[Tensor, "*batch heads queries value_dim"]
) -> Float[Tensor, "*batch heads queries keys"]:
    """∂y/∂weights = ∂y/∂output · Vᵀ, because output = weights · V.

    Where a model changes its weights before it multiplies them with the values (such as by mixing
    heads), the gradient is propagated through that as well. Keys that are no tokens are left out.
    """
    weights = record.weights.detach()
    value = record.expanded_heads()[1].detach().to(weights)
    applied = output_gradient.to(weights) @ value.transpose(-2, -1)
    if not record.post_softmax:
        return applied
    with torch.enable_grad():
        leaf = weights.requires_grad_()
        (gradient,) = torch.autograd.grad(record.applied_weights_from(leaf), leaf, applied)
    return record.on_tokens(gradient)


def readout_tokens(gradient: Float[Tensor, "batch heads queries value_dim"]) -> list[int]:
    """The tokens with a gradient; all where none has one."""
    nonzero = (gradient != 0).any(dim=-1).flatten(0, 1).any(dim=0)
    tokens: list[int] = nonzero.nonzero()[:, 0].tolist()
    return tokens or list(range(len(nonzero)))


def _classes(logits: Tensor, target: int | Sequence[int] | Tensor | None) -> Int[Tensor, " batch"]:
    if target is None:
        return logits.detach().argmax(dim=1)
    classes = torch.as_tensor(target, device=logits.device)
    if classes.dim() == 0:
        classes = classes.expand(len(logits))
    count = logits.shape[1]
    if classes.shape != logits.shape[:1] or classes.is_floating_point():
        raise InputError(
            f"target must be one class, or one for each of {len(logits)} images, got {target}"
        )
    if not bool(((classes >= 0) & (classes < count)).all()):
        raise InputError(f"target must lie in 0 … {count - 1}, got {target}")
    return classes.long()


@contextmanager
def gradients_on(model: nn.Module) -> Iterator[None]:
    """Gradients on; a model whose parameters are all frozen is frozen again afterwards."""
    parameters = [x for x in model.parameters() if x.is_floating_point()]
    frozen = [] if any(x.requires_grad for x in parameters) else parameters
    with torch.inference_mode(False), torch.enable_grad():
        for parameter in frozen:
            parameter.requires_grad_(True)
        try:
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)
