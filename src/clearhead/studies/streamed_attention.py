"""Attention without its matrix: some rows and some keys at a time, the softmax on its way."""

import torch
from jaxtyping import Float
from torch import Tensor

ROWS, COLUMNS = 128, 512


def streamed_attention(
    query: Float[Tensor, "*batch queries head_dim"],
    key: Float[Tensor, "*batch keys head_dim"],
    value: Float[Tensor, "*batch keys value_dim"],
    *,
    rows: int = ROWS,
    columns: int = COLUMNS,
) -> Float[Tensor, "*batch queries value_dim"]:
    """softmax(Q Kᵀ / √d_k) V, never more than `rows` × `columns` scores at once.

    (Rabe and Staats 2021, "Self-attention Does Not Need O(n²) Memory", arXiv 2112.05682; the
    running maximum of Milakov and Gimelshein 2018, arXiv 1805.02867.) A study's own: it shows what
    the idea costs in plain PyTorch, forward only; `scaled_dot_product_attention` is the fast way.
    """
    blocks = list(zip(key.split(columns, dim=-2), value.split(columns, dim=-2), strict=True))
    return torch.cat([_some_rows(some, blocks) for some in query.split(rows, dim=-2)], dim=-2)


def _some_rows(query: Tensor, blocks: list[tuple[Tensor, Tensor]]) -> Tensor:
    query = query * query.shape[-1] ** -0.5
    largest = query.new_full((*query.shape[:-1], 1), -torch.inf)
    mass = torch.zeros_like(largest)
    context = query.new_zeros((*query.shape[:-1], blocks[0][1].shape[-1]))
    for key, value in blocks:
        scores = query @ key.transpose(-2, -1)
        larger = torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
        shrink = torch.exp(largest - larger)
        weights = torch.exp(scores - larger)
        mass = mass * shrink + weights.sum(dim=-1, keepdim=True)
        context = context * shrink + weights @ value
        largest = larger
    return context / mass
