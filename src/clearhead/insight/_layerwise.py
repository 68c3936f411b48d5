"""Attribution from the attention, the tokens and the gradients of every layer: LeGrad, TokenTM."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.errors import InputError
from clearhead.inference import evaluation_mode
from clearhead.insight.forward import logits_of
from clearhead.insight.propagation import (
    gradients_on,
    output_gradients,
    square_weights,
    weight_gradient,
)
from clearhead.recording import AttentionRecord, Layers, Recording, capture

Images = Float[Tensor, "batch channels height width"]
TokenMap = Float[Tensor, "batch tokens"]


def legrad(
    model: nn.Module, images: Images, classes: Int[Tensor, " batch"], *, layers: Layers = None
) -> TokenMap:
    """LeGrad (Bousselham et al. 2024, arXiv 2404.03214): gradients of attention, layer by layer.

    For each layer, the score y_l of the class is what the model's head makes of the tokens that
    leave the layer; the map is the sum over layers of the mean of (∂y_l/∂A_l)⁺ over heads and
    query tokens. Tokens are pooled as the model pools them; the paper's scaling of each map to
    0 … 1 is left out, because it changes no rank.
    """
    blocks = blocks_of(model, images, layers)
    last = _last_beside(model, blocks[-1])
    leaving: list[Tensor] = []
    total: Tensor | None = None
    with evaluation_mode(model), gradients_on(model):
        with _outputs_observed(blocks, leaving), capture(layers, gradients=True) as recording:
            model(images)
        for record, tokens in zip(recording.records, leaving, strict=True):
            with _output_replaced(last, tokens):
                logits = logits_of(model(images))
            y = logits.gather(1, classes[:, None]).sum()
            (gradient,) = torch.autograd.grad(y, record.raw_output, retain_graph=True)
            square_weights(record)  # raises unless all tokens attend to all tokens
            change = weight_gradient(record, record.layout.canonical(gradient))
            one = change.double().clamp_min(0.0).mean(dim=(1, 2))
            total = one if total is None else total + one
    assert total is not None  # noqa: S101, a recording is not empty
    return total


def tokentm(
    y: Float[Tensor, " batch"],
    recording: Recording,
    tokens: Sequence[tuple[Tensor, Tensor]],
    projections: Sequence[nn.Linear],
) -> Float[Tensor, "batch tokens tokens"]:
    """TokenTM (Wu et al. 2024, arXiv 2403.14552): relevance with the change of the tokens.

    A token e that is transformed to t has the weight w = ‖t‖ / ‖e‖ · exp(cos(e, t)) / (mean of
    exp(cos(e, t)) over tokens). Starting from C = diag(‖e‖), attention updates C ← C + mean over
    heads of (∂y/∂A ⊙ A)⁺ diag(w) C, with t = v W_O of the head, and the MLP C ← C + diag(w) C. The
    tokens e are those of the residual stream.

    Args:
        y: The score, computed inside `capture(gradients=True)`.
        recording: That recording.
        tokens: What enters and leaves each block.
        projections: The output projection of each attention.
    """
    entering = tokens[0][0].detach().double()
    matrix = torch.diag_embed(entering.norm(dim=-1))
    gradients = output_gradients(y, recording.records)
    for record, gradient, (before, after), projection in zip(
        recording.records, gradients, tokens, projections, strict=True
    ):
        x, leaving = before.detach().double(), after.detach().double()
        gain = weight_gradient(record, gradient).double() * square_weights(record).detach()
        value = record.expanded_heads()[1].detach().double()
        weight = projection.weight.detach().double().unflatten(1, value.shape[-3::2])
        moved = torch.einsum("bhkv,dhv->bhkd", value, weight)
        change = _transformation(x[:, None], moved)[..., None, :]
        matrix = matrix + (gain.clamp_min(0.0) * change).mean(dim=1) @ matrix
        middle = x + F.linear(_joined(record).double(), *_parameters(projection))
        matrix = matrix + _transformation(middle, leaving - middle)[..., None] * matrix
    return matrix


def blocks_of(model: nn.Module, images: Images, layers: Layers = None) -> list[nn.Module]:
    """The Transformer block of each attention; `InputError` unless each has a block of its own.

    A block is the nearest module around an attention that is an item of a list or a sequence.
    """
    with evaluation_mode(model), torch.no_grad(), capture(layers) as recording:
        model(images[:1])
    blocks = [_block_of(model, name) for name in recording.names]
    if len(set(blocks)) < len(blocks):
        raise InputError(
            f"expected one attention in each block, got {', '.join(recording.names)}; choose "
            "layers: layers=..."
        )
    return blocks


def output_projections(model: nn.Module, images: Images, layers: Layers = None) -> list[nn.Linear]:
    """The linear map that follows each attention, W_O; `InputError` where there is none.

    It is the linear layer whose input is the attention's output, heads side by side.
    """
    inputs: list[tuple[nn.Linear, Tensor]] = []

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(module, nn.Linear):
            inputs.append((module, args[0].detach()))

    hooks = [
        module.register_forward_pre_hook(note)
        for module in model.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with evaluation_mode(model), torch.no_grad(), capture(layers) as recording:
            model(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return [_projection_of(model, record, inputs) for record in recording.records]


@contextmanager
def tokens_observed(
    blocks: Sequence[nn.Module], tokens: list[tuple[Tensor, Tensor]]
) -> Iterator[None]:
    """Append what enters and what leaves each block, while a model runs."""

    def note(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        tokens.append((args[0], _tensor_of(output)))

    hooks = [block.register_forward_hook(note) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _outputs_observed(blocks: Sequence[nn.Module], outputs: list[Tensor]) -> Iterator[None]:
    pairs: list[tuple[Tensor, Tensor]] = []
    with tokens_observed(blocks, pairs):
        yield
    outputs += [output for _, output in pairs]


@contextmanager
def _output_replaced(block: nn.Module, tokens: Tensor) -> Iterator[None]:
    """The block returns these tokens, whatever it computes."""

    def replace(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        return tokens if isinstance(output, Tensor) else (tokens, *output[1:])

    hook = block.register_forward_hook(replace)
    try:
        yield
    finally:
        hook.remove()


def _block_of(model: nn.Module, name: str) -> nn.Module:
    parts = name.partition("#")[0].split(".")
    for length in range(len(parts) - 1, 0, -1):
        parent = model.get_submodule(".".join(parts[: length - 1]))
        block = model.get_submodule(".".join(parts[:length]))
        is_item = isinstance(parent, nn.ModuleList | nn.Sequential)
        if is_item and not isinstance(block, nn.ModuleList):
            return block
    raise InputError(f"{name} is in no block of a list of blocks; LeGrad and TokenTM need blocks")


def _last_beside(model: nn.Module, block: nn.Module) -> nn.Module:
    """The last block of the list that this one is in."""
    for module in model.modules():
        children = list(module.children())
        if isinstance(module, nn.ModuleList | nn.Sequential) and block in children:
            return children[-1]
    return block


def _projection_of(
    model: nn.Module, record: AttentionRecord, inputs: Sequence[tuple[nn.Linear, Tensor]]
) -> nn.Linear:
    context = _joined(record)
    for module, x in inputs:
        if x.shape == context.shape and torch.equal(x, context):
            return module
    # torch's own attention passes the weight of its projection to a function
    projection = getattr(model.get_submodule(record.name.partition("#")[0]), "out_proj", None)
    if isinstance(projection, nn.Linear):
        return projection
    raise InputError(f"no linear layer follows {record.name}; the method needs W_O")


def _joined(record: AttentionRecord) -> Float[Tensor, "batch queries embed_dim"]:
    """The output of all heads side by side."""
    return record.output.detach().transpose(-3, -2).flatten(-2)


def _parameters(linear: nn.Linear) -> tuple[Tensor, Tensor | None]:
    bias = linear.bias
    return linear.weight.detach().double(), None if bias is None else bias.detach().double()


def _tensor_of(output: Any) -> Tensor:
    tokens = output if isinstance(output, Tensor) else output[0]
    assert isinstance(tokens, Tensor)  # noqa: S101
    return tokens


def _transformation(
    before: Float[Tensor, "*batch tokens embed_dim"],
    after: Float[Tensor, "*batch tokens embed_dim"],
) -> Float[Tensor, "*batch tokens"]:
    """Ratio of lengths times the exponential of the cosine, over its mean."""
    tiny = torch.finfo(before.dtype).tiny
    similarity = F.cosine_similarity(before, after, dim=-1).exp()
    lengths: Tensor = after.norm(dim=-1) / before.norm(dim=-1).clamp_min(tiny)
    return lengths * similarity / similarity.mean(dim=-1, keepdim=True)
