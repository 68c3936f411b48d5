"""The command `clearhead`: finds the command's own file, runs it, and turns errors into lines.

Exit codes: 0 done, 1 the job failed or a value cannot work, 2 a command line that is not understood
or not complete, 130 interrupted, 141 the reader of the output went away. Only the chosen command's
module is imported, so that help answers at once.
"""

import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, suppress
from functools import partial, wraps
from typing import Any, NamedTuple

from clearhead.errors import ClearheadError, did_you_mean

FAILED, WRONG_USAGE, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141
# Of the boxes that tyro draws, with letters alone where the terminal has no others.
COLOUR, SIDES, RULES = re.compile(r"\x1b\[[\d;]*m"), "│╰╯ ", "─-"
HELP_OF = re.compile(r"clearhead [\w -]*--help")
NOT_UNDERSTOOD = re.compile(r"not understood: (\w+)")
WRONG_VALUE = re.compile(
    r"Error parsing (?P<option>--[\w-]+):.*?(?:base 10: |float: |from \[)'(?P<value>.*?)'.*; "
    r"Argument helptext: .*?(?P<kind>INT|FLOAT)\S* (?P<help>.*)"
)


class Command(NamedTuple):
    """Where a command's function is, and what it does, in one line.

    `pairs`: a setting that is on or off is `--it` and `--no-it`, for its default may be either.
    """

    module: str
    function: str
    summary: str
    pairs: bool = False


COMMANDS = {
    "train": Command(
        "clearhead.cli.train", "train", "Train a model on images, or on sentences.", pairs=True
    ),
    "evaluate": Command(
        "clearhead.cli.evaluate", "evaluate", "Measure how well a model reads a data set."
    ),
    "predict": Command("clearhead.cli.predict", "predict", "Read pictures of digits."),
    "explain": Command(
        "clearhead.cli.explain", "explain", "Show what a model looked at in a picture."
    ),
    "attend": Command("clearhead.cli.attend", "attend", "Show whom the words of a text attend to."),
    "page": Command("clearhead.cli.page", "page", "Write the microscope, one HTML file."),
    "serve": Command("clearhead.cli.serve", "serve", "Serve a model over HTTP."),
    "study": Command("clearhead.cli.study", "study", "Test claims about attention."),
    "data": Command("clearhead.cli.data", "data", "Fetch a data set and say what it holds."),
    "info": Command("clearhead.cli.info", "info", "Show a model, and the versions in use."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv` if none is given) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _print_what_the_terminal_can()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except ClearheadError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except OSError as error:
        return _fail(_reason(error))
    return code


def _run(arguments: list[str]) -> int:
    match arguments:
        case []:
            sys.stderr.write(_help() + "\n")
            return WRONG_USAGE
        case ["-h" | "--help", *_]:
            sys.stdout.write(_help() + "\n")
            return 0
        case ["--version", *_]:
            from importlib.metadata import version

            sys.stdout.write(f"clearhead {version('clearhead')}\n")
            return 0
        case [name, *rest] if name in COMMANDS:
            return _run_command(name, rest)
    _fail(_unknown(arguments[0]))
    return WRONG_USAGE


def _run_command(name: str, arguments: list[str]) -> int:
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    function, names = getattr(module, command.function), getattr(module, "NAMES", ())
    program, said = f"clearhead {name}", io.StringIO()
    try:
        with redirect_stderr(said):
            call = _parsed(function, program, arguments, pairs=command.pairs)
    except SystemExit as leaving:  # tyro's, after help (0) or wrong usage (2)
        if not leaving.code:
            return 0
        _fail(_one_line(said.getvalue(), names))
        return WRONG_USAGE
    try:
        code = call()
    except SystemExit as leaving:
        code = leaving.code
    return code if isinstance(code, int) else 0


def _parsed(
    function: Callable[..., object], program: str, arguments: list[str], *, pairs: bool
) -> Callable[[], object]:
    """The call that these arguments ask for, not made yet."""
    import tyro

    single = () if pairs else (tyro.conf.FlagCreatePairsOff,)
    call: Callable[[], object] = tyro.cli(
        _later(function),
        prog=program,
        args=arguments,
        config=(tyro.conf.CascadeSubcommandArgs, *single),
    )
    return call


def _later(function: Callable[..., object]) -> Callable[..., Callable[[], object]]:
    """The same parameters; gives the call instead of making it."""

    @wraps(function)
    def keep(*arguments: Any, **named: Any) -> Callable[[], object]:
        return partial(function, *arguments, **named)

    return keep


def _one_line(said: str, names: Sequence[str]) -> str:
    """What tyro draws in a box, in our words, without its title; and where to read more.

    `names` are the command's own words, one of which may have been meant.
    """
    _, *lines = (line.strip(SIDES) for line in COLOUR.sub("", said).splitlines())
    parts = "\n".join(line if line.strip(RULES) else "" for line in lines).split("\n\n")
    *told, hint = [found for part in parts if (found := " ".join(part.split()).rstrip(":."))]
    help_of = HELP_OF.search(hint)
    if wrong := WRONG_VALUE.match("; ".join(told)):
        told = ["{option} takes {kind}, got {value!r}: {help}".format(**wrong.groupdict())]
    words = "; ".join(told).replace("Unrecognized options:", "not understood:")
    if unknown := NOT_UNDERSTOOD.search(words):
        near = did_you_mean(unknown[1], names).removeprefix("; ")
        words = words.replace(unknown[0], f"{unknown[0]} ({near})" if near else unknown[0])
    return f"{words}; `{help_of[0] if help_of else 'clearhead --help'}` shows what there is"


def _help() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: clearhead [--help] [--version] COMMAND ...",
            "",
            "A Vision Transformer you can see through.",
            "",
            "commands:",
            *(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()),
            "",
            "`clearhead COMMAND --help` shows a command's options.",
        ]
    )


def _unknown(name: str) -> str:
    kind = "option" if name.startswith("-") else "command"
    known = ["--help", "--version"] if kind == "option" else list(COMMANDS)
    hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
    return f"there is no {kind} {name!r}{hint}"


def _fail(message: str) -> int:
    sys.stderr.write(f"clearhead: {message}\n")
    return FAILED


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return reason if error.filename is None else f"{error.filename}: {reason}"


def _print_what_the_terminal_can() -> None:
    """Signs that the output's encoding lacks appear as '?', they do not stop the program."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _discard_output() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
