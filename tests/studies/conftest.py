"""A folder with small studies, from which they can be imported, as a user's own can."""

import sys
from pathlib import Path

import pytest

from tests.studies.toy_studies import write_toys


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_toys(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("toy", "null", "faulty", "alone"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path
