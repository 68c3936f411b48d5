"""Maps of importance beyond the weights: value-weighted norms, and four standard maps."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.attention.stages import share_heads
from clearhead.errors import InputError
from clearhead.inference import evaluation_mode
from clearhead.insight.forward import batches, device_of
from clearhead.insight.propagation import class_relevance, read_out, rollout, square_weights
from clearhead.insight.tokens import Grid, check_tokens
from clearhead.recording import AttentionRecord, Layers, capture

Projection = nn.Linear | Tensor

RAW, ROLLOUT, RELEVANCE, VALUES = "raw attention", "rollout", "relevance", "value-weighted"


def value_norms(
    attention: AttentionRecord, projection: Projection | None = None
) -> Float[Tensor, "*batch heads queries keys"]:
    """‖w · v‖ for each head, query and key: the weight times the norm of the value.

    (Kobayashi et al. 2020, "Attention is Not Only a Weight", arXiv 2004.10102.) A large weight on a
    value with a small norm contributes little.

    Args:
        attention: A record.
        projection: The linear map after the heads are concatenated, or its weight, of shape
            (embed_dim, heads · value_dim). With it the norms are ‖w · v W_O‖, with the part of W_O
            that belongs to the head: what is added to the residual stream. Its bias belongs to no
            key and is left out.

    Raises:
        InputError: If the projection has another shape.
    """
    norms: Tensor = _head_values(attention, projection).norm(dim=-1)
    weights = attention.applied_weights
    weighted: Tensor = weights.abs() * norms[..., None, :].to(weights)
    return weighted


def standard_maps(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    grid: Grid,
    *,
    layers: Layers = None,
    projection: Projection | None = None,
    batch_size: int = 100,
) -> dict[str, Float[Tensor, "batch patches"]]:
    """Importance of each patch by four maps, such as `faithfulness` compares them.

    - "raw attention": the last layer's weights, mean over heads
    - "rollout": all layers multiplied (Abnar & Zuidema 2020)
    - "relevance": weights times gradients of the predicted class, over all layers (Chefer et al.
      2021)
    - "value-weighted": the last layer's ‖w · v‖, mean over heads (Kobayashi et al. 2020)

    Each is the row of the tokens from which the model computes its output, which gradients show.
    Only relevance depends on the class.

    Args:
        model: The model; it runs in evaluation mode.
        images: Model inputs, normalised already.
        grid: The patches.
        layers: Which layers to record, as in `capture`.
        projection: The last layer's output projection; with it the norms are ‖w · v W_O‖.
        batch_size: Images in a forward pass.

    Returns:
        The maps by name, without prefix tokens, in float64 on the CPU.

    Raises:
        InputError: If the layers do not attend from all tokens of the grid to all of them.
    """
    parts = [
        _maps(model, batch.to(device_of(model, batch)), grid, layers, projection)
        for batch in batches(images, batch_size)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _maps(
    model: nn.Module,
    images: Tensor,
    grid: Grid,
    layers: Layers,
    projection: Projection | None,
) -> dict[str, Tensor]:
    relevance = class_relevance(model, images, layers=layers)
    with evaluation_mode(model), torch.no_grad(), capture(layers) as recording:
        model(images)
    last = recording[-1]
    readout = relevance.readout
    rows = {
        RAW: read_out(square_weights(last).mean(dim=1), readout),
        ROLLOUT: read_out(rollout(recording), readout),
        RELEVANCE: relevance.tokens,
        VALUES: read_out(value_norms(last, projection).mean(dim=1), readout),
    }
    for row in rows.values():
        check_tokens(grid, row.shape[-1], last.name)
    return {name: row[:, grid.num_prefix_tokens :].double().cpu() for name, row in rows.items()}


def _head_values(
    attention: AttentionRecord, projection: Projection | None
) -> Float[Tensor, "*batch heads keys dim"]:
    """The values of every head, each through its own part of the projection, if there is one."""
    value = attention.value
    heads = attention.query.shape[-3]
    if attention.enable_gqa:
        _, value = share_heads(attention.key, value, heads)
    if projection is None:
        return value
    weight = projection.weight if isinstance(projection, nn.Linear) else projection
    if weight.dim() != 2 or weight.shape[1] != heads * value.shape[-1]:
        raise InputError(
            f"{attention.name}: the projection must be (embed_dim, heads · value_dim = "
            f"{heads * value.shape[-1]}), as a linear layer keeps it, got {tuple(weight.shape)}"
        )
    parts = weight.detach().unflatten(1, (heads, -1)).permute(1, 2, 0)
    projected: Tensor = value @ parts.to(value)
    return projected
