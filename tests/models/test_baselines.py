"""The baselines: a CNN, and the Transformer without attention."""

from typing import Any

import pytest
import torch
from torch import Tensor

from clearhead.models import (
    CNNConfig,
    ConvNet,
    MLPConfig,
    PatchMLP,
    VisionTransformer,
    ViTConfig,
    build,
)
from clearhead.models.baselines import PatchConv

CONFIG = MLPConfig(
    image_size=(35, 33), patch_size=(7, 11), in_channels=2, embed_dim=13, depth=3, num_classes=5
)


def model_and_images() -> tuple[PatchMLP, Tensor]:
    torch.manual_seed(0)
    return PatchMLP(CONFIG).double(), torch.randn(3, 2, 35, 33, dtype=torch.float64)


def test_tokens_of_the_mlp_do_not_depend_on_one_another() -> None:
    model, images = model_and_images()
    tokens: list[Tensor] = []
    model.blocks.register_forward_hook(lambda *call: tokens.append(call[2]))
    logits = model(images)
    changed = images.clone()
    changed[:, :, 14:21, 11:22] += 1  # patch in row 2, column 1: token 7
    assert not model(changed).isclose(logits).all()
    same = (tokens[0] == tokens[1]).all(-1)
    assert same[:, [token for token in range(15) if token != 7]].all()
    assert not same[:, 7].any()


def test_the_mlp_averages_its_tokens() -> None:
    """norm → mean → head, with a linear head: the effects of two patches add up exactly."""
    model, images = model_and_images()
    one, other, both = images.clone(), images.clone(), images.clone()
    for image in (one, both):
        image[:, :, :7, :11] += 1
    for image in (other, both):
        image[:, :, 28:, 22:] -= 1
    torch.testing.assert_close(
        model(both) - model(images), model(one) + model(other) - 2 * model(images)
    )


def test_the_mlp_is_a_vision_transformer_whose_attention_adds_nothing() -> None:
    model, images = model_and_images()
    settings: dict[str, Any] = {x: y for x, y in vars(CONFIG).items() if x != "patch_conv"}
    vit = VisionTransformer(ViTConfig(**settings, num_heads=1))
    state = {name: torch.zeros_like(x) for name, x in vit.state_dict().items()}
    for name, x in model.state_dict().items():
        state[name.replace(".norm.", ".norm2.")] = x.normal_(std=0.3)
    vit.double().load_state_dict(state)
    torch.testing.assert_close(model(images), vit(images), atol=1e-12, rtol=0)


def test_positions_make_equal_patches_differ() -> None:
    model, images = model_and_images()
    swapped = images.roll(11, 3)
    assert not model(swapped).isclose(model(images)).all()
    model.pos_embed.data.zero_()
    torch.testing.assert_close(model(swapped), model(images), atol=1e-12, rtol=0)


def test_the_cnn_halves_the_image_between_stages() -> None:
    model = ConvNet(CNNConfig(image_size=(23, 29), in_channels=2, widths=(3, 5, 7), num_classes=13))
    sizes: list[tuple[int, ...]] = []
    for stage in model.stages:
        stage.register_forward_hook(lambda *call: sizes.append(tuple(call[2].shape)))
    assert model(torch.randn(3, 2, 23, 29)).shape == (3, 13)
    assert sizes == [(3, 3, 23, 29), (3, 5, 11, 14), (3, 7, 5, 7)]


def test_a_shifted_digit_far_from_the_edge_has_the_same_logits() -> None:
    model = ConvNet(CNNConfig(image_size=52, widths=(3, 5, 7))).double().eval()
    image = torch.zeros(1, 1, 52, 52, dtype=torch.float64)
    image[:, :, 20:25, 20:27] = torch.rand(5, 7, dtype=torch.float64)
    moved = image.roll((4, 8), (2, 3))
    torch.testing.assert_close(model(moved), model(image), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("config", "tolerance"),
    [
        (MLPConfig(), 0.01),
        (CNNConfig(), 0.01),
        (MLPConfig(mlp_ratio=4.0, patch_conv=True), 0.03),
    ],
)
def test_a_baseline_has_about_the_parameters_of_the_vision_transformer(
    config: MLPConfig | CNNConfig, tolerance: float
) -> None:
    sizes = (sum(x.numel() for x in build(y).parameters()) for y in (config, ViTConfig()))
    assert next(sizes) == pytest.approx(next(sizes), rel=tolerance)


def test_the_convolution_between_patches_reaches_neighbours_alone() -> None:
    torch.manual_seed(0)
    config = MLPConfig(
        image_size=(35, 55), patch_size=(7, 11), embed_dim=16, depth=1, patch_conv=True
    )
    model, images = PatchMLP(config).double(), torch.randn(3, 1, 35, 55, dtype=torch.float64)
    tokens: list[Tensor] = []
    model.blocks.register_forward_hook(lambda *call: tokens.append(call[2]))
    model(images)
    images[:, :, 14:21, 22:33] += 1  # patch in row 2, column 2
    model(images)
    moved = (tokens[0] != tokens[1]).any(-1).any(0).view(5, 5)
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[1:4, 1:4] = True
    assert torch.equal(moved, expected)


def test_the_convolution_between_patches_is_a_convolution() -> None:
    torch.manual_seed(0)
    conv = PatchConv(16, (3, 5)).double()
    x = torch.randn(2, 15, 16, dtype=torch.float64)
    weight = conv.mix.weight.view(16, 6, 3, 3)
    images = conv.reduce(x).mT.reshape(2, 6, 3, 5)
    expected = torch.nn.functional.conv2d(images, weight, conv.mix.bias, padding=1)
    torch.testing.assert_close(conv(x), expected.flatten(2).mT)
