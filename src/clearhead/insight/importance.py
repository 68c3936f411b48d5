"""Attention weights times the norms of the values."""

from jaxtyping import Float
from torch import Tensor, nn

from clearhead.errors import InputError
from clearhead.recording import AttentionRecord

Projection = nn.Linear | Tensor


def value_norms(
    attention: AttentionRecord, projection: Projection | None
) -> Float[Tensor, "*batch heads queries keys"]:
    """‖w · v W_O‖ for each head, query and key: the weight times the norm of the value.

    (Kobayashi et al. 2020, "Attention is Not Only a Weight", arXiv 2004.10102.) A large weight on a
    value with a small norm contributes little.

    Args:
        attention: A record.
        projection: The linear map after the heads are concatenated, or its weight, of shape
            (embed_dim, heads · value_dim). The part of it that belongs to the head maps a value to
            what is added to the residual stream; its bias belongs to no key and is left out. None:
            ‖w · v‖, without it.

    Raises:
        InputError: If the projection has another shape.
    """
    (_, value), weights = attention.expanded_heads(), attention.applied_weights
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
