"""The block against its formula, and its mask. Its numbers are timm's: see test_vit."""

import torch
from torch import Tensor
from torch.nn import functional as F

from clearhead.attention import causal_mask
from clearhead.models.layers import Block, Mlp


def randn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_a_block_adds_attention_and_then_mlp_to_what_came_in() -> None:
    block, x = Block(15, 5, mlp_ratio=2.2).double(), randn(2, 7, 15)
    assert block.mlp.fc1.out_features == 33
    half = x + block.attn(F.layer_norm(x, (15,), eps=1e-6))
    hidden = F.linear(F.layer_norm(half, (15,), eps=1e-6), block.mlp.fc1.weight, block.mlp.fc1.bias)
    gelu = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    expected = half + F.linear(gelu, block.mlp.fc2.weight, block.mlp.fc2.bias)
    torch.testing.assert_close(block(x), expected, atol=1e-12, rtol=0)


def test_masks_reach_the_attention() -> None:
    block, x = Block(15, 5).double(), randn(2, 7, 15)
    causal = block(x, is_causal=True)
    torch.testing.assert_close(block(x, attn_mask=causal_mask(7, 7)), causal, atol=1e-12, rtol=0)
    changed = x.clone()
    changed[:, 4:] *= -1
    assert block(changed, is_causal=True)[:, :4].equal(causal[:, :4])
    assert not block(changed)[:, :4].isclose(block(x)[:, :4]).all()


def test_the_scale_reaches_the_attention() -> None:
    assert Block(15, 5, scale=0.37).attn.scale == 0.37
    assert Block(15, 5, scale="learned").attn.learned_scale is not None


def test_dropout_acts_in_training_alone_and_after_both_maps() -> None:
    mlp, x = Mlp(15, 7, dropout=0.5).double(), randn(2, 7, 15)
    torch.manual_seed(0)
    dropped = mlp(x)
    assert 0.3 < (dropped == 0).double().mean() < 0.7
    assert not mlp.eval()(x).eq(0).any()
    kept = dropped != 0
    assert not (dropped[kept] / 2).isclose(mlp(x)[kept]).all()  # dropout before fc2 as well
    assert Block(15, 5, dropout=0.3).attn.dropout == 0.3
