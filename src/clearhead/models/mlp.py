"""Baseline: the Transformer's shape without its attention."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.models.block import LAYER_NORM_EPS, Mlp
from clearhead.models.config import MLPConfig
from clearhead.models.initial import init_weights
from clearhead.models.inputs import check_images
from clearhead.models.patches import PatchEmbed
from clearhead.models.pretrained import Pretrained


class MLPBlock(nn.Module):
    """x + MLP(LayerNorm(x)): every token thinks for itself, none talk."""

    def __init__(self, embed_dim: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(embed_dim, int(embed_dim * mlp_ratio))

    def forward(
        self, x: Float[Tensor, "batch tokens embed_dim"]
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """One layer."""
        mixed: Tensor = x + self.mlp(self.norm(x))
        return mixed


class PatchMLP(Pretrained):
    """Patches → tokens + positions → blocks of MLPs → norm → mean → head.

    What is left of the Vision Transformer when its tokens may not look at one another.
    """

    config_class = MLPConfig
    config: MLPConfig

    def __init__(self, config: MLPConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MLPConfig()
        self.patch_embed = PatchEmbed(config.patch_shape, config.in_channels, config.embed_dim)
        tokens = config.grid[0] * config.grid[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, config.embed_dim))
        self.blocks = nn.Sequential(
            *(MLPBlock(config.embed_dim, config.mlp_ratio) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(config.embed_dim, config.num_classes)
        self.apply(init_weights)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of normalised images."""
        check_images(images, self.config)
        tokens = self.blocks(self.patch_embed(images) + self.pos_embed)
        logits: Tensor = self.head(self.norm(tokens).mean(dim=1))
        return logits
