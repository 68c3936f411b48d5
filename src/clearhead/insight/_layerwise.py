"""Attribution from the attention, the tokens and the gradients of every layer: LeGrad, TokenTM."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
from clearhead.insight.relevance import gradients_on, positive_contributions, weight_gradient
from clearhead.recording import AttentionRecord, Layers, capture

Images = Float[Tensor, "batch channels height width"]
TokenMap = Float[Tensor, "batch tokens"]


def legrad(
    model: nn.Module,
    images: Images,
    classes: Int[Tensor, " batch"],
    blocks: Sequence[nn.Module],
    *,
    layers: Layers = None,
) -> TokenMap:
    """LeGrad (Bousselham et al. 2024, arXiv 2404.03214): gradients of attention, layer by layer.

    For each layer, the score y_l of the class is what the model's head makes of the tokens that
    leave the layer; the map is the sum over layers of the mean of (∂y_l/∂A_l)⁺ over heads and
    query tokens. Tokens are pooled as the model pools them; the paper's scaling of each map to
    0 … 1 is left out, because it changes no rank. `blocks` are those of the layers.
    """
    last = _last_beside(model, blocks[-1])
    maps = []
    with evaluation_mode(model), gradients_on(model):
        with tokens_observed(blocks) as tokens, capture(layers, gradients=True) as recording:
            model(images)
        for record, (_, leaving) in zip(recording.records, tokens, strict=True):
            with last.register_forward_hook(partial(_replaced, leaving)):
                logits = logits_of(model(images))
            y = class_logits(logits, classes)
            (gradient,) = torch.autograd.grad(y.sum(), record.raw_output, retain_graph=True)
            square_weights(record)  # raises unless all tokens attend to all tokens
            change = weight_gradient(record, record.layout.canonical(gradient))
            maps.append(change.double().clamp_min(0.0).mean(dim=(1, 2)))
    return torch.stack(maps).sum(0)


def tokentm(
    records: Sequence[AttentionRecord],
    gradients: Sequence[Float[Tensor, "batch heads queries value_dim"]],
    tokens: Sequence[tuple[Tensor, Tensor]],
    inside: Sequence[Sequence[tuple[Tensor, Tensor]]],
    projections: Sequence[nn.Linear],
) -> Float[Tensor, "batch tokens tokens"]:
    """TokenTM (Wu et al. 2024, arXiv 2403.14552): relevance with the change of the tokens.

    A token e that is transformed to t has the weight w = ‖t‖ / ‖e‖ · exp(cos(e, t)) / (mean of
    exp(cos(e, t)) over tokens). Starting from C = diag(‖e‖), attention updates C ← C + mean over
    heads of (∂y/∂A ⊙ A)⁺ diag(w) C, with t = v W_O of the head, and the MLP C ← C + diag(w) C. The
    tokens e are those of the residual stream. W_O includes the factors of a LayerScale.

    Args:
        records: The attention of each layer.
        gradients: Those of the score with respect to the outputs of the records.
        tokens: What enters and leaves each block.
        inside: What enters and leaves the modules without children in each block.
        projections: The output projection of each attention.
    """
    entering = tokens[0][0].detach().double()
    matrix = torch.diag_embed(entering.norm(dim=-1))
    for record, gradient, (before, after), calls, projection in zip(
        records, gradients, tokens, inside, projections, strict=True
    ):
        x, leaving = before.detach().double(), after.detach().double()
        added = F.linear(_joined(record).double(), *_parameters(projection))
        middle, scale = _after_attention(x, added, after, calls, record.name)
        value = record.expanded_heads()[1].detach().double()
        weight = projection.weight.detach().double().unflatten(1, value.shape[-3::2])
        moved = torch.einsum("bhkv,dhv->bhkd", value, weight) * scale
        change = _transformation(x[:, None], moved)[..., None, :]
        matrix = matrix + (positive_contributions(record, gradient) * change).mean(dim=1) @ matrix
        matrix = matrix + _transformation(middle, leaving - middle)[..., None] * matrix
    return matrix


def blocks_of(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """The Transformer block of each attention; `InputError` unless each has a block of its own.

    A block is the nearest module around an attention that is an item of a list or a sequence.
    """
    blocks = [_block_of(model, name) for name in names]
    if len(set(blocks)) < len(blocks):
        raise InputError(
            f"expected one attention in each block, got {', '.join(names)}; choose layers: "
            "layers=..."
        )
    return blocks


def output_projections(model: nn.Module, images: Images, layers: Layers = None) -> list[nn.Linear]:
    """The linear map that follows each attention, W_O; `InputError` where there is none.

    It is the linear layer whose input is the attention's output, heads side by side.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    observed, captured = calls_observed(linear), capture(layers)
    with evaluation_mode(model), torch.no_grad(), observed as calls, captured as recording:
        model(images[:1])
    inputs = [(module, args[0]) for module, args, _ in calls if args]
    return [_projection_of(model, record, inputs) for record in recording.records]


Calls = list[tuple[Any, tuple[Any, ...], Any]]


@contextmanager
def calls_observed(modules: Iterable[nn.Module]) -> Iterator[Calls]:
    """Collect module, arguments and output of each call of these modules, while a model runs."""
    calls: Calls = []
    with ExitStack() as hooks:
        for module in modules:
            hooks.enter_context(module.register_forward_hook(lambda *call: calls.append(call)))
        yield calls


@contextmanager
def tokens_observed(blocks: Sequence[nn.Module]) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Collect what enters and what leaves each block, while a model runs."""
    tokens: list[tuple[Tensor, Tensor]] = []
    with calls_observed(blocks) as calls:
        yield tokens
    tokens += [(args[0], x if isinstance(x, Tensor) else x[0]) for _, args, x in calls]


@contextmanager
def tokens_observed_inside(
    blocks: Sequence[nn.Module],
) -> Iterator[list[list[tuple[Tensor, Tensor]]]]:
    """Collect what enters and leaves the modules without children in each block."""
    tokens: list[list[tuple[Tensor, Tensor]]] = [[] for _ in blocks]
    owner = {
        x: i for i, block in enumerate(blocks) for x in block.modules() if not list(x.children())
    }
    with calls_observed(owner) as calls:
        yield tokens
    for module, args, x in calls:
        if args and isinstance(args[0], Tensor) and isinstance(x, Tensor):
            tokens[owner[module]].append((args[0].detach(), x.detach()))


def _after_attention(
    x: Float[Tensor, "batch tokens embed_dim"],
    added: Float[Tensor, "batch tokens embed_dim"],
    leaving: Float[Tensor, "batch tokens embed_dim"],
    calls: Sequence[tuple[Tensor, Tensor]],
    name: str,
) -> tuple[Float[Tensor, "batch tokens embed_dim"], Float[Tensor, " embed_dim"]]:
    """The tokens after the attention, x + scale · added, and the scale of each channel.

    A block whose last operation is a module, such as a normalisation, is not of this kind.
    """
    is_last = (torch.equal(end, leaving) and not torch.equal(start, end) for start, end in calls)
    for tokens, _ in () if any(is_last) else calls:
        if tokens.shape != x.shape:
            continue
        change = tokens.double() - x
        if bool(change.any()):
            scale = (change * added).sum((0, 1)) / added.square().sum((0, 1)).clamp_min(1e-12)
            rounding = 4 * torch.finfo(tokens.dtype).eps * float(tokens.abs().max())
            tolerance = 1e-4 * float(change.abs().max()) + rounding
            if torch.allclose(change, scale * added, atol=tolerance):
                return x + change, scale
    raise InputError(
        f"the block of {name} does not add attention to its tokens, and then an MLP; TokenTM needs "
        "such blocks"
    )


def _replaced(tokens: Tensor, _: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
    """The output of a block with other tokens."""
    return tokens if isinstance(output, Tensor) else (tokens, *output[1:])


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
    if isinstance(projection, nn.Linear) and all(projection is not module for module, _ in inputs):
        return projection
    raise InputError(f"no linear layer follows {record.name}; the method needs W_O")


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
