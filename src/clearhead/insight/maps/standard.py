"""The four maps that people show as what a Vision Transformer looked at."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.inference import evaluation_mode
from clearhead.insight.answers import batches, device_of
from clearhead.insight.maps.norms import Projection, value_norms
from clearhead.insight.maps.relevance import class_relevance
from clearhead.insight.maps.rollout import read_out, rollout, square_weights
from clearhead.insight.tokens import Grid, check_tokens
from clearhead.recording._capture import Layers, capture

RAW, ROLLOUT, RELEVANCE, VALUES = "raw attention", "rollout", "relevance", "value-weighted"


def standard_maps(
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    grid: Grid,
    *,
    layers: Layers = None,
    projection: Projection | None = None,
    batch_size: int = 100,
) -> dict[str, Float[Tensor, "batch patches"]]:
    """Importance of each patch by four maps, for `faithfulness`.

    - "raw attention": the last layer's weights, mean over heads
    - "rollout": all layers multiplied (Abnar & Zuidema 2020)
    - "relevance": weights times gradients of the answer, over all layers (Chefer et al. 2021)
    - "value-weighted": the last layer's ‖w · v‖, mean over heads (Kobayashi et al. 2020); with
      `projection`, that layer's output map, ‖w · v W_O‖

    Each is read at the tokens that the answer is read from, which the gradients tell, and given
    without its prefix tokens. Only relevance knows which answer it is about.
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
    with evaluation_mode(model), torch.no_grad(), capture(layers) as seen:
        model(images)
    matrices = {
        RAW: square_weights(seen[-1]).mean(dim=1),
        ROLLOUT: rollout(seen),
        VALUES: value_norms(seen[-1], projection).mean(dim=1),
    }
    rows = {name: read_out(matrix, relevance.readout) for name, matrix in matrices.items()}
    rows[RELEVANCE] = relevance.tokens
    return {
        name: _patches(rows[name], grid, seen[-1].name)
        for name in (RAW, ROLLOUT, RELEVANCE, VALUES)
    }


def _patches(tokens: Float[Tensor, "batch tokens"], grid: Grid, layer: str) -> Tensor:
    check_tokens(grid, tokens.shape[-1], layer)
    return tokens[:, grid.num_prefix_tokens :].double().cpu()
