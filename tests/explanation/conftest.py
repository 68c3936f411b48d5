"""Digits, a photo, and tiny models of three makers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from clearhead.explanation import Explanation, explain
from tests.torchvision_operators import TORCHVISION

if TYPE_CHECKING:
    from clearhead.data import ImageDataset

__all__ = ["TORCHVISION"]


@pytest.fixture(scope="session")
def digits(mnist_test: "ImageDataset", tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One real digit of each kind as a PNG, dark on light, larger than MNIST's."""
    folder = tmp_path_factory.mktemp("digits")
    files = []
    for digit in range(10):
        place = int((mnist_test.labels == digit).nonzero()[3])
        image = Image.fromarray(255 - mnist_test.images[place, 0].numpy())
        files.append(folder / f"digit {digit}.png")
        image.resize((140, 140), Image.Resampling.BICUBIC).save(files[-1])
    return files


@pytest.fixture(scope="session")
def nine(digits: list[Path]) -> Explanation:
    return explain("digits", digits[9])


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coloured picture of 61 × 47 pixels."""
    path = tmp_path_factory.mktemp("photo") / "a <b> & 'c'.jpg"
    y, x = np.mgrid[:47, :61]
    pixels = np.stack([4 * x, 5 * y, 2 * (x + y)], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    return path


@pytest.fixture(scope="session")
def timm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViT as timm saves it: 3 × 2 patches, a class token and 4 registers, 11 classes."""
    return save_timm(
        tmp_path_factory.mktemp("timm"),
        "vit_tiny_patch16_224",
        img_size=(48, 32),
        embed_dim=24,
        depth=2,
        num_heads=3,
        reg_tokens=4,
        num_classes=11,
    )


@pytest.fixture(scope="session")
def windows_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Swin: windows of 4 × 4 tokens, four of them, then one."""
    return save_timm(
        tmp_path_factory.mktemp("swin"),
        "swin_tiny_patch4_window7_224",
        img_size=32,
        window_size=4,
        embed_dim=12,
        depths=(1, 1),
        num_heads=(2, 3),
        num_classes=5,
    )


def save_timm(folder: Path, name: str, **settings: Any) -> Path:
    import timm
    from timm.models import save_for_hf

    torch.manual_seed(0)
    model: Any = timm.create_model(name, **settings)
    size = settings["img_size"]
    model.pretrained_cfg["input_size"] = (3, *(size if isinstance(size, tuple) else (size, size)))
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    save_for_hf(model, str(folder), model_args=settings, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def hf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ViT of transformers with its image processor: 5 × 5 patches, 3 classes."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    folder = tmp_path_factory.mktemp("hf")
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=28,
        image_size=40,
        patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "hen"},
        label2id={"cat": 0, "dog": 1, "hen": 2},
    )
    ViTForImageClassification(config).save_pretrained(folder)
    processor = ViTImageProcessor(
        size={"height": 40, "width": 40}, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]
    )
    processor.save_pretrained(folder)
    return folder
