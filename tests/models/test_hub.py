"""Whether the Hugging Face hub is in reach, and which sources are names on it."""

import logging
from typing import Any

import pytest
from huggingface_hub import constants

from clearhead._hub import hub_is_reachable
from clearhead.models.pretrained import is_path, quiet_libraries


class Hub:
    """An HTTP session that succeeds or fails, and keeps the addresses requested."""

    def __init__(self, in_reach: bool) -> None:
        self.in_reach, self.requests = in_reach, list[str]()

    def head(self, address: str, **_: Any) -> None:
        self.requests.append(address)
        if not self.in_reach:
            raise OSError("no route")


@pytest.mark.parametrize("in_reach", [True, False])
def test_one_request_decides_whether_the_hub_can_be_reached(
    in_reach: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(in_reach)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert hub_is_reachable("http://elsewhere") is in_reach
    assert hub.requests == ["http://elsewhere"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub_is_reachable()
    assert len(hub.requests) == 1


def test_libraries_are_muted_inside_the_block_only() -> None:
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    with quiet_libraries():
        assert not logger.isEnabledFor(logging.ERROR)
    assert logger.level == before


def test_names_on_the_hub_differ_from_paths() -> None:
    hub = ("owner/name", "Owner/model-1.5", "owner/vit_tiny.augreg", "digits")
    assert [name for name in hub if is_path(name)] == []
    paths = ("./a", "../a/b", "/a", "~/a", "a/b/c", "a/", "runs/model.safetensors", "model.bin")
    assert [name for name in paths if not is_path(name)] == []
