"""Differential attention in its fused form: two attentions of all heads with the same values."""

import torch

import clearhead as ch


def test_both_attentions_of_a_differential_layer_are_recorded() -> None:
    from timm.layers.diff_attention import DiffAttention

    layer = DiffAttention(24, num_heads=3).eval()
    tokens = torch.randn(2, 7, 24)
    layer.fused_attn = True
    with torch.no_grad(), ch.capture() as recording:
        output = layer(tokens)
    recording.verify()
    assert [tuple(x.weights.shape) for x in recording.records] == [(2, 3, 7, 7)] * 2
    layer.fused_attn = False
    with torch.no_grad():
        torch.testing.assert_close(output, layer(tokens))
