"""Where a token is: attention itself knows no order, so positions are added to the tokens."""

import torch
from jaxtyping import Float
from torch import Tensor


def sincos_positions(embed_dim: int, grid: tuple[int, int]) -> Float[Tensor, "1 tokens embed_dim"]:
    """Sine and cosine of row and column at embed_dim / 4 frequencies each.

    (Vaswani et al. 2017, section 3.5, taken to two axes as in MoCo v3, arXiv 2104.02057.)
    """
    frequencies = 10_000.0 ** -(torch.arange(embed_dim // 4) / (embed_dim // 4))
    rows, columns = torch.meshgrid(
        torch.arange(grid[0]).float(), torch.arange(grid[1]).float(), indexing="ij"
    )
    angles = [axis.reshape(-1, 1) * frequencies for axis in (columns, rows)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)[None]


def sincos_places(embed_dim: int, tokens: int) -> Float[Tensor, "1 tokens embed_dim"]:
    """Sine and cosine of the place in a text at embed_dim / 2 frequencies.

    (Vaswani et al. 2017, section 3.5; all sines first, then all cosines.)
    """
    frequencies = 10_000.0 ** -(torch.arange(embed_dim // 2) / (embed_dim // 2))
    angles = torch.arange(tokens).float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)[None]
