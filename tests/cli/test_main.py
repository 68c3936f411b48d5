import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

from clearhead.cli.main import COMMANDS, main
from clearhead.cli.options import AsJson, ModelSource
from clearhead.cli.parsing import parse
from clearhead.errors import ConfigError
from clearhead.training.recipes import RECIPES
from tests.marks import slow_after

HEAVY = ("torch", "scipy", "matplotlib", "huggingface_hub", "numpy", "PIL")
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
UNBUFFERED = BUFFERED | {"PYTHONUNBUFFERED": "1"}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=BUFFERED, check=False)


@pytest.fixture
def attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `attempt` that evaluates its option --code."""

    def attempt(code: str) -> object:
        return eval(code)

    module = ModuleType("clearhead.cli.attempt")
    module.attempt = attempt  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(COMMANDS, "attempt", "Evaluate code.")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_every_command_once(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert all(lines.count([name, summary]) == 1 for name, summary in COMMANDS.items())


def test_no_command_prints_the_help_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("usage: clearhead")) == ("", True)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("evalute", "did you mean evaluate?"),
        ("Train", "did you mean train?"),
        ("PREDICT", "did you mean predict?"),
        ("--verson", "did you mean --version?"),
        ("version", "did you mean --version?"),
        ("zzz", f"expected one of {', '.join(COMMANDS)}"),
        ("", "expected one of"),
    ],
)
def test_unknown_command_is_one_line_with_the_nearest_name(
    wrong: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([wrong, "--help"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert hint in err


def test_help_of_a_command_lists_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: clearhead evaluate")
    assert all(name in out for name in ("--model", "--data", "--split", "--root", "--json"))
    assert "--no-json" not in out


@cache
def help_of(command: str) -> str:
    with redirect_stdout(io.StringIO()) as shown:
        assert main([*command.split(), "--help"]) == 0
    return shown.getvalue()


@pytest.mark.parametrize("name", [*COMMANDS, *(f"study {x}" for x in ("plan", "run", "report"))])
def test_the_description_in_a_help_is_paragraphs_of_one_line(name: str) -> None:
    described = re.split(
        r"\n\W*(?:positional arguments|options|commands|recipes)\W", help_of(name)
    )[0]
    usage, *paragraphs = described.strip().split("\n\n")
    assert usage.startswith(f"usage: clearhead {name}")
    assert paragraphs
    for paragraph in paragraphs:
        assert "\n" not in paragraph
        assert paragraph == paragraph.strip()


@pytest.mark.parametrize("name", ["data", "evaluate", "export", "info", "page", "serve"])
def test_an_argument_with_a_default_is_shown_as_optional(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    usage = capsys.readouterr().out.splitlines()[0]
    assert ("[DATA]" if name == "data" else "[MODEL]") in usage


def test_the_model_may_be_a_positional_argument_or_an_option() -> None:
    def command(model: ModelSource = "digits", json: AsJson = False) -> tuple[str, bool]:
        return model, json

    for line, expected in (
        ("", ("digits", False)),
        ("a", ("a", False)),
        ("--json a", ("a", True)),
        ("--model a", ("a", False)),
    ):
        assert parse("command", command, line.split())() == expected
    with pytest.raises(ConfigError, match="expected one model, got a and --model b"):
        parse("command", command, ["a", "--model", "b"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("info --modl x", "; Perhaps you meant: --model MODEL; run `clearhead info --help`"),
        ("info --zz\nz", "--zz z; run `clearhead info --help` for help"),
        ("info --model", "'--model'"),
        ("data x -", ": -;"),
        ("page digits extra", ": extra; run `clearhead page --help`"),
        ("evaluate --split tets", "expected one of train, val, test, got 'tets'; did you mean"),
        ("predict x --runner a=b", "expected one of local, ray, got 'a=b'"),
        ("serve --port abc", "--port: expected a whole number, got 'abc'"),
        ("serve --port 99999", "port must be an integer from 0 to 65535, got 99999"),
        ("train", f"expected one of {', '.join(RECIPES)}; run `clearhead train --help` for help"),
        ("train qiuck --out x", "unknown recipe 'qiuck'; did you mean quick?"),
        ("train quick", "--out FOLDER"),
        ("train tiny --out x", "--data TEXT"),
        ("train -- tiny", "recipe before its options"),
        ("train --out runs/x tiny", "got --out before tiny"),
        ("train quick --out x --model.depht 3", "--model.depth INT"),
        ("train quick --out x --epochs 0", "epochs must be an integer of at least 1, got 0"),
        ("train quick --out x --warmup y", "expected a number, got 'y'"),
        ("train quick --out ", "--out: expected a path, got ''"),
        ("predict x ", "IMAGE [IMAGE ...]: expected a text, got 'x' ''"),
        ("explain x.png --layers", "--layers: expected a text, got none"),
        ("serve --allow-host --port 0", "--allow-host: expected a text, got none"),
        (
            "train teacher --out x --model.widths",
            "--model.widths: expected a whole number, got none",
        ),
        ("predict x --model ", "--model: expected a text, got ''"),
        ("evaluate --picture=", "--picture: expected a path, got ''"),
        ("serve --host ", "--host: expected a text, got ''"),
        ("study plan :", "expected a study as MODULE:OBJECT, got ':'"),
        ("study plan ..x:y", "expected a study as MODULE:OBJECT, got '..x:y'"),
        ("train quick --out x --model.image-size=y", "expected one or two whole numbers, got 'y'"),
        ("study", "expected one of list, plan, describe, register, run, report"),
        ("study zzz", "expected one of list, plan, describe, register, run, report"),
        ("study run --json", "--json"),
        ("study run --workers 1.5", "expected a whole number, got '1.5'"),
        ("study run", "expected either studies by name (`clearhead study list`) or --all"),
        ("study run C5 --all", "expected either studies by name (`clearhead study list`) or --all"),
        ("study describe", "expected pictures or texts; run `clearhead study describe --help`"),
        ("attend", "expected a sentence; run `clearhead attend --help` for help"),
        ("predict", "expected a picture file, a folder, or - for stdin; run `clearhead predict"),
    ],
)
def test_wrong_usage_is_one_line_and_exits_with_2(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split(" ")) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("clearhead: ")
    assert not re.search("[│╭╰─]|--{2}|  |helptext", err)
    assert message in err


def test_wrong_usage_on_a_terminal_is_the_same_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = []
    for term in ("dumb", "xterm"):
        monkeypatch.setenv("TERM", term)
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert main(["info", "--modl", "x"]) == 2
        lines.append(capsys.readouterr().err)
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("line", "usage"),
    [
        ("info --model --help", "usage: clearhead info "),
        ("train quick --out --help", "usage: clearhead train quick "),
        ("train --help quick", "usage: clearhead train "),
    ],
)
def test_help_may_stand_in_place_of_a_value(
    line: str, usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 0
    out, err = capsys.readouterr()
    assert (out.startswith(usage), err) == (True, "")


def test_none_is_the_name_of_a_file_as_any_other_text() -> None:
    def command(*, out: Path | None = None) -> Path | None:
        return out

    assert parse("command", command, ["--out", "None"])() == Path("None")


@pytest.mark.parametrize("command", [*COMMANDS, *(f"train {x}" for x in RECIPES), "study run"])
def test_no_help_shows_a_type_or_value_of_python(command: str) -> None:
    words = " ".join(help_of(command).replace("│", " ").split())
    assert not re.findall(r"STR\b|\{None|\(default: (?:None|True|False)?\)", words)


@pytest.mark.parametrize(
    "arguments",
    [
        ["attend", "It was here.", "--layers", "99"],
        ["data", "nowhere"],
        ["info", "--model", "nowhere"],
        ["info", "--model", "x" * 300],  # too long for a file name: an OSError
    ],
)
def test_failed_command_exits_1_with_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("clearhead: ")
    assert arguments[-1] in err


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("None", 0),
        ("5", 5),
        ("(_ for _ in ()).throw(KeyboardInterrupt)", 130),
        ("(_ for _ in ()).throw(SystemExit(7))", 7),
    ],
)
@pytest.mark.usefixtures("attempt")
def test_exit_code_is_that_of_the_command(
    code: str, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attempt", "--code", code]) == expected
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("attempt")
def test_oserror_without_a_file_name_keeps_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attempt", "--code", "(_ for _ in ()).throw(TimeoutError('too slow'))"]) == 1
    assert capsys.readouterr().err == "clearhead: too slow\n"


@pytest.mark.usefixtures("attempt")
@pytest.mark.parametrize("code", ["1 / 0", "int('x')"])
def test_unexpected_exceptions_are_raised(code: str) -> None:
    with pytest.raises((ZeroDivisionError, ValueError)):
        main(["attempt", "--code", code])


@pytest.mark.parametrize(
    ("line", "code", "out", "err"),
    [
        ("study list >&-", 0, "", ""),
        ("predict 2>&-", 2, "", ""),
        pytest.param(
            "predict - <&-",
            1,
            "",
            "clearhead: -: this file is empty; give an image file\n",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_streams_may_be_closed_from_the_start(line: str, code: int, out: str, err: str) -> None:
    ended = run("sh", "-c", f'"$0" -m clearhead {line}', sys.executable)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, out, err)


def test_closed_output_ends_the_program_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "clearhead", "--help"],
            stdout=writer,
            stderr=subprocess.PIPE,
            env=BUFFERED,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("environment", slow_after(1, (BUFFERED, UNBUFFERED)))
def test_a_full_disk_behind_the_output_is_one_line_that_names_it(
    environment: dict[str, str],
) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "clearhead", "study", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment,
            check=False,
        )
    expected = b"clearhead: standard output: No space left on device\n"
    assert (ended.returncode, ended.stderr) == (1, expected)


@pytest.mark.usefixtures("attempt")
def test_a_library_without_a_cache_folder_prints_no_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = "__import__('logging').getLogger('matplotlib').warning('a temporary cache')"
    assert main(["attempt", "--code", code]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("attempt")
def test_characters_the_output_cannot_encode_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["attempt", "--code", "print('9 \\u2192 4')"]) == 0
    assert written.getvalue() == b"9 ? 4\n"


def test_installed_command_and_module_print_the_version() -> None:
    for command in (
        [Path(sys.executable).with_name("clearhead")],
        [sys.executable, "-m", "clearhead"],
    ):
        assert run(*command, "--version").stdout == f"clearhead {version('clearhead')}\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_of_openmp_wait_for_work_briefly_unless_the_environment_decides(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    main(["--version"])
    assert os.environ.get("GOMP_SPINCOUNT") == expected
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from clearhead.cli.main import COMMANDS, main\n"
        "for name in ('', *COMMANDS):\n"
        "    code = main([*filter(None, [name]), '--help'])\n"
        f"    heavy = [x for x in {HEAVY} if x in sys.modules]\n"
        "    assert code == 0 and not heavy, (name, code, heavy)\n"
    )
    ended = run(sys.executable, "-c", code)
    assert (ended.stderr, ended.returncode) == ("", 0)


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("attempt")
def test_a_warning_of_the_package_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a/1.png", "b/1.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    function = "__import__('clearhead.data.folder', fromlist=['_']).open_folder"
    path = f"__import__('pathlib').Path({str(tmp_path)!r})"
    main(["attempt", "--code", f"{function}({path})"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"clearhead: {tmp_path}: left out")
    assert line.endswith(": notes.txt")
