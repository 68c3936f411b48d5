"""Attribution from the attention, the tokens and the gradients of every layer: LeGrad, TokenTM."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.errors import InputError
from clearhead.inference import evaluation_mode
from clearhead.insight.forward import class_logits, logits_of
from clearhead.insight.propagation import square_weights
from clearhead.insight.relevance import Call, Trace, gradients_on, weight_gradient
from clearhead.recording import AttentionRecord


def legrad(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    classes: Int[Tensor, " batch"],
    trace: Trace,
) -> Float[Tensor, "batch tokens"]:
    """LeGrad (Bousselham et al. 2024, arXiv 2404.03214): gradients of attention, layer by layer.

    For each layer, the score y_l of the class is computed by the model's head from the output of
    the layer's block; the map is the sum over layers of the mean of (∂y_l/∂A_l)⁺ over heads and
    query tokens. Tokens are pooled as the model pools them; the paper's scaling of each map to
    0 … 1 is left out, because it changes no rank.

    `trace` must have the calls of all modules and, by `retain_graph`, its autograd graph.
    """
    *_, last = _block_of(model, trace.records[-1].name)[1].children()
    maps = []
    for record, (_, _, leaving) in zip(trace.records, _blocks_of(model, trace), strict=True):
        # gradients only of what follows the block, so that the blocks have no second graph
        with (
            evaluation_mode(model),
            gradients_on(model, of_parameters=False),
            last.register_forward_hook(partial(_replaced, leaving)),
        ):
            y = class_logits(logits_of(model(images)), classes).sum()
        (gradient,) = torch.autograd.grad(y, record.raw_output, retain_graph=True)
        square_weights(record)  # raises unless all tokens attend to all tokens
        change = weight_gradient(record, record.layout.canonical(gradient))
        maps.append(change.double().clamp_min(0.0).mean(dim=(1, 2)))
    return torch.stack(maps).sum(0)


def tokentm(model: nn.Module, trace: Trace) -> Float[Tensor, "batch tokens tokens"]:
    """TokenTM (Wu et al. 2024, arXiv 2403.14552): relevance with the change of the tokens.

    A token e that is transformed to t has the weight w = ‖t‖ / ‖e‖ · exp(cos(e, t)) / (mean of
    exp(cos(e, t)) over tokens). Starting from C = diag(‖e‖), attention updates C ← C + mean over
    heads of (∂y/∂A ⊙ A)⁺ diag(w) C, with t = v W_O of the head, and the MLP C ← C + diag(w) C. The
    tokens e are those of the residual stream. W_O includes the factors of a LayerScale.

    `trace` must have the calls of all modules.
    """
    matrix: Tensor | None = None
    layers = zip(trace.records, trace.contributions(), _blocks_of(model, trace), strict=True)
    for record, contributions, (block, before, after) in layers:
        leaves = {x for x in block.modules() if not list(x.children())}
        inside = [(x, y) for module, x, y in trace.calls if module in leaves]
        x, leaving = before.double(), after.double()
        projection = projection_of(model, record, trace.calls)
        added = F.linear(_joined(record).double(), *_parameters(projection))
        middle, scale = _after_attention(x, added, leaving, inside, record)
        value = record.expanded_heads()[1].detach().double()
        weight = projection.weight.detach().double().unflatten(1, value.shape[-3::2])
        moved = torch.einsum("bhkv,dhv->bhkd", value, weight) * scale
        change = _transformation(x[:, None], moved)[..., None, :]
        matrix = torch.diag_embed(x.norm(dim=-1)) if matrix is None else matrix
        matrix = matrix + (contributions * change).mean(dim=1) @ matrix
        matrix = matrix + _transformation(middle, leaving - middle)[..., None] * matrix
    assert matrix is not None  # noqa: S101, there is at least one record
    return matrix


def projection_of(model: nn.Module, record: AttentionRecord, calls: Sequence[Call]) -> nn.Linear:
    """The linear map that follows an attention, W_O; `InputError` where there is none.

    It is the linear layer whose input is the attention's output, heads side by side.
    """
    context = _joined(record)
    linear = {module: x for module, x, _ in calls if isinstance(module, nn.Linear)}
    for module, x in linear.items():
        if x.shape == context.shape and torch.equal(x, context):
            return module
    # torch's own attention passes the weight of its projection to a function
    projection = getattr(model.get_submodule(record.name.partition("#")[0]), "out_proj", None)
    if isinstance(projection, nn.Linear) and projection not in linear:
        return projection
    raise InputError(
        f"no linear layer follows {record.name}; the method needs its output projection, W_O"
    )


def _blocks_of(model: nn.Module, trace: Trace) -> list[Call]:
    """The call of each layer's block; `InputError` unless each layer has a block of its own.

    A block is the nearest module around an attention that is an item of a list or a sequence.
    """
    names = [record.name for record in trace.records]
    blocks = [_block_of(model, name)[0] for name in names]
    if len(set(blocks)) < len(blocks):
        raise InputError(
            f"expected one attention in each block, got {', '.join(names)}; choose layers: "
            "layers=..."
        )
    calls = {call[0]: call for call in reversed(trace.calls)}
    for name, block in zip(names, blocks, strict=True):
        if block not in calls:
            raise InputError(
                f"the block of {name} must take a tensor as its first argument and return one"
            )
    return [calls[block] for block in blocks]


def _after_attention(
    x: Float[Tensor, "batch tokens embed_dim"],
    added: Float[Tensor, "batch tokens embed_dim"],
    leaving: Float[Tensor, "batch tokens embed_dim"],
    calls: Sequence[tuple[Tensor, Tensor]],
    record: AttentionRecord,
) -> tuple[Float[Tensor, "batch tokens embed_dim"], Float[Tensor, " embed_dim"]]:
    """The tokens after the attention, x + scale · added, and the scale of each channel.

    `InputError` if the block computes something else, such as a normalisation after the MLP.
    """
    is_last = (torch.equal(end, leaving) and not torch.equal(start, end) for start, end in calls)
    for tokens, _ in () if any(is_last) else calls:
        if tokens.shape != x.shape:
            continue
        change = tokens.double() - x
        if bool(change.any()):
            scale = (change * added).sum((0, 1)) / added.square().sum((0, 1)).clamp_min(1e-12)
            rounding = 4 * torch.finfo(tokens.dtype).eps * float(tokens.abs().max())
            share = 1e-4 + 4 * torch.finfo(record.precision).eps
            tolerance = share * float(change.abs().max()) + rounding
            if torch.allclose(change, scale * added, atol=tolerance):
                return x + change, scale
    raise InputError(
        f"TokenTM needs blocks that add attention, and then an MLP, to their tokens; that of "
        f"{record.name} does not"
    )


def _replaced(tokens: Tensor, _: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
    """The output of a block, with its tokens replaced."""
    return tokens if isinstance(output, Tensor) else (tokens, *output[1:])


def _block_of(model: nn.Module, name: str) -> tuple[nn.Module, nn.Module]:
    """The block of an attention, and the list that it is an item of."""
    parts = name.partition("#")[0].split(".")
    for length in range(len(parts) - 1, 0, -1):
        parent = model.get_submodule(".".join(parts[: length - 1]))
        block = model.get_submodule(".".join(parts[:length]))
        is_item = isinstance(parent, nn.ModuleList | nn.Sequential)
        if is_item and not isinstance(block, nn.ModuleList):
            return block, parent
    raise InputError(f"{name} is in no block of a list of blocks; LeGrad and TokenTM need blocks")


def _joined(record: AttentionRecord) -> Float[Tensor, "batch queries embed_dim"]:
    """The output of all heads side by side."""
    return record.output.detach().transpose(-3, -2).flatten(-2)


def _parameters(linear: nn.Linear) -> tuple[Tensor, Tensor | None]:
    bias = linear.bias
    return linear.weight.detach().double(), None if bias is None else bias.detach().double()


def _transformation(
    before: Float[Tensor, "*batch tokens embed_dim"],
    after: Float[Tensor, "*batch tokens embed_dim"],
) -> Float[Tensor, "*batch tokens"]:
    """Ratio of lengths times the exponential of the cosine, over its mean."""
    tiny = torch.finfo(before.dtype).tiny
    similarity = F.cosine_similarity(before, after, dim=-1).exp()
    lengths: Tensor = after.norm(dim=-1) / before.norm(dim=-1).clamp_min(tiny)
    return lengths * similarity / similarity.mean(dim=-1, keepdim=True)
