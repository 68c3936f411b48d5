"""A Vision Transformer's attention, computed from its saved weights in float64 with numpy alone."""

from typing import Any

import numpy as np
from scipy.special import erf, softmax

from clearhead.models.pretrained import ImageModel

Array = np.ndarray[Any, np.dtype[Any]]


def attention_in_float64(model: ImageModel, pixels: Array) -> Array:
    """Layers, heads, queries, keys of one image with one channel of 28 × 28 bytes."""
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    image = (pixels[0] / 255 - 0.1307) / 0.3081
    patches = image.reshape(4, 7, 4, 7).transpose(0, 2, 1, 3).reshape(16, 49)
    kernel = weights["patch_embed.proj.weight"].reshape(-1, 49)
    tokens = patches @ kernel.T + weights["patch_embed.proj.bias"]
    tokens = np.concatenate([weights["cls_token"][0], tokens]) + weights["pos_embed"][0]
    layers = []
    for number in range(3):
        block = {
            name.split(".", 2)[2]: value
            for name, value in weights.items()
            if name.startswith(f"blocks.{number}.")
        }
        rows, context = _attention(_norm(tokens, block, "norm1"), block)
        layers.append(rows)
        tokens = tokens + context @ block["attn.proj.weight"].T + block["attn.proj.bias"]
        hidden = _norm(tokens, block, "norm2") @ block["mlp.fc1.weight"].T + block["mlp.fc1.bias"]
        hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        tokens = tokens + hidden @ block["mlp.fc2.weight"].T + block["mlp.fc2.bias"]
    return np.stack(layers)


def _attention(tokens: Array, block: dict[str, Array]) -> tuple[Array, Array]:
    joined = tokens @ block["attn.qkv.weight"].T + block["attn.qkv.bias"]
    query, key, value = joined.reshape(17, 3, 5, 4).transpose(1, 2, 0, 3)
    rows = softmax(query @ key.transpose(0, 2, 1) / 2, axis=-1)  # √4 = 2
    return rows, (rows @ value).transpose(1, 0, 2).reshape(17, 20)


def _norm(tokens: Array, block: dict[str, Array], name: str) -> Array:
    centred = tokens - tokens.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6)
    return np.asarray(scaled * block[f"{name}.weight"] + block[f"{name}.bias"])
