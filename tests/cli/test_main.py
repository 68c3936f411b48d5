import io
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from clearhead.cli.main import COMMANDS, Command, main

HEAVY = ("torch", "scipy", "matplotlib", "huggingface_hub", "numpy", "PIL")
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
CLEARHEAD = Path(sys.executable).with_name("clearhead")


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(command),
        capture_output=True,
        encoding="utf-8",
        env=BUFFERED | environment,
        timeout=60,
        check=False,
    )


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `attempt` whose only option says what it does."""
    (tmp_path / "attempt_command.py").write_text(
        "def attempt(how: str) -> int | None:\n    '''Do it.'''\n    return eval(how)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "attempt_command", raising=False)
    monkeypatch.setitem(COMMANDS, "attempt", Command("attempt_command", "attempt", "Do it."))


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_command(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith("usage: clearhead")
    for name, command in COMMANDS.items():
        assert [line.split(maxsplit=1) for line in shown.out.splitlines()].count(
            [name, command.summary]
        ) == 1


def test_no_command_shows_the_help_as_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("usage: clearhead")


def test_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"clearhead {version('clearhead')}\n"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("evalute", "there is no command 'evalute'; did you mean evaluate?"),
        ("Train", "there is no command 'Train'; did you mean train?"),
        ("--verson", "there is no option '--verson'; did you mean --version?"),
        (
            "zzz",
            "there is no command 'zzz'; known are train, evaluate, predict, explain, attend, "
            "page, serve, study, data, info",
        ),
    ],
)
def test_an_unknown_command_is_one_line_with_the_nearest_name(
    wrong: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([wrong, "--help"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"clearhead: {message}\n")


def test_the_help_of_a_command_names_it_and_its_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: clearhead evaluate")
    for option in ("--model", "--data", "--split", "--root", "--json", "--picture"):
        assert option in shown
    assert "--no-json" not in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["info", "--modl", "x"], "--model"),
        (["evaluate", "--split", "tets"], "'test'"),
        (["info", "--model"], "--model"),
    ],
)
def test_wrong_usage_of_a_command_exits_2_and_tells_what_is_known(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert told in shown.err
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("clearhead: ")
    assert shown.err.endswith("--help` shows what there is\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["attend", "It.", "--layer", "x"], "--layer takes INT, got 'x': one layer with all"),
        (["serve", "--gather", "a b"], "--gather takes FLOAT, got 'a b': How long"),
        (["study", "run", "--budget", "slow"], "`clearhead study run --help` shows"),
        (["page", "extra"], "not understood: extra; `clearhead page --help` shows"),
        (["train", "nosuch"], "--out FOLDER for model"),
        (["train", "qiuck", "--out", "x"], "not understood: qiuck (did you mean quick?); Avail"),
        (["train", "digit"], "not understood: digit (did you mean digits?); `clearhead train --h"),
        (["study", "rum"], "not understood: rum (did you mean run?)"),
    ],
)
def test_wrong_usage_is_told_in_our_words(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("draws", [True, False])
def test_a_value_that_cannot_be_is_one_line_whatever_the_terminal_can_draw(
    draws: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tyro._fmtlib._should_use_utf8_drawing_chars", lambda: draws)
    assert main(["serve", "--port", "abc"]) == 2
    assert capsys.readouterr().err == (
        "clearhead: --port takes INT, got 'abc': Port to listen on; 0 takes a free one. "
        "(default: 8000); `clearhead serve --help` shows what there is\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["serve", "--port", "99999"], 1),
        (["attend", "It was here.", "--layer", "99"], 1),
        (["data", "nowhere"], 1),
        (["study", "run"], 2),
        (["predict"], 2),
        (["train", "quick"], 2),
        (["serve", "--port", "x"], 2),
    ],
)
def test_values_that_cannot_work_exit_1_and_command_lines_not_complete_2(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("clearhead: ")
    assert shown.err.count("\n") == 1


def test_a_failed_job_is_one_line_and_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--model", "nowhere"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("clearhead: no model at 'nowhere'")
    assert shown.err.count("\n") == 1


def test_an_error_of_the_system_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    name = "x" * 300
    assert main(["info", "--model", name]) == 1
    assert capsys.readouterr().err == f"clearhead: {name}: File name too long\n"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("None", 0),
        ("0", 0),
        ("5", 5),
        ("(_ for _ in ()).throw(KeyboardInterrupt)", 130),
        ("(_ for _ in ()).throw(SystemExit(7))", 7),
    ],
)
@pytest.mark.usefixtures("attempt")
def test_the_exit_code_is_the_commands_own(
    how: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attempt", "--how", how]) == code
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("attempt")
def test_an_error_of_the_system_without_a_file_keeps_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["attempt", "--how", "(_ for _ in ()).throw(TimeoutError('too slow'))"]) == 1
    assert capsys.readouterr().err == "clearhead: too slow\n"


@pytest.mark.usefixtures("attempt")
def test_a_defect_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        main(["attempt", "--how", "1 / 0"])


def test_output_that_nobody_reads_ends_the_program_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "clearhead", "--help"],
            stdout=writer,
            stderr=subprocess.PIPE,
            env=BUFFERED,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.usefixtures("attempt")
def test_signs_that_the_output_cannot_show_do_not_stop_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["attempt", "--how", "print('9 \\u2192 4')"]) == 0
    assert written.getvalue() == b"9 ? 4\n"


def test_the_installed_command_and_the_module_are_the_same() -> None:
    for command in ([CLEARHEAD], [sys.executable, "-m", "clearhead"]):
        assert run(*command, "--version").stdout == f"clearhead {version('clearhead')}\n"
        assert run(*command, "nonsense").returncode == 2


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from clearhead.cli.main import main; code = main(sys.argv[1:]);"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr);"
        "sys.exit(code)"
    )
    ended = run(sys.executable, "-c", code, *arguments)
    assert (ended.stderr, ended.returncode) == ("[]\n", 0)


def test_help_answers_in_well_under_half_a_second() -> None:
    durations = []
    for _ in range(3):
        start = time.perf_counter()
        run(CLEARHEAD, "--help")
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.5
