"""The Vision Transformer: an image as a sequence of patches."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.models.config import ViTConfig
from clearhead.models.layers import (
    LAYER_NORM_EPS,
    Encoder,
    PatchEmbed,
    add_positions,
    conv_stage,
    initialise,
    sincos_grid,
)
from clearhead.models.pretrained import ImageModel


class VisionTransformer(ImageModel):
    """Patches → tokens + positions → blocks → norm → mean (or class token) → linear head.

    (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", arXiv 2010.11929.) Parameters are
    named as in timm's `VisionTransformer`; with mean pooling that is `global_pool="avg",
    fc_norm=False, class_token=False` there.

    Args:
        config: The configuration; by default that of the digit classifier.
    """

    config_class = ViTConfig
    config: ViTConfig
    pos_embed: Tensor | None

    def __init__(self, config: ViTConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ViTConfig()
        channels = config.stem_channels or config.in_channels
        self.stem = conv_stage(config.in_channels, channels) if config.stem_channels else None
        self.patch_embed = PatchEmbed(
            config.patch_shape, channels, config.embed_dim, config.patch_overlap
        )
        self.cls_token, self.reg_token = (
            nn.Parameter(torch.zeros(1, tokens, config.embed_dim)) if tokens else None
            for tokens in (int(config.pool == "class"), config.num_registers)
        )
        tokens = config.num_prefix_tokens + config.grid[0] * config.grid[1]
        add_positions(self, config, tokens, lambda: sincos_grid(config.embed_dim, config.grid))
        self.blocks = Encoder.from_config(config)
        self.norm = nn.LayerNorm(config.embed_dim, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(config.embed_dim, config.num_classes)
        initialise(self)
        for token in (self.cls_token, self.reg_token):
            if token is not None:
                nn.init.normal_(token, std=1e-6)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.config.grid

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the first patch."""
        return self.config.num_prefix_tokens

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Classify images.

        Args:
            images: Normalised images of shape (batch, channels, height, width).

        Returns:
            Logits of shape (batch, classes).

        Raises:
            InputError: If the images have another shape than the configuration, or are integers.
        """
        self.check_images(images)
        logits: Tensor = self.head(self.pooled(self.norm(self.blocks(self.embedded(images)))))
        return logits

    def embedded(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """The input of the first block: class token and registers, if any, patches; positions.

        Args:
            images: Normalised images.

        Returns:
            A vector for each token.
        """
        if self.stem is not None:
            images = self.stem(images.to(memory_format=torch.channels_last))
        tokens: Tensor = self.patch_embed(images)
        for token in (self.reg_token, self.cls_token):
            if token is not None:
                tokens = torch.cat([token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        return tokens if self.pos_embed is None else tokens + self.pos_embed

    def pooled(
        self, tokens: Float[Tensor, "batch tokens embed_dim"]
    ) -> Float[Tensor, "batch embed_dim"]:
        """One vector per image: the mean of the patch tokens, or the class token.

        Args:
            tokens: Of the last layer, after the norm.

        Returns:
            The vectors that the head classifies.
        """
        patches = tokens[:, self.num_prefix_tokens :]
        return tokens[:, 0] if self.cls_token is not None else patches.mean(dim=1)
