"""Maps of importance beyond the weights: value-weighted norms, and four standard maps."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.errors import InputError
from clearhead.inference import evaluation_mode
from clearhead.insight.forward import batches, device_of
from clearhead.insight.propagation import class_relevance, read_out, rollout, square_weights
from clearhead.insight.tokens import Grid, check_tokens
from clearhead.insight.weights import head_values
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
    value, weights = head_values(attention), attention.applied_weights
    if projection is not None:
        weight = projection.weight if isinstance(projection, nn.Linear) else projection
        heads, dim = value.shape[-3], value.shape[-1]
        if weight.dim() != 2 or weight.shape[1] != heads * dim:
            raise InputError(
                f"{attention.name}: the projection must be (embed_dim, heads · value_dim = "
                f"{heads * dim}), as a linear layer keeps it, got {tuple(weight.shape)}"
            )
        value = value @ weight.detach().unflatten(1, (heads, dim)).permute(1, 2, 0).to(value)
    norms: Tensor = value.norm(dim=-1)[..., None, :].to(weights)
    return weights.abs() * norms


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
    parts = []
    for batch in batches(images, batch_size):
        inputs = batch.to(device_of(model, batch))
        relevance = class_relevance(model, inputs, layers=layers)
        with evaluation_mode(model), torch.no_grad(), capture(layers) as recording:
            model(inputs)
        last, readout = recording[-1], relevance.readout
        check_tokens(grid, relevance.tokens.shape[-1], last.name)
        rows = (
            read_out(square_weights(last).mean(dim=1), readout),
            read_out(rollout(recording), readout),
            relevance.tokens,
            read_out(value_norms(last, projection).mean(dim=1), readout),
        )
        parts.append([row[:, grid.num_prefix_tokens :].double().cpu() for row in rows])
    names = (RAW, ROLLOUT, RELEVANCE, VALUES)
    return {
        name: torch.cat(maps) for name, maps in zip(names, zip(*parts, strict=True), strict=True)
    }
