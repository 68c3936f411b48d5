import socket
import sys
from typing import Any

import pytest

from clearhead.cli.main import main


def test_what_is_not_installed_is_told_in_one_line_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib import util

    find = util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        return None if name in ("fastapi", "uvicorn") else find(name, *rest)

    monkeypatch.setattr(util, "find_spec", find_spec)
    assert main(["serve"]) == 1
    assert capsys.readouterr() == (
        "",
        "clearhead: serving needs fastapi, uvicorn, which is not installed: "
        "pip install 'clearhead[serve]'\n",
    )


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    interval = sys.getswitchinterval()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"clearhead: cannot listen on 127.0.0.1, port {port}: Address already in use; "
        "choose another with --port (0 takes a free one) or --host\n"
    )
    assert said.err.count("\n") == 1
    assert sys.getswitchinterval() == interval


def test_a_host_that_is_none_is_one_line_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "no host", "--port", "0"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(
        "clearhead: cannot listen on no host, port 0: Name or service not known"
    )
    assert "while attempting" not in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["--port", "70000"], "port"), (["--capacity", "0"], "capacity"), (["--prot", "1"], "--port")],
)
def test_settings_that_cannot_work_are_told(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) in (1, 2)
    said = capsys.readouterr()
    assert told in said.err
    assert "Traceback" not in said.err


def test_a_model_that_is_not_there_fails_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", "nowhere"]) == 1
    assert "no model at 'nowhere'" in capsys.readouterr().err
