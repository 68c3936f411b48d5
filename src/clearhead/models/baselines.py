"""Baselines with as many parameters as the Vision Transformer: without attention, and a CNN."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.models.config import CNNConfig, MLPConfig
from clearhead.models.layers import LAYER_NORM_EPS, Mlp, PatchEmbed, conv_stage, initialise
from clearhead.models.pretrained import ImageModel


class PatchConv(nn.Module):
    """A 3 × 3 convolution on the grid of patches, between fewer channels and all of them.

    With two fifths of the channels it has 4 embed_dim² weights, as attention has. Both parts are
    `nn.Linear`, so that Muon treats them as it does the matrices of attention.
    """

    def __init__(self, embed_dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid, channels = grid, max(round(0.4 * embed_dim), 1)
        self.reduce = nn.Linear(embed_dim, channels)
        self.mix = nn.Linear(9 * channels, embed_dim)

    def forward(
        self, x: Float[Tensor, "batch tokens embed_dim"]
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """Every patch gets a linear map of itself and its eight neighbours."""
        images = self.reduce(x).mT.unflatten(2, self.grid)
        mixed: Tensor = self.mix(F.unfold(images, 3, padding=1).mT)
        return mixed


class MLPBlock(nn.Module):
    """x + MLP(LayerNorm(x)): a Transformer block without attention, or with `PatchConv` instead."""

    def __init__(
        self, embed_dim: int, mlp_ratio: float, conv_grid: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        if conv_grid is not None:
            self.conv_norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.conv = None if conv_grid is None else PatchConv(embed_dim, conv_grid)
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(embed_dim, int(embed_dim * mlp_ratio))

    def forward(
        self, x: Float[Tensor, "batch tokens embed_dim"]
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """One layer."""
        if self.conv is not None:
            x = x + self.conv(self.conv_norm(x))
        output: Tensor = x + self.mlp(self.norm(x))
        return output


class PatchMLP(ImageModel):
    """Patches → tokens + positions → blocks of MLPs → norm → mean → linear head.

    The Vision Transformer without attention: tokens exchange no information before the mean, unless
    `patch_conv` replaces attention by convolutions between neighbours.

    Args:
        config: The configuration.
    """

    config_class = MLPConfig
    config: MLPConfig

    def __init__(self, config: MLPConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MLPConfig()
        self.patch_embed = PatchEmbed(config.patch_shape, config.in_channels, config.embed_dim)
        tokens = config.grid[0] * config.grid[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, config.embed_dim))
        conv_grid = config.grid if config.patch_conv else None
        self.blocks = nn.Sequential(
            *(MLPBlock(config.embed_dim, config.mlp_ratio, conv_grid) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(config.embed_dim, config.num_classes)
        initialise(self)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of normalised images.

        Args:
            images: Normalised images.

        Returns:
            A logit for each class.

        Raises:
            InputError: The images have another shape than the configuration, or are integers.
        """
        self.check_images(images)
        tokens = self.blocks(self.patch_embed(images) + self.pos_embed)
        logits: Tensor = self.head(self.norm(tokens).mean(dim=1))
        return logits


class ConvNet(ImageModel):
    """Stages of two convolutions, max-pooling of 2 × 2 between them, global mean, linear head.

    Args:
        config: The configuration.
    """

    config_class = CNNConfig
    config: CNNConfig

    def __init__(self, config: CNNConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CNNConfig()
        inputs = (config.in_channels, *config.widths[:-1])
        self.stages = nn.ModuleList(
            conv_stage(channels, width)
            for channels, width in zip(inputs, config.widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(config.widths[-1], config.num_classes)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of normalised images.

        Args:
            images: Normalised images.

        Returns:
            A logit for each class.

        Raises:
            InputError: The images have another shape than the configuration, or are integers.
        """
        self.check_images(images)
        x = self.stages[0](images.to(memory_format=torch.channels_last))  # twice as fast on a CPU
        for stage in self.stages[1:]:
            x = stage(self.pool(x))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits
