"""Plasma fractals: smooth random heights at every size at once, for fog."""

import torch
from jaxtyping import Float
from torch import Tensor

MAP_SIDE = 256
WINDOWS = 25  # images that are given windows of one map


def plasma(
    count: int, side: int, decay: float, generator: torch.Generator
) -> Float[Tensor, "count side side"]:
    """`count` windows of side × side from maps between 0 and 1, at random places.

    A map wraps round, so that every place in it is as good as another.
    """
    maps = diamond_square(-(-count // WINDOWS), decay, generator)
    corners = torch.randint(0, MAP_SIDE, (count, 2), generator=generator)
    within = torch.arange(side)
    rows = (corners[:, :1] + within) % MAP_SIDE
    columns = (corners[:, 1:] + within) % MAP_SIDE
    which = torch.arange(count) // WINDOWS
    windows: Tensor = maps[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    return windows


def diamond_square(
    count: int, decay: float, generator: torch.Generator
) -> Float[Tensor, "count 256 256"]:
    """Maps of heights between 0 and 1 (Fournier, Fussell & Carpenter 1982).

    From one corner on, the middle of every square and then of every diamond is the mean of its four
    neighbours and a number from ± roughness, which falls by `decay`² as squares are halved (the
    square because the published files take `decay` into both the size of the noise and its factor).
    """
    heights = torch.zeros(count, MAP_SIDE, MAP_SIDE)
    step, roughness = MAP_SIDE, 1.0

    def middle(*neighbours: Tensor) -> Tensor:
        noise = 2 * torch.rand(neighbours[0].shape, generator=generator) - 1
        return torch.stack(neighbours).mean(dim=0) + roughness * noise

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        below, right = corners.roll(-1, 1), corners.roll(-1, 2)
        centres = middle(corners, below, right, below.roll(-1, 2))
        heights[:, half::step, half::step] = centres
        heights[:, ::step, half::step] = middle(corners, right, centres, centres.roll(1, 1))
        heights[:, half::step, ::step] = middle(corners, below, centres, centres.roll(1, 2))
        step, roughness = half, roughness / decay**2
    lowest = heights.amin(dim=(1, 2), keepdim=True)
    highest = heights.amax(dim=(1, 2), keepdim=True)
    return (heights - lowest) / (highest - lowest)
