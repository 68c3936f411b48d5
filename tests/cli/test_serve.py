import socket
import sys
from typing import Any

import pytest

from clearhead.cli.main import main


def test_missing_packages_are_an_error_of_one_line(
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
        "clearhead: serving needs packages that are not installed: pip install fastapi uvicorn\n",
    )


def test_a_port_in_use_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    interval = sys.getswitchinterval()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in output.err
    assert sys.getswitchinterval() == interval


def test_an_unknown_host_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "no host", "--port", "0"]) == 1
    output = capsys.readouterr()
    assert "cannot listen on no host, port 0: Name or service not known" in output.err
    assert "while attempting" not in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--port", "70000"], "port"),
        (["--max-concurrency", "0"], "max_concurrency"),
        (["--prot", "1"], "--port"),
    ],
)
def test_settings_out_of_range_are_named(
    arguments: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) in (1, 2)
    output = capsys.readouterr()
    assert name in output.err
    assert "Traceback" not in output.err


def test_a_missing_model_fails_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", "nowhere"]) == 1
    assert "no model at 'nowhere'" in capsys.readouterr().err


@pytest.mark.parametrize(("interrupted", "code"), [(False, 0), (True, 130)])
def test_an_interrupt_has_its_own_exit_code(
    interrupted: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearhead.serve.run", lambda *_, **__: interrupted)
    assert main(["serve"]) == code
