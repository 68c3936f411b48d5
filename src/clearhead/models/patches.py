"""An image as a sequence: cut into patches, each flattened and projected."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def cut_patches(
    images: Float[Tensor, "batch channels height width"], patch: tuple[int, int]
) -> Float[Tensor, "batch tokens pixels"]:
    """Non-overlapping patches row by row, each flattened as (channel, row, column)."""
    rows, columns = (size // side for size, side in zip(images.shape[-2:], patch, strict=True))
    cut: Tensor = images.unflatten(3, (columns, patch[1])).unflatten(2, (rows, patch[0]))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class PatchEmbed(nn.Module):
    """Each patch flattened and projected: 49 → 64 dimensions in the digit reader.

    (Dosovitskiy et al. 2021, arXiv 2010.11929, eq. 1.) The weight has the shape of a convolution
    with stride = patch size, which is the same map, so that state dicts fit timm's.
    """

    def __init__(self, patch: tuple[int, int], in_channels: int, embed_dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel_size=patch, stride=patch)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """One token a patch. As a matrix product: faster than the convolution on a CPU."""
        weight: Tensor = self.proj.weight
        return F.linear(cut_patches(images, self.patch), weight.flatten(1), self.proj.bias)
