"""The encoder: blocks one after the other, whatever their tokens are made from."""

from jaxtyping import Float
from torch import Tensor, nn

from clearhead.models.block import Block


class Encoder(nn.Sequential):
    """Blocks in a row, which all attend under one mask: tokens in, as many tokens out.

    Image patches and words go through the same one. It is an `nn.Sequential`, so that weights are
    named by the place of their block alone: `blocks.3.attn.qkv.weight`; a slice is one, too.
    """

    @classmethod
    def of_blocks(
        cls,
        embed_dim: int,
        num_heads: int,
        depth: int,
        *,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        scale: str | float = "sqrt",
    ) -> "Encoder":
        """So many new blocks, all of one width."""
        return cls(
            *(
                Block(embed_dim, num_heads, mlp_ratio=mlp_ratio, dropout=dropout, scale=scale)
                for _ in range(depth)
            )
        )

    def forward(
        self,
        x: Float[Tensor, "batch tokens embed_dim"],
        *,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """Through all blocks; the mask as in `scaled_dot_product_attention` (True = attend)."""
        for block in self:
            x = block(x, attn_mask=attn_mask, is_causal=is_causal)
        return x
