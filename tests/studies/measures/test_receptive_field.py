import pytest
import torch
from torch import nn

from clearhead.attention import MultiHeadAttention
from clearhead.models.baselines import ConvNet
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.layers import Mlp
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures.receptive_field import (
    layer_count,
    layer_fields,
    layer_tokens,
    reached_share,
    seen_share,
)

IMAGES = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def fields(model: VisionTransformer | ConvNet) -> tuple[torch.Tensor, ...]:
    return layer_fields(model, IMAGES, torch.Generator().manual_seed(1))


def vit() -> VisionTransformer:
    torch.manual_seed(2)
    return VisionTransformer(ViTConfig(embed_dim=8, num_heads=2, depth=2)).eval()


def silence(model: VisionTransformer, *kinds: type[nn.Module]) -> None:
    """Their last linear maps give zeros, so that the residual path alone is left."""
    for layer in model.modules():
        if isinstance(layer, kinds):
            *_, last = (x for x in layer.modules() if isinstance(x, nn.Linear))
            nn.init.zeros_(last.weight)


def test_convolutions_reach_what_their_kernels_can() -> None:
    torch.manual_seed(2)
    found = fields(ConvNet(CNNConfig(widths=(3, 4))).eval())
    sides = [round((784 * reached_share(field)) ** 0.5) for field in found]
    assert sides == [3, 5, 10, 14]  # 3, 5, then (after pooling) 6 + 2 · 2 and 4 more
    assert reached_share(found[0][13:16, 13:16]) == 1


def test_a_block_of_attention_reaches_every_pixel_at_once() -> None:
    found = fields(vit())
    assert [reached_share(field) for field in found] == [1, 1]
    assert layer_count(vit()) == 2


def test_without_attention_a_token_sees_its_own_patch_alone() -> None:
    model = vit()
    silence(model, MultiHeadAttention)
    for field in fields(model):
        assert reached_share(field) == pytest.approx(1 / 16)
        assert reached_share(field[14:21, 14:21]) == 1
        assert 0 < seen_share(field) <= 1 / 16


def test_fields_are_root_mean_square_gradients() -> None:
    model = vit()
    silence(model, MultiHeadAttention, Mlp)
    weight = model.patch_embed.proj.weight.detach()
    found = fields(model)[0][14:21, 14:21]
    # a random direction r of the token w · pixels: the gradient is r · w, of variance |w|²
    expected = weight[:, 0].norm(dim=0)
    assert float((found / expected).mean()) == pytest.approx(1, abs=0.25)


def test_a_pixel_is_seen_from_a_twentieth_of_the_largest_on() -> None:
    field = torch.tensor([[1.0, 0.05], [0.04, 0.0]])
    assert seen_share(field) == 0.5
    assert reached_share(field) == 0.75


def test_the_last_tokens_are_those_the_head_gets() -> None:
    model = vit()
    *_, last = layer_tokens(model, IMAGES)
    torch.testing.assert_close(model.head(model.pooled(model.norm(last))), model(IMAGES))
