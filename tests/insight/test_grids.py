from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from torch import nn

from clearhead.errors import ConfigError
from clearhead.insight.grids import grid_of
from clearhead.insight.tokens import Grid
from clearhead.models.build import build
from clearhead.models.config import ViTConfig
from clearhead.recording import capture

SMALL = {
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 7,
}
CLASS = ("class token",)
REGISTERS = tuple(f"register {number}" for number in range(1, 5))


def timm_model(name: str, **changes: object) -> nn.Module:
    sizes: dict[str, Any] = {
        "img_size": (21, 35),
        "patch_size": 7,
        "depth": 1,
        "embed_dim": 12,
        "num_heads": 3,
    }
    model: nn.Module = timm.create_model(name, num_classes=5, **sizes | changes)
    return model.eval()


def transformers_model(kind: str, **changes: object) -> nn.Module:
    sizes = {"image_size": 21, "patch_size": 7} | changes
    config = getattr(transformers, f"{kind}Config")(**SMALL, **sizes)
    model: nn.Module = getattr(transformers, f"{kind}Model")(config)
    return model.eval()


def num_tokens_seen(model: nn.Module, height: int, width: int) -> int:
    with torch.no_grad(), capture(0) as seen:
        model(torch.zeros(1, 3, height, width))
    return int(seen[0].query.shape[-2])


@pytest.mark.parametrize("pool", ["mean", "class"])
def test_our_model_says_its_grid(pool: str) -> None:
    config = ViTConfig(image_size=(14, 35), patch_size=7, pool=pool, depth=1)  # type: ignore[arg-type]
    expected = Grid(2, 5, 1, CLASS) if pool == "class" else Grid(2, 5)
    assert grid_of(build(config)) == expected
    with pytest.raises(ConfigError, match=r"reads images of \(14, 35\) pixels only"):
        grid_of(build(config), image_size=28)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("vit_tiny_patch16_224", CLASS),
        ("deit_tiny_distilled_patch16_224", (*CLASS, "distillation token")),
        ("vit_small_patch14_reg4_dinov2", (*CLASS, *REGISTERS)),
        ("vit_small_patch16_dinov3", (*CLASS, *REGISTERS)),
        ("vit_base_patch16_siglip_224", ()),
    ],
)
def test_timm_models_say_their_grid_and_prefix(name: str, names: tuple[str, ...]) -> None:
    model = timm_model(name)
    grid = grid_of(model)
    assert grid == Grid(3, 5, len(names), names)
    assert num_tokens_seen(model, 21, 35) == grid.num_tokens


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("ViT", CLASS),
        ("DeiT", (*CLASS, "distillation token")),
        ("Dinov2WithRegisters", (*CLASS, *REGISTERS)),
        ("CLIPVision", CLASS),
        ("SiglipVision", ()),
    ],
)
def test_transformers_models_say_their_grid_and_prefix(kind: str, names: tuple[str, ...]) -> None:
    model = transformers_model(kind)
    grid = grid_of(model)
    assert grid == Grid(3, 3, len(names), names)
    assert num_tokens_seen(model, 21, 21) == grid.num_tokens


def test_a_model_made_for_another_size_is_told_the_size_of_its_images() -> None:
    model = transformers_model("Dinov2", image_size=70)
    assert grid_of(model) == Grid(10, 10, 1, CLASS)
    assert grid_of(model, image_size=21) == Grid(3, 3, 1, CLASS)
    assert num_tokens_seen(model, 21, 21) == grid_of(model, image_size=21).num_tokens
    assert grid_of(timm_model("vit_tiny_patch16_224"), image_size=(14, 21)) == Grid(2, 3, 1, CLASS)


def test_a_model_of_pictures_and_words_gives_the_grid_of_its_pictures() -> None:
    config = transformers.CLIPConfig(
        text_config=SMALL | {"vocab_size": 13, "bos_token_id": 1, "eos_token_id": 2},
        vision_config=SMALL | {"image_size": 21, "patch_size": 7},
    )
    assert grid_of(transformers.CLIPModel(config)) == Grid(3, 3, 1, CLASS)


def test_torchvision_says_its_grid() -> None:
    model = torchvision.models.VisionTransformer(
        image_size=21, patch_size=7, num_layers=1, num_heads=3, hidden_dim=12, mlp_dim=7
    ).eval()
    assert grid_of(model) == Grid(3, 3, 1, CLASS)
    assert num_tokens_seen(model, 21, 21) == 10


def windows() -> nn.Module:
    model: nn.Module = timm.create_model("swin_tiny_patch4_window7_224", img_size=28)
    return model


def later_tokens() -> nn.Module:
    return transformers_model("Yolos", image_size=[21, 35], num_detection_tokens=2)


def shifted_windows() -> nn.Module:
    config = transformers.SwinConfig(
        image_size=28, patch_size=7, embed_dim=12, depths=[1], num_heads=[3], window_size=2
    )
    return transformers.SwinModel(config)


@pytest.mark.parametrize(
    "make", [windows, later_tokens, shifted_windows, lambda: nn.Linear(16, 16)]
)
def test_a_model_without_one_grid_is_refused_with_the_way_out(make: object) -> None:
    model = make()  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"give it by hand: Grid\(rows, columns"):
        grid_of(model)
