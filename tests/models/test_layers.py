"""Patches, positions, block and encoder against their formulas.

That block and encoder compute what timm's do is tested with the whole model, in test_vit.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from clearhead.models.config import ViTConfig
from clearhead.models.layers import (
    Block,
    Encoder,
    Mlp,
    PatchEmbed,
    sincos_grid,
    sincos_sequence,
)
from clearhead.recording import capture


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_dropout_of_the_mlp_acts_after_both_layers_and_in_training_alone() -> None:
    mlp, x = Mlp(15, 7, dropout=0.5).double(), randn(2, 7, 15)
    torch.manual_seed(0)
    dropped = mlp(x)
    assert 0.3 < (dropped == 0).double().mean() < 0.7
    assert not mlp.eval()(x).eq(0).any()
    kept = dropped != 0
    assert not (dropped[kept] / 2).isclose(mlp(x)[kept]).all()  # dropout before fc2 as well
    assert Block(15, 5, dropout=0.3).attn.dropout == 0.3


def make_encoder(**settings: Any) -> Encoder:
    torch.manual_seed(0)
    return Encoder.from_config(
        ViTConfig(embed_dim=14, num_heads=7, depth=3, mlp_ratio=2.5, **settings)
    ).double()


def test_an_encoder_passes_its_settings_to_every_block() -> None:
    encoder = make_encoder(dropout=0.25, attention_scale="learned")
    assert len(encoder) == 3
    for block in encoder:
        assert isinstance(block, Block)
        assert block.attn.dropout == block.mlp.dropout.p == 0.25
        assert block.attn.learned_scale is not None


def test_key_dropout_keeps_the_mask() -> None:
    encoder = make_encoder()
    encoder.key_dropout = 0.3
    mask = torch.rand(2, 1, 5, 5, generator=torch.Generator().manual_seed(1)) > 0.4
    with torch.no_grad(), capture() as recording:
        encoder(torch.randn(2, 5, 14).double(), attn_mask=mask)
    for record in recording.records:
        assert not record.weights[~mask.expand_as(record.weights)].any()
        assert (record.weights == 0).sum() > 7 * (~mask).sum()


def test_a_slice_of_an_encoder_is_an_encoder() -> None:
    encoder, tokens = make_encoder(), torch.randn(2, 5, 14, dtype=torch.float64)
    first, rest = encoder[:1], encoder[1:]
    assert isinstance(first, Encoder)
    assert isinstance(rest, Encoder)
    assert [*first, *rest] == [*encoder]
    torch.testing.assert_close(rest(first(tokens)), encoder(tokens), rtol=0, atol=0)


def test_the_patch_embedding_equals_its_convolution_in_values_and_gradients() -> None:
    embed = PatchEmbed((7, 11), 2, 13).double()
    images = randn(3, 2, 35, 33).requires_grad_()
    found, expected = embed(images), embed.proj(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    inputs = (images, *embed.parameters())
    assert len(inputs) == 3
    direction = randn(*found.shape, seed=1)
    one = torch.autograd.grad((found * direction).sum(), inputs)
    other = torch.autograd.grad((expected * direction).sum(), inputs)
    for gradient, same in zip(one, other, strict=True):
        torch.testing.assert_close(gradient, same, atol=1e-11, rtol=0)


def test_positions_are_sines_and_cosines() -> None:
    """Quarters of a grid: sin and cos of the column, then of the row; w_k = 10000^(-k / 5)."""
    frequencies = 10_000.0 ** (-np.arange(5) / 5)
    rows, columns = (x.reshape(-1, 1) * frequencies for x in np.mgrid[:3, :7])
    expected = np.concatenate([np.sin(columns), np.cos(columns), np.sin(rows), np.cos(rows)], 1)
    np.testing.assert_allclose(sincos_grid(20, (3, 7)), expected[None], atol=1e-6)
    angles = np.arange(7)[:, None] * frequencies
    expected = np.concatenate([np.sin(angles), np.cos(angles)], 1)
    np.testing.assert_allclose(sincos_sequence(10, 7), expected[None], atol=1e-6)
