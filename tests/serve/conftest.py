"""One model, and the servers that tests share."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from clearhead.models import build
from clearhead.models.config import ViTConfig
from clearhead.models.pretrained import ImageModel

from .server import ServerThread


@pytest.fixture(scope="session")
def model() -> ImageModel:
    """Weights large enough that predictions differ from picture to picture."""
    torch.manual_seed(0)
    network = build(ViTConfig(embed_dim=20, num_heads=5, depth=3, pool="class"))
    with torch.no_grad():
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture(scope="session")
def server(model: ImageModel) -> Iterator[ServerThread]:
    """Bodies of up to 200 kB, batches of up to 5 images."""
    settings: dict[str, Any] = {
        "body_limit": 200_000,
        "max_batch": 5,
        "allow_host": ("digits.example",),
    }
    with ServerThread(model, **settings) as started:
        yield started
