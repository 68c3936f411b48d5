"""Layers that the models share: patch embedding, positions, MLP, Transformer block, encoder."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.attention import MultiHeadAttention
from clearhead.models.config import TextConfig, ViTConfig

LAYER_NORM_EPS = 1e-6  # timm's, not torch's 1e-5


def cut_patches(
    images: Num[Tensor, "batch channels height width"], patch: tuple[int, int]
) -> Num[Tensor, "batch tokens pixels"]:
    """Patches of this height and width, row by row, each flattened as (channel, row, column)."""
    rows, columns = (size // side for size, side in zip(images.shape[-2:], patch, strict=True))
    batch, channels = images.shape[:2]
    cut = images.reshape(batch, channels, rows, patch[0], columns, patch[1])
    flat = (batch, rows * columns, channels * patch[0] * patch[1])
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(flat)


class PatchEmbed(nn.Module):
    """Linear projection of each flattened patch: 49 → 64 in the digit classifier.

    (Dosovitskiy et al. 2021, arXiv 2010.11929, eq. 1.) The weight has the shape of a convolution
    with stride = patch size, which is the same map, so that state dicts fit timm's. With an
    overlap, in pixels on every side, it is larger, and the image is padded with zeros.
    """

    def __init__(
        self, patch: tuple[int, int], in_channels: int, embed_dim: int, overlap: int = 0
    ) -> None:
        super().__init__()
        self.patch, self.overlap = patch, overlap
        kernel = (patch[0] + 2 * overlap, patch[1] + 2 * overlap)
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel, stride=patch, padding=overlap)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """One token per patch. As a matrix product: faster than the convolution on a CPU."""
        weight: Tensor = self.proj.weight
        if self.overlap:
            patches = F.unfold(images, weight.shape[2:], padding=self.overlap, stride=self.patch).mT
        else:
            patches = cut_patches(images, self.patch)
        return F.linear(patches, weight.flatten(1), self.proj.bias)


def conv_stage(in_channels: int, width: int) -> nn.Sequential:
    """Two 3 × 3 convolutions, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, width):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def sincos_grid(embed_dim: int, grid: tuple[int, int]) -> Float[Tensor, "1 tokens embed_dim"]:
    """Fixed position embedding of a grid: sine and cosine of column and row.

    (Vaswani et al. 2017, section 3.5, extended to two axes as in MoCo v3, arXiv 2104.02057.) Each
    takes a quarter of embed_dim, which is divisible by 4.
    """
    rows, columns = torch.meshgrid(
        torch.arange(grid[0]).float(), torch.arange(grid[1]).float(), indexing="ij"
    )
    frequencies = _frequencies(embed_dim // 4)
    angles = [axis.reshape(-1, 1) * frequencies for axis in (columns, rows)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)[None]


def sincos_sequence(embed_dim: int, tokens: int) -> Float[Tensor, "1 tokens embed_dim"]:
    """Fixed position embedding of a sequence: all sines, then all cosines.

    (Vaswani et al. 2017, section 3.5.)
    """
    angles = torch.arange(tokens).float()[:, None] * _frequencies(embed_dim // 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[None]


def add_positions(
    model: nn.Module,
    config: ViTConfig | TextConfig,
    tokens: int,
    fixed: Callable[[], Float[Tensor, "1 positions embed_dim"]],
) -> None:
    """Add `pos_embed` to a model: a parameter, or a buffer of `fixed`, or None.

    Tokens before the fixed positions have zeros.
    """
    if config.pos_embed == "sincos":
        positions = fixed()
        padding = (0, 0, tokens - positions.shape[1], 0)
        model.register_buffer("pos_embed", F.pad(positions, padding))
    else:
        learned = nn.Parameter(torch.zeros(1, tokens, config.embed_dim))
        model.register_parameter("pos_embed", learned if config.pos_embed == "learned" else None)


def _frequencies(count: int) -> Tensor:
    frequencies: Tensor = 10_000.0 ** -(torch.arange(count) / count)
    return frequencies


class Mlp(nn.Module):
    """Two linear layers with a GELU between them, for each token; dropout after each layer."""

    def __init__(self, embed_dim: int, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch tokens embed_dim"]
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """fc2(GELU(fc1(x)))."""
        hidden = F.gelu(self.fc1(x))
        if not (self.dropout.training and self.dropout.p):  # two calls less
            return self.fc2(hidden)  # type: ignore[no-any-return]
        output: Tensor = self.dropout(self.fc2(self.dropout(hidden)))
        return output


class Block(nn.Module):
    """x + Attention(LayerNorm(x)), then x + MLP(LayerNorm(x)).

    Pre-norm: the residual path stays an identity, which makes training stable at any depth
    (Xiong et al. 2020, arXiv 2002.04745).

    Args:
        embed_dim: Size of a token's embedding.
        num_heads: Number of attention heads.
        mlp_ratio: Hidden size of the MLP, as a multiple of embed_dim.
        dropout: Dropout probability.
        scale: Factor on the scores, as in `MultiHeadAttention`.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        scale: str | float = "sqrt",
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.attn = MultiHeadAttention(embed_dim, num_heads, dropout=dropout, scale=scale)
        self.norm2 = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(embed_dim, int(embed_dim * mlp_ratio), dropout)

    def forward(
        self,
        x: Float[Tensor, "batch tokens embed_dim"],
        *,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """One layer of the encoder.

        Args:
            x: Tokens.
            attn_mask: As in `scaled_dot_product_attention` (True = attend).
            is_causal: As in `scaled_dot_product_attention`.

        Returns:
            Tokens of the same shape.
        """
        x = x + self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)
        output: Tensor = x + self.mlp(self.norm2(x))
        return output


class Encoder(nn.Sequential):
    """Blocks one after the other, under one mask.

    An `nn.Sequential`, so that parameters are named by the index of their block
    (`blocks.3.attn.qkv.weight`), and a slice is an encoder too.
    """

    key_dropout = 0.0

    @classmethod
    def from_config(cls, config: ViTConfig | TextConfig) -> "Encoder":
        """The encoder of a model, with new blocks.

        Args:
            config: The model's configuration.

        Returns:
            An encoder with `depth` blocks and random weights.
        """
        encoder = cls(
            *(
                Block(
                    config.embed_dim,
                    config.num_heads,
                    mlp_ratio=config.mlp_ratio,
                    dropout=config.dropout,
                    scale=config.attention_scale,
                )
                for _ in range(config.depth)
            )
        )
        encoder.key_dropout = getattr(config, "key_dropout", 0.0)
        return encoder

    def forward(
        self,
        x: Float[Tensor, "batch tokens embed_dim"],
        *,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """Apply all blocks.

        With `key_dropout`, each query of each layer is trained without some of the keys (DropKey,
        Li et al. 2023, arXiv 2208.02646).

        Args:
            x: Tokens.
            attn_mask: As in `scaled_dot_product_attention` (True = attend).
            is_causal: As in `scaled_dot_product_attention`.

        Returns:
            Tokens after the last block.
        """
        for block in self:
            mask = attn_mask
            if self.training and self.key_dropout:
                kept = x.new_empty(len(x), 1, x.shape[1], x.shape[1]).uniform_() >= self.key_dropout
                mask = kept if attn_mask is None else kept & attn_mask
            x = block(x, attn_mask=mask, is_causal=is_causal)
        return x


def initialise(model: nn.Module) -> None:
    """Draw new weights, as in ViT and BERT.

    Weights and learned positions are normal with standard deviation 0.02, those of layers truncated
    at two deviations; biases are zero.
    """
    model.apply(_initialise_layer)
    if isinstance(positions := getattr(model, "pos_embed", None), nn.Parameter):
        nn.init.trunc_normal_(positions, std=0.02)


def _initialise_layer(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
        nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.04, b=0.04)
    if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
