"""Servers that several tests share, all started at once and waited for when first used."""

from collections.abc import Iterator

import pytest
import torch

from clearhead.models.build import build
from clearhead.models.config import ViTConfig
from clearhead.models.pretrained import ImageModel

from .served import Served

HASTY = {
    "patience": 1.0,
    "body_limit": 200_000,
    "max_batch": 5,
    "allow_host": ["digits.example"],
}
BUSY = {"capacity": 8, "max_batch": 2, "deadline": 1.8, "gather": 0.0, "grace": 8.0}
BUSY_SECONDS = 0.3


@pytest.fixture(scope="session")
def model() -> ImageModel:
    """Weights so large that its answers differ from picture to picture."""
    torch.manual_seed(0)
    network = build(ViTConfig(embed_dim=20, num_heads=5, depth=3, pool="class"))
    with torch.no_grad():
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture(scope="session")
def folder(model: ImageModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The model, saved."""
    place = tmp_path_factory.mktemp("served")
    model.save_pretrained(place)
    return str(place)


@pytest.fixture(scope="session")
def servers(folder: str) -> Iterator[tuple[Served, Served, Served]]:
    """One that has little patience, and two whose model is slow; one of these will be stopped."""
    started = (
        Served(folder, HASTY),
        Served(folder, BUSY, seconds=BUSY_SECONDS),
        Served(folder, BUSY | {"capacity": 64, "deadline": 20.0}, seconds=0.1),
    )
    yield started
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def server(servers: tuple[Served, Served, Served]) -> Served:
    """Patience of 1 s, bodies of 200 kB, batches of 5."""
    return servers[0]


@pytest.fixture(scope="session")
def busy(servers: tuple[Served, Served, Served]) -> Served:
    """Room for 8, batches of 2 in 0.3 s, deadline of 1.8 s."""
    return servers[1]


@pytest.fixture(scope="session")
def doomed(servers: tuple[Served, Served, Served]) -> Served:
    """Room for 64, batches of 2 in a tenth of a second; for the test that stops it."""
    return servers[2]
