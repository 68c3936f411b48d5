"""Trials, images and classifiers with random numbers."""

from typing import Any

import torch

from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.table import Trial


def trial(condition: str = "x", *, seed: int = 3, **settings: Any) -> Trial:
    """A trial of no study."""
    return Trial(study="x", condition=condition, seed=seed, settings=settings)


def random_images(count: int) -> torch.Tensor:
    """Normalised images of noise."""
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(2))


def random_classifier(
    seed: int, std: float, *, embed_dim: int, num_heads: int
) -> VisionTransformer:
    """A classifier with weights so large that its attention differs from image to image."""
    torch.manual_seed(seed)
    config = ViTConfig(depth=2, embed_dim=embed_dim, num_heads=num_heads)
    model = VisionTransformer(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model
