"""Multi-head attention as a module."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.attention.functional import scaled_dot_product_attention
from clearhead.attention.stages import check_dense
from clearhead.errors import ConfigError, InputError


class MultiHeadAttention(nn.Module):
    """MultiHead(Q, K, V) = Concat(head_1 … head_h) W_O, head_i = Attention(Q_i, K_i, V_i).

    (Vaswani et al. 2017, section 3.2.2.) Called with one sequence it is self-attention; with a
    second one, keys and values come from there: cross-attention. Parameters are named as in timm's
    ViT: `qkv` and `proj`.

    Args:
        embed_dim: Size of a token's embedding, divisible by `num_heads`.
        num_heads: Number of heads; each has embed_dim / num_heads dimensions.
        value_dim: Size of each head's values; None: as its queries.
        bias: Whether the linear layers have a bias.
        dropout: Dropout probability of the weights while training.
        scale: Factor on the scores: "sqrt" (1/√head_dim), "none" (1), a number, or "learned" (one
            parameter per head, initially 1/√head_dim).

    Raises:
        ConfigError: If a value is out of range.

    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        value_dim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        scale: str | float = "sqrt",
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise ConfigError(
                f"embed_dim ({embed_dim}) must be divisible by num_heads ({num_heads})"
            )
        if value_dim is not None and value_dim < 1:
            raise ConfigError(f"value_dim must be at least 1, got {value_dim}")
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(f"dropout must be at least 0 and below 1, got {dropout}")
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.value_dim = self.head_dim if value_dim is None else value_dim
        self.dropout = dropout
        self.scale, self.learned_scale = self._read_scale(scale)
        inner = num_heads * self.head_dim
        self.qkv = nn.Linear(embed_dim, 2 * inner + num_heads * self.value_dim, bias=bias)
        self.proj = nn.Linear(num_heads * self.value_dim, embed_dim, bias=bias)

    def forward(
        self,
        query: Float[Tensor, "batch queries embed_dim"],
        context: Float[Tensor, "batch keys embed_dim"] | None = None,
        *,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Float[Tensor, "batch queries embed_dim"]:
        """Attend from `query` to `context`.

        Args:
            query: Tokens of shape (batch, queries, embed_dim).
            context: Tokens that keys and values come from, of shape (batch, keys, embed_dim);
                None: `query` itself.
            attn_mask: As in `scaled_dot_product_attention`, over (batch, heads, queries, keys).
            is_causal: Query i attends to keys 0 … i; applies together with `attn_mask`.

        Returns:
            Tokens of shape (batch, queries, embed_dim).

        Raises:
            InputError: If a shape does not fit.

        """
        self._check(query, context)
        q, k, v = (self._split_heads(x) for x in self._project(query, context))
        if self.learned_scale is not None:
            q = q * self.learned_scale.to(q.dtype)  # they differ under autocast
        attended = scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=attn_mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=is_causal,
            scale=self.scale,
        )
        output: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return output

    @classmethod
    def from_torch(cls, source: nn.MultiheadAttention) -> "MultiHeadAttention":
        """The same layer as `source`, with its weights copied.

        Args:
            source: A torch module without kdim, vdim, add_bias_kv and add_zero_attn.

        Returns:
            The copy, with the device, number type and mode of `source`.

        Raises:
            ConfigError: If `source` has one of them.
        """
        if source.in_proj_weight is None or source.bias_k is not None or source.add_zero_attn:
            raise ConfigError(
                "cannot copy a MultiheadAttention with kdim, vdim, add_bias_kv or add_zero_attn"
            )
        weight, bias = source.in_proj_weight, source.in_proj_bias
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced
            copy = cls(
                source.embed_dim, source.num_heads, bias=bias is not None, dropout=source.dropout
            ).to(weight)
        state = {"qkv.weight": weight, "proj.weight": source.out_proj.weight}
        if bias is not None:
            state |= {"qkv.bias": bias, "proj.bias": source.out_proj.bias}
        copy.load_state_dict(state)
        return copy.train(source.training)

    def _read_scale(self, scale: str | float) -> tuple[float | None, nn.Parameter | None]:
        if scale == "sqrt":
            return None, None
        if scale == "none":
            return 1.0, None
        if scale == "learned":
            start = torch.full((self.num_heads, 1, 1), self.head_dim**-0.5)
            return 1.0, nn.Parameter(start)
        if isinstance(scale, int | float):
            return float(scale), None
        raise ConfigError(f'scale must be "sqrt", "none", "learned" or a number, got {scale!r}')

    def _project(self, query: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
        inner = self.num_heads * self.head_dim
        if context is None:
            sizes = [inner, inner, self.num_heads * self.value_dim]
            return tuple(self.qkv(query).split_with_sizes(sizes, dim=-1))
        weight, bias = self.qkv.weight, self.qkv.bias
        q = F.linear(query, weight[:inner], None if bias is None else bias[:inner])
        kv = F.linear(context, weight[inner:], None if bias is None else bias[inner:])
        return q, *kv.split_with_sizes([inner, self.num_heads * self.value_dim], dim=-1)

    def _split_heads(self, x: Tensor) -> Tensor:
        batch, tokens, inner = x.shape
        heads = x.view(batch, tokens, self.num_heads, inner // self.num_heads)
        return heads.transpose(1, 2)

    def _check(self, query: Tensor, context: Tensor | None) -> None:
        check_dense(query, context)
        for name, x in (("query", query), ("context", query if context is None else context)):
            if x.dim() != 3 or x.shape[-1] != self.qkv.in_features:
                raise InputError(
                    f"{name} must be (batch, tokens, {self.qkv.in_features}), got {tuple(x.shape)}"
                )
