"""Vision Transformers to and from timm: the same function, under the same parameter names."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from clearhead.errors import ConfigError
from clearhead.models._libraries import load_timm, timm_class_names
from clearhead.models.config import Pool, ViTConfig
from clearhead.models.layers import LAYER_NORM_EPS
from clearhead.models.vit import VisionTransformer

PREFIX = "timm:"
TIMM_ARCHITECTURE = "vit_base_patch16_224"  # any of timm's plain ones: all sizes are arguments


def to_timm_state_dict(model: VisionTransformer) -> dict[str, Tensor]:
    """The weights of a model for timm's `VisionTransformer`, which then computes the same function.

    timm's scale is always 1/√head_dim: another one is multiplied into the weights of the queries.

    Args:
        model: The model; it is not changed.

    Returns:
        Copies of its tensors, on the CPU, under timm's names.

    Raises:
        ConfigError: If its patches overlap or follow convolutions; timm has no such layers.
    """
    for name in ("stem_channels", "patch_overlap"):
        if value := getattr(model.config, name):
            raise ConfigError(
                "timm's Vision Transformer has no convolutions before its patches and no overlap; "
                f"expected a model with {name} 0, got {value}"
            )
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    for name, layer in model.blocks.named_children():
        attention: Any = layer.attn
        if attention.scale is None:  # 1/√head_dim
            continue
        learned = state.pop(f"blocks.{name}.attn.learned_scale", torch.ones(attention.num_heads))
        factor = learned.flatten() * attention.scale * math.sqrt(attention.head_dim)
        factor = factor.repeat_interleave(attention.head_dim)
        state[f"blocks.{name}.attn.qkv.weight"][: len(factor)] *= factor[:, None]
        state[f"blocks.{name}.attn.qkv.bias"][: len(factor)] *= factor
    return state


def timm_config(config: ViTConfig) -> dict[str, Any]:
    """The `config.json` with which timm builds a model for `to_timm_state_dict` from a folder.

    Args:
        config: The model's configuration.

    Returns:
        Architecture, arguments, preprocessing constants and class names, as timm's
        `save_for_hf` writes them.
    """
    channels, (height, width) = config.in_channels, config.image_shape
    pool = "token" if config.pool == "class" else "avg"
    return {
        "architecture": TIMM_ARCHITECTURE,
        "num_classes": config.num_classes,
        "num_features": config.embed_dim,
        "global_pool": pool,
        "label_names": list(config.labels),
        "model_args": {
            "img_size": [height, width],
            "patch_size": list(config.patch_shape),
            "in_chans": channels,
            "embed_dim": config.embed_dim,
            "depth": config.depth,
            "num_heads": config.num_heads,
            "mlp_ratio": config.mlp_ratio,
            "class_token": config.pool == "class",
            "global_pool": pool,
            "fc_norm": False,
            "pos_embed": "none" if config.pos_embed == "none" else "learn",
            "reg_tokens": config.num_registers,
        },
        "pretrained_cfg": {
            "num_classes": config.num_classes,
            "input_size": [channels, height, width],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(config.mean) * (channels // len(config.mean)),
            "std": list(config.std) * (channels // len(config.std)),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def from_timm(source: str | nn.Module) -> VisionTransformer:
    """A Vision Transformer of timm as one of Clearhead's, which computes the same function.

    Layer scale is multiplied into the weights before it; a class token beside mean pooling becomes
    a register.

    Args:
        source: A model that timm knows by name, a folder in timm's layout, or a model of timm.

    Returns:
        The model, in evaluation mode.

    Raises:
        ConfigError: If the model has a part that Clearhead's Vision Transformer lacks, or timm is
            not installed.
        CheckpointError: If the weights cannot be loaded.
    """
    theirs: Any = load_timm(source) if isinstance(source, str) else source
    name = f"{PREFIX}{source}" if isinstance(source, str) else type(theirs).__name__
    if missing := _missing_parts(theirs):
        raise ConfigError(
            f"{name} cannot become a VisionTransformer of Clearhead, which has no "
            f"{', '.join(missing)}; expected a plain Vision Transformer of timm, such as "
            "vit_tiny_patch16_224"
        )
    state = dict(theirs.state_dict())
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced
        model = VisionTransformer(_config_of(theirs))
    _merge_layer_scale(state)
    if theirs.pos_embed is not None and theirs.no_embed_class:
        prefix = theirs.pos_embed.new_zeros(1, theirs.num_prefix_tokens, theirs.embed_dim)
        state["pos_embed"] = torch.cat([prefix, theirs.pos_embed], dim=1)
    if theirs.cls_token is not None and theirs.global_pool == "avg":
        tokens = [state.pop("cls_token"), state.pop("reg_token", None)]
        state["reg_token"] = torch.cat([token for token in tokens if token is not None], dim=1)
    model.load_state_dict(state)
    return model.eval()


def _config_of(theirs: Any) -> ViTConfig:
    embed, block = theirs.patch_embed, theirs.blocks[0]
    pool: Pool = "class" if theirs.global_pool == "token" else "mean"
    preprocessing = getattr(theirs, "pretrained_cfg", None) or {}
    return ViTConfig(
        image_size=tuple(embed.img_size),
        patch_size=tuple(embed.patch_size),
        in_channels=embed.proj.in_channels,
        num_classes=theirs.num_classes,
        class_names=timm_class_names(theirs),
        mean=tuple(preprocessing.get("mean") or (0.5,)),
        std=tuple(preprocessing.get("std") or (0.5,)),
        embed_dim=theirs.embed_dim,
        depth=len(theirs.blocks),
        num_heads=block.attn.num_heads,
        mlp_ratio=block.mlp.fc1.out_features / theirs.embed_dim,
        pos_embed="none" if theirs.pos_embed is None else "learned",
        num_registers=theirs.num_prefix_tokens - (pool == "class"),
        pool=pool,
    )


def _missing_parts(theirs: Any) -> list[str]:
    """What a model has that Clearhead's lacks, in words."""
    from timm.models.vision_transformer import Block
    from timm.models.vision_transformer import VisionTransformer as Timms

    if type(theirs) is not Timms:
        return [f"layers of timm's {type(theirs).__name__}"]
    blocks: list[Any] = list(theirs.blocks)
    parts = {
        "blocks of another kind": any(type(block) is not Block for block in blocks),
        "normalised queries and keys": any(
            not isinstance(getattr(block.attn, norm, nn.Identity()), nn.Identity)
            for block in blocks
            for norm in ("q_norm", "k_norm", "norm")
        ),
        "attention without biases": any(block.attn.qkv.bias is None for block in blocks),
        "activation but GELU": any(type(block.mlp.act) is not nn.GELU for block in blocks),
        "norm before the first block": not isinstance(theirs.norm_pre, nn.Identity),
        "norm after pooling": not isinstance(theirs.fc_norm, nn.Identity),
        "norms but layer norms with ε = 1e-6": not all(
            isinstance(norm, nn.LayerNorm) and norm.eps == LAYER_NORM_EPS
            for norm in (theirs.norm, *(norm for x in blocks for norm in (x.norm1, x.norm2)))
        ),
        f"pooling {theirs.global_pool!r}": theirs.global_pool not in ("avg", "token"),
        "mean of all tokens": bool(theirs.pool_include_prefix),
        "head": not isinstance(theirs.head, nn.Linear),
    }
    return [part for part, present in parts.items() if present]


def _merge_layer_scale(state: dict[str, Tensor]) -> None:
    """γ · (W x + b) = (γ W) x + γ b, for the last layer of attention and MLP."""
    for name in [name for name in state if name.endswith((".ls1.gamma", ".ls2.gamma"))]:
        block, layer = name.rsplit(".", 2)[0], "attn.proj" if ".ls1." in name else "mlp.fc2"
        gamma = state.pop(name)
        for part in ("weight", "bias"):
            tensor = state[f"{block}.{layer}.{part}"]
            state[f"{block}.{layer}.{part}"] = tensor * gamma.view(-1, *[1] * (tensor.dim() - 1))
