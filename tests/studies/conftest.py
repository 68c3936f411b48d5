"""A folder with small studies, from which they can be imported, as a user's own can."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.studies.toy_studies import forget_toys, write_toys


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_toys(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    forget_toys()
    yield tmp_path
    forget_toys()
