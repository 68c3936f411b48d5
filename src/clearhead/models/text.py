"""The text Transformer: the Vision Transformer's encoder, with words instead of patches."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clearhead.errors import ConfigError, InputError
from clearhead.models.config import TextConfig
from clearhead.models.layers import (
    LAYER_NORM_EPS,
    Encoder,
    add_positions,
    initialise,
    sincos_sequence,
)
from clearhead.models.pretrained import Pretrained


class TextTransformer(Pretrained):
    """Word embeddings + positions → blocks → norm → a logit for each word at each position.

    Bidirectional, it is a masked language model (Devlin et al. 2019, BERT, arXiv 1810.04805);
    causal, a next-word model (Radford et al. 2018, GPT). Block and attention are those of
    `VisionTransformer`.

    Args:
        config: The configuration, with a vocabulary.

    Raises:
        ConfigError: If the vocabulary is empty.
    """

    config_class = TextConfig
    config: TextConfig
    pos_embed: Tensor | None

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        if not config.vocabulary:
            raise ConfigError("a text model needs a vocabulary, got no word")
        self.config = config
        words, embed_dim = len(config.vocabulary), config.embed_dim
        self.token_embed = nn.Embedding(words, embed_dim)
        length = config.context_length
        add_positions(self, config, length, lambda: sincos_sequence(embed_dim, length))
        self.blocks = Encoder.from_config(config)
        self.norm = nn.LayerNorm(embed_dim, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(embed_dim, words)
        initialise(self)

    def forward(
        self,
        ids: Int[Tensor, "batch tokens"],
        padding_mask: Bool[Tensor, "batch tokens"] | None = None,
    ) -> Float[Tensor, "batch tokens words"]:
        """Predict a word at every position.

        Args:
            ids: Ids of words, int64 or int32, of shape (batch, tokens).
            padding_mask: True at words, False at padding, which no token attends to.

        Returns:
            Logits over the vocabulary, of shape (batch, tokens, words).

        Raises:
            InputError: If ids or mask have a wrong shape or type, or an id is not in the
                vocabulary.
        """
        self._check(ids, padding_mask)
        keys = None if padding_mask is None else padding_mask[:, None, None, :]
        tokens = self.blocks(self.embedded(ids), attn_mask=keys, is_causal=self.config.causal)
        logits: Tensor = self.head(self.norm(tokens))
        return logits

    def embedded(self, ids: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens embed_dim"]:
        """The input of the first block: word embeddings and positions.

        Args:
            ids: Token ids.

        Returns:
            A vector for each token.
        """
        tokens: Tensor = self.token_embed(ids)
        return tokens if self.pos_embed is None else tokens + self.pos_embed[:, : ids.shape[1]]

    def _check(self, ids: Tensor, padding_mask: Tensor | None) -> None:
        longest, words = self.config.context_length, len(self.config.vocabulary)
        if ids.dim() != 2 or not 1 <= ids.shape[1] <= longest:
            raise InputError(
                f"ids must be (batch, tokens) with 1 … {longest} tokens, got {tuple(ids.shape)}"
            )
        if ids.dtype not in (torch.int64, torch.int32):
            raise InputError(
                f"ids must be int64 or int32 (indices into the vocabulary), got {ids.dtype}"
            )
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < words:
            raise InputError(
                f"ids must lie in 0 … {words - 1}, got {int(ids.min())} … {int(ids.max())}"
            )
        if padding_mask is None:
            return
        if padding_mask.shape != ids.shape or padding_mask.dtype != torch.bool:
            raise InputError(
                f"padding_mask must be bool of shape {tuple(ids.shape)} (True = a word), got "
                f"{padding_mask.dtype} of shape {tuple(padding_mask.shape)}"
            )
