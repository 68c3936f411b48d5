"""timm, for comparison; and trainings without a picture."""

import pytest

from tests.torchvision_operators import TORCHVISION

__all__ = ["TORCHVISION"]


@pytest.fixture(autouse=True)
def _picture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these trainings; one test is enough."""
    if "picture" not in request.node.name:
        monkeypatch.setattr("clearhead.training.results.save_evaluation_plot", lambda *_: None)
