import pickle
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from clearhead.cli.main import main
from clearhead.cli.serve import name_of


def test_missing_packages_are_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib import util

    find = util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        return None if name in ("fastapi", "uvicorn") else find(name, *rest)

    monkeypatch.setattr("clearhead.errors.find_spec", find_spec)
    assert main(["serve"]) == 2
    assert capsys.readouterr() == (
        "",
        "clearhead: serving needs packages that are not installed: pip install fastapi uvicorn\n",
    )


def test_a_port_in_use_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    interval = sys.getswitchinterval()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 2)  # it begins with "loading digits"
    assert f"cannot listen on 127.0.0.1, port {port}: Address already in use" in output.err
    assert sys.getswitchinterval() == interval


def test_an_unknown_host_is_an_error_of_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--host", "no host", "--port", "0"]) == 2
    output = capsys.readouterr()
    assert "cannot listen on no host, port 0: Name or service not known" in output.err
    assert "while attempting" not in output.err
    assert output.err.count("\n") == 2


def test_a_missing_model_fails_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", "nowhere"]) == 1
    assert "no model at 'nowhere'" in capsys.readouterr().err


@pytest.mark.parametrize(("interrupted", "code"), [(False, 0), (True, 130)])
def test_an_interrupt_has_its_own_exit_code(
    interrupted: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearhead.serve.run", lambda *_, **__: interrupted)
    assert main(["serve"]) == code


def test_the_application_is_made_in_each_worker_and_has_the_name_of_its_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served: list[tuple[str, int, str]] = []

    def run(make: Any, settings: Any, **_: Any) -> bool:
        model, passed = pickle.loads(pickle.dumps(make)).args
        assert passed == settings
        served.append((model, settings.workers, settings.name))
        return False

    monkeypatch.setattr("clearhead.serve.run", run)
    assert main(["serve", "--workers", "3"]) == 0
    assert main(["serve", "digits-distilled"]) == 0
    assert main(["serve", "--name", "mine"]) == 0
    distilled = "digits-distilled"
    assert served == [("digits", 3, "digits"), (distilled, 1, distilled), ("digits", 1, "mine")]


@pytest.mark.parametrize(
    ("model", "name"),
    [("digits", "digits"), ("runs/my letters", "my-letters"), ("OWNER/Name-1.0", "Name-1.0")],
)
def test_a_served_model_has_its_own_name(
    model: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs/my letters").mkdir(parents=True)
    assert name_of(model) == name
    monkeypatch.chdir("runs/my letters")
    assert name_of(".") == "my-letters"


def test_telemetry_without_opentelemetry_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.asgi", None)
    assert main(["serve", "--telemetry"]) == 2
    error = capsys.readouterr().err
    assert "install the extra `otel`" in error
    assert error.count("\n") == 1  # before the model is loaded
