"""A Ray cluster that cannot be used is an error of one line within seconds."""

import re
import socket
from pathlib import Path

import pytest

from clearhead import _ray
from clearhead.errors import ConfigError

pytest.importorskip("ray")


@pytest.fixture(autouse=True)
def _short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ray, "TIMEOUT", 0.5)


def check(*expected: str) -> None:
    pattern = ".*".join(map(re.escape, expected))
    with pytest.raises(ConfigError, match=f"^{pattern}") as raised, _ray.ray_cluster(1):
        pass
    assert "\n" not in str(raised.value)


def test_an_address_where_something_else_listens_does_not_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        check("the Ray cluster at RAY_ADDRESS=", address, "does not respond within 0.5 seconds")


@pytest.mark.slow
def test_the_address_of_a_cluster_that_was_killed_does_not_hang(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(
        "127.0.0.1:9"
    )  # where `ray start` notes it
    check("the Ray cluster that was started on this machine does not respond", "`ray stop`")


@pytest.mark.slow
def test_auto_without_a_cluster_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_ray, "TIMEOUT", 60.0)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    check("the Ray cluster at RAY_ADDRESS=auto is not running", "unset RAY_ADDRESS")
