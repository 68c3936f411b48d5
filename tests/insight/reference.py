"""Our Vision Transformer written out with loops over heads, whose outputs can be replaced."""

import math
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer

# From layer, head, weights (batch tokens tokens) and values (batch tokens head_dim), the
# output of the head; by default their product.
Head = Callable[[int, int, Tensor, Tensor], Tensor]


def oblong_model(pool: str = "mean") -> VisionTransformer:
    """Every axis has another size: 5 x 3 patches, 2 heads of 7, 3 layers, 11 classes.

    A copy, which may be changed; the random generator is as after the model has been made.
    """
    model, state = _oblong_model(pool)
    torch.set_rng_state(state)
    return deepcopy(model)


@cache
@torch.inference_mode(mode=False)  # also where the first caller is in it
def _oblong_model(pool: str) -> tuple[VisionTransformer, Tensor]:
    torch.manual_seed(0)
    model = VisionTransformer(
        ViTConfig(
            image_size=(35, 33),
            patch_size=(7, 11),
            in_channels=2,
            embed_dim=14,
            num_heads=2,
            mlp_ratio=2.0,
            depth=3,
            num_classes=11,
            pool=pool,  # type: ignore[arg-type]
        )
    ).double()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval(), torch.get_rng_state()


def oblong_images(count: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, 35, 33, generator=generator, dtype=torch.float64)


def cell(patch: int) -> tuple[slice, slice]:
    """Rows and columns of the pixels of one patch of these images."""
    row, column = divmod(patch, 3)
    return slice(7 * row, 7 * row + 7), slice(11 * column, 11 * column + 11)


def product(layer: int, head: int, weights: Tensor, values: Tensor) -> Tensor:
    return weights @ values


def plain_logits(model: VisionTransformer, images: Tensor, head_output: Head = product) -> Tensor:
    x = model.embedded(images)
    block: Any
    for layer, block in enumerate(model.blocks):
        attn = block.attn
        query, key, value = attn.qkv(block.norm1(x)).chunk(3, dim=-1)
        outputs = []
        for head in range(attn.num_heads):
            part = slice(head * attn.head_dim, (head + 1) * attn.head_dim)
            scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(attn.head_dim)
            outputs.append(head_output(layer, head, scores.softmax(-1), value[..., part]))
        x = x + attn.proj(torch.cat(outputs, dim=-1))
        x = x + block.mlp(block.norm2(x))
    logits: Tensor = model.head(model.pooled(model.norm(x)))
    return logits


@torch.no_grad()
def plain_probabilities(
    model: VisionTransformer, images: Tensor, head_output: Head = product
) -> Tensor:
    return plain_logits(model, images, head_output).softmax(dim=1)


SMALL: dict[str, Any] = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
}


def timm_vit() -> nn.Module:
    """For images of 15 x 21 pixels, 3 x 3 patches, 2 layers of 3 heads, 7 classes."""
    import timm

    model: nn.Module = timm.models.VisionTransformer(
        img_size=(15, 21), patch_size=(5, 7), embed_dim=12, depth=2, num_heads=3, num_classes=7
    )
    return model


def transformers_vit(**changes: Any) -> nn.Module:
    """The same sizes."""
    import transformers

    settings = SMALL | {"image_size": (15, 21), "patch_size": (5, 7), "num_labels": 7} | changes
    config = transformers.ViTConfig(**settings)
    model: nn.Module = transformers.ViTForImageClassification(config)
    return model


def bert(kind: str) -> nn.Module:
    """A small BERT for 31 words, in evaluation mode."""
    import transformers

    torch.manual_seed(0)
    model: nn.Module = getattr(transformers, kind)(transformers.BertConfig(vocab_size=31, **SMALL))
    return model.train(False)
