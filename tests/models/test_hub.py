import logging
from typing import Any

import pytest
from huggingface_hub import constants

from clearhead.models.hub import asking_hub, names_a_path


class Hub:
    """Answers, or not; and remembers which address was asked."""

    def __init__(self, answers: bool) -> None:
        self.answers, self.asked = answers, list[str]()

    def head(self, address: str, **_: Any) -> None:
        self.asked.append(address)
        if not self.answers:
            raise OSError("no way there")


@pytest.mark.parametrize("answers", [True, False])
def test_the_hub_is_asked_once_and_then_counts_as_there_or_not(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(answers)
    monkeypatch.setattr("huggingface_hub.get_session", lambda: hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with asking_hub(endpoint="http://elsewhere") as reachable:
        assert reachable is answers
        assert constants.HF_HUB_OFFLINE is not answers
    assert hub.asked == ["http://elsewhere"]
    assert not constants.HF_HUB_OFFLINE
    with asking_hub(wanted=False) as reachable:
        assert not reachable
    assert len(hub.asked) == 1


def test_the_libraries_are_quiet_meanwhile_and_speak_again_afterwards() -> None:
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    with asking_hub(wanted=False):
        assert not logger.isEnabledFor(logging.ERROR)
    assert logger.level == before


def test_names_on_the_hub_are_told_from_paths() -> None:
    hub = ("owner/name", "Owner/model-1.5", "owner/vit_tiny.augreg", "digits")
    assert [name for name in hub if names_a_path(name)] == []
    paths = ("./a", "../a/b", "/a", "~/a", "a/b/c", "a/", "runs/model.safetensors", "model.bin")
    assert [name for name in paths if not names_a_path(name)] == []
