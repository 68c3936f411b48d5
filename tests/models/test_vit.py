"""The Vision Transformer equals timm's; positions, pooling and dropout."""

from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer as TimmTransformer
from torch import Tensor
from torch.nn import functional as F

from clearhead.errors import InputError
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture

OBLONG: dict[str, Any] = {
    "image_size": (35, 33),
    "patch_size": (7, 11),
    "in_channels": 2,
    "embed_dim": 20,
    "num_heads": 5,
    "mlp_ratio": 2.2,
    "depth": 3,
    "num_classes": 13,
}


def build(seed: int = 0, **settings: Any) -> VisionTransformer:
    """In float64, and all parameters random: biases and norms too."""
    torch.manual_seed(seed)
    model = VisionTransformer(ViTConfig(**(OBLONG | settings))).double()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def images_for(model: VisionTransformer, batch: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (batch, model.config.in_channels, *model.config.image_shape)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def timms(model: VisionTransformer) -> TimmTransformer:
    config = model.config
    theirs = TimmTransformer(
        img_size=config.image_shape,
        patch_size=config.patch_shape,
        in_chans=config.in_channels,
        num_classes=config.num_classes,
        embed_dim=config.embed_dim,
        depth=config.depth,
        num_heads=config.num_heads,
        mlp_ratio=config.mlp_ratio,
        class_token=config.pool == "class",
        global_pool="token" if config.pool == "class" else "avg",
        fc_norm=False,
        pos_embed="none" if config.pos_embed == "none" else "learn",
        reg_tokens=config.num_registers,
    ).double()
    theirs.load_state_dict(model.state_dict(), strict=True)
    return theirs


@pytest.mark.parametrize(
    ("pool", "pos_embed", "geometry"),
    [
        (("mean", "class")[(row + column) % 2], pos_embed, geometry)
        for row, pos_embed in enumerate(("learned", "sincos", "none"))
        for column, geometry in enumerate(("digits", "oblong", "registers"))
    ],
)
def test_the_same_weights_in_timm_give_the_same_logits_and_gradients(
    pool: str, pos_embed: str, geometry: str
) -> None:
    digits = {"image_size": 28, "patch_size": 7, "in_channels": 1, "embed_dim": 28, "num_heads": 7}
    settings = {"digits": digits, "oblong": {}, "registers": {"num_registers": 2}}
    ours = build(pool=pool, pos_embed=pos_embed, **settings[geometry])
    theirs, images = timms(ours), images_for(ours)
    found, expected = ours(images), theirs(images)
    assert found.shape == (3, 13)
    assert ours(images[:0]).shape == (0, 13)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    direction = torch.arange(39.0, dtype=torch.float64).reshape(3, 13).sin()
    (found * direction).sum().backward()
    (expected * direction).sum().backward()
    same = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, same[name].grad, atol=1e-9, rtol=1e-9)


def test_the_default_has_the_expected_number_of_parameters() -> None:
    # patches 49 · 64 + 64; positions 16 · 64; norm 2 · 64; head 64 · 10 + 10; and six blocks of
    # two norms 4 · 64, query, key, value and output 4 · (64 · 64 + 64), MLP 2 · 64 · 256 + 320
    expected = 3200 + 1024 + 128 + 650 + 6 * (256 + 16640 + 33088)
    assert sum(x.numel() for x in VisionTransformer().parameters()) == expected == 304_906


def test_an_overlapping_patch_is_a_convolution_larger_than_its_stride() -> None:
    model = build(patch_overlap=3)
    images, projection = images_for(model), model.patch_embed.proj
    assert projection.weight.shape == (20, 2, 13, 17)
    padded = F.pad(images, (3, 3, 3, 3))
    expected = F.conv2d(padded, projection.weight, projection.bias, stride=(7, 11)).flatten(2).mT
    torch.testing.assert_close(model.patch_embed(images), expected, atol=1e-12, rtol=0)


def test_a_stem_is_two_convolutions_before_the_patches() -> None:
    model: Any = build(stem_channels=3).eval()
    images = images_for(model)
    for norm in (model.stem[1], model.stem[4]):
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 2)
    features = images
    for i in (0, 3):
        norm = model.stem[i + 1]
        features = F.conv2d(features, model.stem[i].weight, padding=1)
        features = (features - norm.running_mean[:, None, None]) / (
            norm.running_var[:, None, None] + norm.eps
        ).sqrt()
        features = (features * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0)
    tokens = F.conv2d(
        features,
        model.patch_embed.proj.weight,
        model.patch_embed.proj.bias,
        stride=model.config.patch_shape,
    )
    expected = tokens.flatten(2).mT + model.pos_embed
    torch.testing.assert_close(model.embedded(images), expected, atol=1e-12, rtol=0)


def test_key_dropout_hides_that_share_of_keys_from_queries_while_training() -> None:
    model = build(image_size=28, patch_size=7, embed_dim=28, num_heads=7, key_dropout=0.3)
    images = images_for(model, batch=17)
    with capture() as recording:
        model(images)
    masked = torch.stack([record.weights == 0 for record in recording.values()])
    assert (masked == masked[:, :, :1]).all()  # the same keys in every head
    assert 0.28 < masked.double().mean() < 0.32
    assert len({layer[:, 0].double().sum().item() for layer in masked.unbind()}) == 3
    with capture() as recording:
        model.eval()(images)
    assert all((record.weights > 0).all() for record in recording.values())


@pytest.mark.parametrize(
    ("settings", "prefix"),
    [
        ({}, 0),
        ({"pool": "class"}, 1),
        ({"pool": "class", "num_registers": 2, "patch_overlap": 1}, 3),
    ],
)
def test_grid_and_prefix_tokens_are_attributes(settings: dict[str, Any], prefix: int) -> None:
    model = build(**settings)
    assert (model.grid, model.num_prefix_tokens) == ((5, 3), prefix)
    assert model.embedded(images_for(model)).shape == (3, 15 + prefix, 20)


def test_fixed_positions_are_saved_but_not_trained_and_the_class_token_has_none() -> None:
    model = build(pos_embed="sincos", pool="class")
    assert "pos_embed" in model.state_dict()
    assert "pos_embed" not in dict(model.named_parameters())
    assert model.pos_embed is not None
    assert not model.pos_embed[:, 0].any()
    assert model.pos_embed[:, 1:].any(-1).all()


def test_dropout_acts_in_training_alone() -> None:
    model = build(dropout=0.3)
    images = images_for(model)
    assert not model(images).isclose(model(images)).all()
    model.eval()
    plain = build()
    plain.load_state_dict(model.state_dict())
    assert model(images).equal(plain(images))


@pytest.mark.slow
@pytest.mark.unchecked
def test_compiles_to_one_graph() -> None:
    model = build(depth=1, pool="class")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    images = images_for(model)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), model(images), atol=1e-12, rtol=0)


def test_runs_under_autocast_with_a_learned_scale() -> None:
    model = build(attention_scale="learned").float().eval()
    images = images_for(model).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = model(images)
    assert (found - model(images)).abs().max() < 0.1 * model(images).abs().max()


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 2, 33, 35), r"images must be \(batch, 2, 35, 33\), got \(3, 2, 33, 35\)"),
        (torch.zeros(2, 35, 33), r"images must be \(batch, 2, 35, 33\), got \(2, 35, 33\)"),
        (torch.zeros(3, 1, 35, 33), r"images must be \(batch, 2, 35, 33\), got \(3, 1, 35, 33\)"),
        (
            torch.zeros(3, 2, 35, 33, dtype=torch.uint8),
            r"images must be floating point \(normalised pixels\), got torch.uint8",
        ),
    ],
)
def test_images_of_another_shape_or_type_are_an_error(images: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        build()(images)
