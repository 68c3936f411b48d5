"""Models become timm's and timm's become ours, and compute the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer as TimmTransformer

from clearhead.errors import CheckpointError, ConfigError
from clearhead.models import (
    VisionTransformer,
    ViTConfig,
    from_timm,
    load,
    timm_config,
    to_timm_state_dict,
)

OBLONG: dict[str, Any] = {
    "image_size": (35, 33),
    "patch_size": (7, 11),
    "in_channels": 3,
    "embed_dim": 20,
    "num_heads": 5,
    "mlp_ratio": 2.2,
    "depth": 2,
    "num_classes": 4,
    "class_names": ("ant", "bee", "cow", "dog"),
    "mean": (0.4, 0.5, 0.6),
    "std": (0.25,),
}
THEIRS: dict[str, Any] = {
    "img_size": (35, 33),
    "patch_size": (7, 11),
    "embed_dim": 20,
    "depth": 2,
    "num_heads": 5,
    "num_classes": 13,
}


def randomised(model: torch.nn.Module) -> Any:
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def test_a_copy_of_a_timm_model_leaves_the_random_state_as_it_is() -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", **THEIRS)
    before = torch.get_rng_state()
    from_timm(theirs)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pool": "class", "num_registers": 2},
        {"pos_embed": "sincos", "attention_scale": 0.37},
        {"pos_embed": "none", "attention_scale": "learned"},
        {"attention_scale": "none"},
        {"mean": (0.4,), "std": (0.25, 0.5, 0.75)},
    ],
)
def test_timm_builds_the_same_function_from_a_written_folder(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    model = randomised(VisionTransformer(ViTConfig(**(OBLONG | settings))))
    save_file(to_timm_state_dict(model), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(timm_config(model.config)))
    theirs: Any = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(3, 3, 35, 33)
    torch.testing.assert_close(theirs(images), model(images), atol=1e-5, rtol=1e-5)
    numbers = {"mean": [0.4] * 3, "std": [0.25, 0.5, 0.75]}
    if "mean" not in settings:
        numbers = {"mean": [0.4, 0.5, 0.6], "std": [0.25] * 3}
    assert {name: list(theirs.pretrained_cfg[name]) for name in numbers} == numbers

    again = load(f"timm:{tmp_path}")
    torch.testing.assert_close(again(images), model(images), atol=1e-5, rtol=1e-5)
    assert again.config.class_names == ("ant", "bee", "cow", "dog")
    assert {name: list(getattr(again.config, name)) for name in numbers} == numbers


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ViTConfig(patch_overlap=2), "patch_overlap 0, got 2"),
        (ViTConfig(stem_channels=3), "stem_channels 0, got 3"),
    ],
)
def test_some_patches_have_no_layer_in_timm(config: ViTConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        to_timm_state_dict(VisionTransformer(config))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"no_embed_class": True, "reg_tokens": 3},
        {"init_values": 0.1},
        {"global_pool": "avg", "fc_norm": False, "reg_tokens": 2},
        {"global_pool": "avg", "fc_norm": False, "class_token": False},
        {"pos_embed": "none"},
    ],
)
def test_a_model_of_timm_is_the_same_function_here(settings: dict[str, Any]) -> None:
    theirs = randomised(TimmTransformer(**(THEIRS | settings)))
    images = torch.randn(3, 3, 35, 33)
    ours = from_timm(theirs)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)
    assert ours.config.labels[12] == "12"


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"qk_norm": True}, "no normalised queries and keys;"),
        ({"qkv_bias": False}, "no attention without biases;"),
        ({"pre_norm": True}, "no norm before the first block;"),
        ({"global_pool": "avg"}, "no norm after pooling"),
        ({"act_layer": torch.nn.ReLU}, "no activation but GELU;"),
    ],
)
def test_parts_that_are_missing_here_are_named(settings: dict[str, Any], missing: str) -> None:
    with pytest.raises(ConfigError, match=missing) as caught:
        from_timm(TimmTransformer(**(THEIRS | settings)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_base_patch16_plus_240", "timm has no trained weights"),
        ("vit_tiny_patch16_224.no_such_tag", "cannot be loaded"),
        ("gcvit_base.in1k", "are a pickle, which is never loaded"),
    ],
)
def test_a_model_without_trained_weights_as_safetensors_is_an_error(
    name: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearhead.models._libraries.hub_is_reachable", lambda: False)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load(f"timm:{name}")
    assert "\n" not in str(caught.value)


def test_other_architectures_of_timm_are_refused() -> None:
    with pytest.raises(ConfigError, match="layers of timm's ResNet"):
        from_timm(timm.create_model("test_resnet", pretrained=False))
