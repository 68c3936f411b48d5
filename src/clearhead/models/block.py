"""The Transformer block: tokens talk (attention), then each thinks for itself (MLP)."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.attention import MultiHeadAttention

LAYER_NORM_EPS = 1e-6  # timm's, not torch's 1e-5


class Mlp(nn.Module):
    """Two linear maps with a GELU between them, for every token alike."""

    def __init__(self, embed_dim: int, hidden_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch tokens embed_dim"]
    ) -> Float[Tensor, "batch tokens embed_dim"]:
        """fc2(GELU(fc1(x)))."""
        thought: Tensor = self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(x)))))
        return thought


class Block(nn.Module):
    """x + Attention(LayerNorm(x)), then x + MLP(LayerNorm(x)).

    Pre-norm: the residual path stays untouched, which trains without tricks at any depth
    (Xiong et al. 2020, arXiv 2002.04745).
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
        """One layer of the encoder."""
        x = x + self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out
