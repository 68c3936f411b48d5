"""A folder with small studies, from which they can be imported, as a user's own can."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clearhead.studies.measures import trainings
from tests.studies.toy_studies import forget_toys, write_toys


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_toys(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    forget_toys()
    yield tmp_path
    forget_toys()


@pytest.fixture
def small_trainings(
    mnist_train: object, mnist_test: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Shared trainings are kept in a folder of the test."""
    monkeypatch.setattr(trainings, "cache_folder", lambda: tmp_path)
