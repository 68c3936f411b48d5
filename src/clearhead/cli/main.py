"""The command `clearhead`: choose a command, parse its options with tyro, run it.

Exit codes: 0 success, 1 the command failed, 2 wrong usage, also a setting that cannot be used, 130
interrupted, 141 output closed (broken pipe). Only the chosen command's module is imported, so that
`--help` starts fast.
"""

import errno
import importlib
import inspect
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from clearhead.cli import HELP
from clearhead.errors import ClearheadError, ConfigError, command_line_messages, did_you_mean

FAILED, WRONG_USAGE, INTERRUPTED, OUTPUT_CLOSED = 1, 2, 130, 141

# How often GNU OpenMP's threads check for work before they sleep. On cores that other programs use,
# with its 300,000 two threads train at less than half of the speed (LOG.md).
SPINS = "10000"

ABOUT = "A Vision Transformer you can see through."
# The command NAME is the object NAME of clearhead.cli.NAME: a function, or a dict of functions.
COMMANDS = {
    "train": "Train a model on images or sentences.",
    "evaluate": "Measure the accuracy of a classifier on a data set.",
    "predict": "Classify pictures of digits.",
    "explain": "Explain predictions: one HTML page for each picture.",
    "attend": "Show which tokens of a text attend to which.",
    "page": "Write the microscope, an interactive HTML page.",
    "export": "Write a model as a file for ONNX Runtime, OpenVINO, torch.export or timm.",
    "serve": "Serve a model over HTTP.",
    "study": "Test claims about attention.",
    "data": "Download a data set and describe it.",
    "info": "Describe a model and list the installed versions.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        argv: The arguments after the program's name; `sys.argv` by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "OMP_WAIT_POLICY" not in os.environ:  # before torch is loaded, which reads it
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the program was started with it closed
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # "?" for what the terminal's encoding lacks
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except ConfigError as error:
        return _fail(str(error), WRONG_USAGE)
    except ClearheadError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard(sys.stdout)
        return OUTPUT_CLOSED
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        name = error.filename
        # with PYTHONUNBUFFERED the write itself failed, and flushing does not fail again
        if name is None and (not _is_writable(sys.stdout) or error.errno == errno.ENOSPC):
            name = "standard output"
        return _fail(reason if name is None else f"{name}: {reason}")
    return code


def _is_writable(stream: TextIO) -> bool:
    """Whether what is left in its buffer can be written; if not, it is discarded."""
    try:
        stream.flush()
    except (OSError, ValueError):
        _discard(stream)
        return False
    return True


def _discard(stream: TextIO) -> None:
    """Write to nowhere from now on: the interpreter flushes the stream once more."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(arguments: list[str]) -> int:
    match arguments:
        case []:
            sys.stderr.write(_help("clearhead", ABOUT, COMMANDS))
            return WRONG_USAGE
        case ["--version", *_]:
            from importlib.metadata import version

            sys.stdout.write(f"clearhead {version('clearhead')}\n")
            return 0
    name, rest = _choose("clearhead", ABOUT, COMMANDS, arguments)
    if not name:
        return 0
    module = importlib.import_module(f"clearhead.cli.{name}")
    command = getattr(module, name)
    if isinstance(command, dict):
        summaries = {key: summary_of(function) for key, function in command.items()}
        kind = "recipe" if name == "train" else "command"
        chosen, rest = _choose(f"clearhead {name}", summary_of(module), summaries, rest, kind)
        if not chosen:
            return 0
        name, command = f"{name} {chosen}", command[chosen]
    return _call(name, command, rest)


def _choose(
    prog: str,
    about: str,
    commands: Mapping[str, str],
    arguments: list[str],
    kind: str = "command",
) -> tuple[str, list[str]]:
    """The name of a command and its arguments; "" after the help was printed."""
    known = ", ".join(commands)
    options = ("--help", "--version") if commands is COMMANDS else ("--help",)
    if not arguments:
        raise ConfigError(f"expected one of {known}; run `{prog} --help` for help")
    name, *rest = arguments
    if name in HELP:
        sys.stdout.write(_help(prog, about, commands, kind))
        return "", rest
    if name in commands:
        return name, rest
    later = next((word for word in rest if word in commands), None)
    if name.startswith("-") and later is not None:
        raise ConfigError(f"expected the {kind} before its options; got {name} before {later}")
    kind = "option" if name.startswith("-") else kind
    hint = did_you_mean(name.lower(), [*commands, *options])
    raise ConfigError(f"unknown {kind} {name!r}{hint or f'; expected one of {known}'}")


def _call(name: str, command: Callable[..., object], arguments: list[str]) -> int:
    from clearhead.cli.parsing import parse

    try:
        call = parse(name, command, arguments)
        with command_line_messages(), warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            # matplotlib says which folder it uses for its cache if its own cannot be written
            logging.getLogger("matplotlib").setLevel(logging.ERROR)
            code = call()
    except SystemExit as stop:
        code = stop.code
    return code if isinstance(code, int) else 0


def _show_warning(
    default: Callable[..., None], message: Warning | str, category: type, filename: str, *rest: Any
) -> None:
    """Show the package's own warnings as remarks of one line, others as Python does."""
    if Path(__file__).parents[1] in Path(filename).parents:
        sys.stderr.write(f"clearhead: {message}\n")
    else:
        default(message, category, filename, *rest)


def _help(prog: str, about: str, commands: Mapping[str, str], kind: str = "command") -> str:
    width = max(map(len, commands))
    lines = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in commands.items())
    version = "[--version] " if commands is COMMANDS else ""
    return (
        f"usage: {prog} [--help] {version}{kind.upper()} ...\n\n{about}\n\n{kind}s:\n{lines}\n\n"
        f"`{prog} {kind.upper()} --help` shows the options of a {kind}.\n"
    )


def summary_of(documented: object) -> str:
    """The first paragraph of a docstring."""
    return (inspect.getdoc(documented) or "").partition("\n\n")[0].replace("\n", " ")


def _fail(message: str, code: int = FAILED) -> int:
    sys.stderr.write(f"clearhead: {message}\n")
    return code
