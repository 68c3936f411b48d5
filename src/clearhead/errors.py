"""The exceptions that Clearhead raises.

```
ClearheadError
├── ConfigError          a setting that is out of range, unknown, or does not fit the others
├── InputError           tensors of the wrong shape, type or content
├── ImageError           a file or array that cannot be decoded as an image
├── DataError            a data set that cannot be used
│   ├── FetchError       it could not be downloaded from any source
│   └── CorruptDataError its files do not have the expected contents
├── StorageError         a file could not be written or read (disk full, no permission)
├── CheckpointError      saved weights or training state that are missing or damaged
├── ChoiceError          an index of an image, head or query that is out of range
├── CaptureError         attention that cannot be recorded
│   ├── NothingCapturedError    no attention was computed where one was expected
│   └── UnfaithfulCaptureError  the record differs from what the model computed
└── DivergenceError      the loss or gradient became NaN or infinite
```

Each message is one line: what was expected, what was found, what to do.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path


class ClearheadError(Exception):
    """Base class of all exceptions that Clearhead raises."""


class ConfigError(ClearheadError, ValueError):
    """A setting that is out of range, unknown, or does not fit the others."""


class InputError(ClearheadError, ValueError, RuntimeError):
    """Tensors of the wrong shape, type or content.

    Also a `RuntimeError`, which torch raises for such inputs to the functions that ours replace.
    """


class ImageError(ClearheadError, ValueError):
    """A file or array that cannot be decoded as an image."""


class DataError(ClearheadError):
    """A data set that cannot be used."""


class FetchError(DataError):
    """A data set could not be downloaded; the message lists the sources that were tried."""


class CorruptDataError(DataError, ValueError):
    """A data file does not have the expected contents."""


class StorageError(ClearheadError, OSError):
    """A file could not be written or read."""


class CheckpointError(ClearheadError):
    """Saved weights or a saved training state that are missing or damaged."""


class ChoiceError(ClearheadError, IndexError):
    """An index of an image, a head or a query that is out of range."""


class CaptureError(ClearheadError, RuntimeError):
    """Attention that cannot be recorded; the message suggests what to do."""


class NothingCapturedError(CaptureError):
    """No attention was computed where one was expected."""


class UnfaithfulCaptureError(CaptureError):
    """A record differs from what the model computed; the message gives the difference."""


class DivergenceError(ClearheadError, ArithmeticError):
    """The loss or gradient became NaN or infinite."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: a similar known one, or nothing."""
    import difflib

    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def similar_folder(source: str) -> str:
    """The end of a message about a missing folder: a similar one beside it, or nothing."""
    import difflib

    path = Path(source)
    try:
        beside = {x.name: str(path.parent / x.name) for x in path.parent.iterdir() if x.is_dir()}
    except OSError:
        return ""
    nearest = difflib.get_close_matches(path.name, beside, n=1)
    return f"; did you mean {beside[nearest[0]]}?" if nearest else ""


def check_one_of(name: str, value: object, known: Sequence[str]) -> None:
    """Raise `ConfigError` unless the value is one of the known ones."""
    if value not in known:
        expected, hint = ", ".join(known), did_you_mean(str(value), known)
        raise ConfigError(f"{name} must be one of {expected}, got {value!r}{hint}")


def require(purpose: str, *modules: str, extra: str | None = None) -> None:
    """Raise `ConfigError` if a module is not installed; the advice names packages, or an extra."""
    if missing := [name for name in modules if not _is_installed(name)]:
        packages = f"pip install {' '.join(missing)}"
        advice = packages if extra is None else f"install the extra `{extra}`"
        raise ConfigError(f"{purpose} needs packages that are not installed: {advice}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package
        return False


_on_command_line: ContextVar[bool] = ContextVar("on_command_line", default=False)


@contextmanager
def command_line_messages() -> Iterator[None]:
    """Inside the block, messages name options, and count from 1, as the command line does."""
    token = _on_command_line.set(True)
    try:
        yield
    finally:
        _on_command_line.reset(token)


def setting(name: str, value: object = None) -> str:
    """A parameter in a message: "batch_size=8" in Python, "--batch-size 8" on the command line."""
    if _on_command_line.get():
        option = f"--{name.replace('_', '-')}"
        return option if value is None or value is True else f"{option} {value}"
    return name if value is None else f"{name}={value}"


def displayed_index(index: int) -> int:
    """An index from 0 in a message: the same in Python, from 1 on the command line."""
    return index + 1 if _on_command_line.get() and index >= 0 else index
