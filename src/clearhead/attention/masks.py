"""Attention masks; True = attend.

`nn.MultiheadAttention` has the opposite polarity (True = ignore); negate with `~` there.
"""

import math
import sys

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clearhead.errors import InputError


def causal_mask(
    queries: int, keys: int, *, device: torch.device | None = None
) -> Bool[Tensor, "queries keys"]:
    """Query i attends to keys 0 … i: the lower triangle, aligned to the top left as in torch.

    Args:
        queries: Number of queries.
        keys: Number of keys.
        device: Device of the mask.

    Returns:
        A boolean mask of shape (queries, keys).

    """
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril()


def padding_mask(lengths: Int[Tensor, " batch"], keys: int) -> Bool[Tensor, "batch 1 1 keys"]:
    """Each sequence attends to its own first `length` keys.

    Args:
        lengths: Length of each sequence, integers of shape (batch,).
        keys: Number of keys, padding included.

    Returns:
        A boolean mask of shape (batch, 1, 1, keys), which broadcasts over heads and queries.

    Raises:
        InputError: If a length is negative or above `keys`.

    """
    if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= keys:
        raise InputError(f"lengths must lie in 0 … {keys}, got {lengths.tolist()}")
    positions = torch.arange(keys, device=lengths.device)
    return (positions < lengths[:, None])[:, None, None, :]


def band_mask(
    queries: int, keys: int, width: int, *, device: torch.device | None = None
) -> Bool[Tensor, "queries keys"]:
    """Query i attends to the keys at most `width` positions away.

    Args:
        queries: Number of queries.
        keys: Number of keys.
        width: Maximum distance; 0 is the diagonal.
        device: Device of the mask.

    Returns:
        A boolean mask of shape (queries, keys).

    Raises:
        InputError: If `width` is negative.

    """
    if width < 0:
        raise InputError(f"width must be 0 or more, got {width}")
    rows = torch.arange(queries, device=device)[:, None]
    columns = torch.arange(keys, device=device)
    return (rows - columns).abs() <= width


def plain_mask(attn_mask: Tensor, device: torch.device) -> Tensor:
    """A mask with at least two axes; those of `torch.nn.attention.bias` as boolean tensors.

    A `CausalBias` has no data of its own, only a variant and two lengths.
    """
    biases = sys.modules.get("torch.nn.attention.bias")  # importing it takes a second
    if biases is not None and isinstance(attn_mask, biases.CausalBias):
        queries, keys = attn_mask.seq_len_q, attn_mask.seq_len_kv
        whole = torch.ones(queries, keys, dtype=torch.bool, device=device)
        lower_right = attn_mask.variant == biases.CausalVariant.LOWER_RIGHT
        return whole.tril(keys - queries if lower_right else 0)
    return attn_mask.reshape(1, -1) if attn_mask.dim() < 2 else attn_mask


def with_causal(attn_mask: Tensor | None, queries: int, keys: int, device: torch.device) -> Tensor:
    """The causal mask, together with another mask if there is one."""
    causal = causal_mask(queries, keys, device=device)
    if attn_mask is None:
        return causal
    if attn_mask.dtype == torch.bool:
        return attn_mask & causal
    return attn_mask.masked_fill(~causal, -math.inf)
