"""Value-weighted norms: how long the vector is that a key really hands over."""

from jaxtyping import Float
from torch import Tensor, nn

from clearhead.attention.stages import share_heads
from clearhead.errors import InputError
from clearhead.recording._record import AttentionRecord

Projection = nn.Linear | Tensor


def value_norms(
    attention: AttentionRecord, projection: Projection | None = None
) -> Float[Tensor, "*batch heads queries keys"]:
    """‖w · v‖ for each head, query and key: the weight times the length of the value.

    (Kobayashi et al. 2020, "Attention is Not Only a Weight", arXiv 2004.10102.) A large weight on
    a short value hands over little. With `projection`, the linear map after the heads are joined,
    ‖w · v W_O‖, with the rows of W_O that belong to the head: what enters the residual stream. Its
    bias belongs to no key and is left out. Weights are those that met the values.
    """
    lengths: Tensor = head_values(attention, projection).norm(dim=-1)
    weights = attention.applied_weights
    norms: Tensor = weights.abs() * lengths[..., None, :].to(weights)
    return norms


def joined_norms(
    attention: AttentionRecord, projection: Projection
) -> Float[Tensor, "*batch queries keys"]:
    """‖Σ_h w_h · v_h W_O,h‖: what a key hands to a query through all heads together.

    (Kobayashi et al. 2020, equation 8.) Heads may cancel each other, so this is at most the sum of
    theirs.
    """
    weights = attention.applied_weights
    handed = head_values(attention, projection).to(weights)
    total = weights[..., 0, :, :, None] * handed[..., 0, None, :, :]
    for head in range(1, weights.shape[-3]):
        total = total + weights[..., head, :, :, None] * handed[..., head, None, :, :]
    norms: Tensor = total.norm(dim=-1)
    return norms


def head_values(
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
    through: Tensor = value @ parts.to(value)
    return through
