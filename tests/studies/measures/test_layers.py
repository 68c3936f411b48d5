import pytest
import torch
from torch import nn

from clearhead.attention import MultiHeadAttention
from clearhead.models.baselines import ConvNet
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.layers import Mlp
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures.layers import (
    effective_share,
    layer_fields,
    layer_tokens,
    lens_accuracies,
    own_patch,
    theoretical_share,
    uniform_distance,
)

IMAGES = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def fields(model: VisionTransformer | ConvNet) -> tuple[torch.Tensor, ...]:
    return layer_fields(model, IMAGES, 1)


def vit() -> VisionTransformer:
    torch.manual_seed(2)
    return VisionTransformer(ViTConfig(embed_dim=8, num_heads=2, depth=2)).eval()


def zero_outputs(model: VisionTransformer, *kinds: type[nn.Module]) -> None:
    """The last linear maps of these modules give zeros: only the residual path is left."""
    for layer in model.modules():
        if isinstance(layer, kinds):
            *_, last = (x for x in layer.modules() if isinstance(x, nn.Linear))
            nn.init.zeros_(last.weight)


def test_theoretical_fields_of_convolutions_follow_from_their_kernels() -> None:
    torch.manual_seed(2)
    result = fields(ConvNet(CNNConfig(widths=(3, 4))).eval())
    sides = [round((784 * theoretical_share(field)) ** 0.5) for field in result]
    assert sides == [3, 5, 10, 14]  # 3, 5, then (after pooling) 6 + 2 · 2 and 4 more
    assert theoretical_share(result[0][13:16, 13:16]) == 1


def test_the_theoretical_field_of_one_attention_layer_is_the_whole_image() -> None:
    result = fields(vit())
    assert [theoretical_share(field) for field in result] == [1, 1]


def test_without_attention_the_field_of_a_token_is_its_own_patch() -> None:
    model = vit()
    zero_outputs(model, MultiHeadAttention)
    for field in fields(model):
        assert theoretical_share(field) == pytest.approx(1 / 16)
        assert theoretical_share(field[14:21, 14:21]) == 1
        assert 0 < effective_share(field) <= 1 / 16


def test_fields_are_root_mean_square_gradients() -> None:
    model = vit()
    zero_outputs(model, MultiHeadAttention, Mlp)
    weight = model.patch_embed.proj.weight.detach()
    result = fields(model)[0][14:21, 14:21]
    # a random direction r of the token w · pixels: the gradient is r · w, of variance |w|²
    expected = weight[:, 0].norm(dim=0)
    assert float((result / expected).mean()) == pytest.approx(1, abs=0.25)


def test_effective_fields_begin_at_a_twentieth_of_the_largest_gradient() -> None:
    field = torch.tensor([[1.0, 0.05], [0.04, 0.0]])
    assert effective_share(field) == 0.5
    assert theoretical_share(field) == 0.75


def test_the_effective_field_lies_in_the_own_patch_or_elsewhere() -> None:
    field = torch.full((28, 28), 0.03)
    field[14:21, 14:21] = 1.0
    assert own_patch(field.tolist(), 7) == pytest.approx((1.0, 0.03))
    field[0, :7] = 0.5
    assert own_patch(field.tolist(), 7) == (49 / 56, 0.5)


def test_uniform_attention_has_the_mean_distance_of_two_patches() -> None:
    assert uniform_distance(1, 3) == pytest.approx((0 + 1 + 2 + 1 + 0 + 1 + 2 + 1 + 0) / 9)


def test_the_lens_on_the_last_layer_gives_the_models_own_predictions() -> None:
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(embed_dim=8, num_heads=2, depth=3)).eval()
    images = torch.randn(23, 1, 28, 28)
    labels = model(images).argmax(dim=1)
    single, pooled = lens_accuracies(model, images, labels)
    assert len(single) == len(pooled) == 3
    assert pooled[-1] == 1.0
    assert single[-1] < 1.0


def test_the_lens_classifies_each_patch_by_itself() -> None:
    """Two tokens of sixteen hold the class; no others do."""
    model = VisionTransformer(ViTConfig(embed_dim=12, num_heads=2, depth=1)).eval()
    tokens = torch.zeros(1, 16, 12)
    tokens[:, :, 0] = 1.0
    tokens[:, [2, 9], 0], tokens[:, [2, 9], 7] = 0.0, 1.0
    model.norm = nn.Identity()  # type: ignore[assignment]
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.weight[:, :10] = torch.eye(10)
    model.blocks = nn.Sequential(_Fixed(tokens))  # type: ignore[assignment]
    single, _ = lens_accuracies(model, torch.zeros(4, 1, 28, 28), torch.full((4,), 7))
    assert single == pytest.approx([2 / 16])


class _Fixed(nn.Module):
    def __init__(self, tokens: torch.Tensor) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tokens.expand(len(x), -1, -1)


def test_the_last_tokens_are_those_of_the_head() -> None:
    model = vit()
    *_, last = layer_tokens(model, IMAGES)
    torch.testing.assert_close(model.head(model.pooled(model.norm(last))), model(IMAGES))
