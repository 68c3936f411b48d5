"""One head of one attention, stage by stage, with the shapes of the model it is taken from."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from clearhead.attention.stages import share_heads
from clearhead.errors import InputError
from clearhead.recording._record import AttentionRecord


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionFlow:
    """tokens → Q, K, V → scores → scaled → masked → weights → context, for one image and head.

    `all_weights` and `all_contexts` are those of every head: side by side they are joined and go
    through one linear map, back to `embed_dim`.
    """

    layer: str
    head: int
    embed_dim: int
    scale: float
    query: Float[Tensor, "queries head_dim"]
    key: Float[Tensor, "keys head_dim"]
    value: Float[Tensor, "keys value_dim"]
    scores: Float[Tensor, "queries keys"]
    scaled: Float[Tensor, "queries keys"]
    masked: Float[Tensor, "queries keys"]
    weights: Float[Tensor, "queries keys"]
    context: Float[Tensor, "queries value_dim"]
    all_weights: Float[Tensor, "heads queries keys"]
    all_contexts: Float[Tensor, "heads queries value_dim"]


def attention_flow(
    attention: AttentionRecord, embed_dim: int, *, image: int = 0, head: int = 0
) -> AttentionFlow:
    """The stages of one head. `embed_dim` is the size of the tokens before and after."""
    if attention.query.dim() != 4:
        raise InputError(
            f"{attention.name}: expected (batch, heads, queries, head_dim), got "
            f"{tuple(attention.query.shape)}; choose a layer without windows"
        )
    images, heads = attention.query.shape[:2]
    if not (0 <= image < images and 0 <= head < heads):
        raise InputError(
            f"{attention.name} has {images} images and {heads} heads, "
            f"not image {image} and head {head} (both from 0)"
        )
    key, value = attention.key, attention.value
    if attention.enable_gqa:
        key, value = share_heads(key, value, heads)
    scale = attention.scale
    if isinstance(scale, Tensor):
        scale = float(scale.expand(images, heads, 1, 1)[image, head, 0, 0])
    seen = attention.stages(batch=image)
    return AttentionFlow(
        layer=attention.name,
        head=head,
        embed_dim=embed_dim,
        scale=scale,
        query=attention.query[image, head],
        key=key[image, head],
        value=value[image, head],
        scores=seen.scores[0, head],
        scaled=seen.scaled[0, head],
        masked=seen.masked[0, head],
        weights=seen.weights[0, head],
        context=seen.context[0, head],
        all_weights=seen.weights[0],
        all_contexts=seen.context[0],
    )
