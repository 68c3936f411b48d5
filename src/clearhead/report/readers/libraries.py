"""Other people's libraries: imported when they are wanted, and asked for weights without a wait."""

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from clearhead.errors import CheckpointError, ClearheadError, ConfigError

PROBE_SECONDS = 5.0


def import_library(name: str, wanted_by: str) -> ModuleType:
    """A library such as timm; `ConfigError` says what to install where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{wanted_by} needs the library {name}, which cannot be imported "
            f"({first_line(error)}); install it: pip install {name}"
        ) from error
    except RuntimeError as error:  # torchvision's, where its compiled part does not load
        raise ConfigError(
            f"{wanted_by} needs the library {name}, which imports torchvision, and that one does "
            f"not fit this torch ({first_line(error)}); install the two as a pair"
        ) from error


@contextmanager
def fetching_weights(source: str, elsewhere: str, *, is_here: bool) -> Iterator[None]:
    """Around what may fetch weights: any failure is one `CheckpointError`, and comes soon.

    Where the hub is out of reach only its cache is looked into, as the libraries themselves would
    do after a minute of trying. Pickled weights are left to torch's own restricted loader, which
    these libraries use. What `is_here`, in a folder, needs no network and gets none.
    """
    from huggingface_hub import constants

    reachable = not is_here and _hub_answers()
    with _quiet(), _offline(constants, not reachable):
        try:
            yield
        except Exception as error:  # libraries raise what they like
            if is_here or not _is_missing(error):
                if isinstance(error, ClearheadError):
                    raise
                raise CheckpointError(f"{source} cannot be loaded: {first_line(error)}") from error
            reason = "they are not there" if reachable else "the Hugging Face hub is out of reach"
            raise CheckpointError(
                f"the weights of {source} could not be fetched: {reason}, and no copy is in the "
                f"cache; fetch them once where there is a network, or give {elsewhere}"
            ) from error


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or else its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _hub_answers() -> bool:
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # noqa: BLE001, whichever client the hub's library uses, and its errors
        return False
    return True


@contextmanager
def _offline(constants: Any, wanted: bool) -> Iterator[None]:
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' own lines on stderr: what matters is in our error."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "transformers", "timm")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _is_missing(error: BaseException | None) -> bool:
    """Whether files could not be found or fetched, here or in what caused it."""
    while error is not None:
        name = type(error).__name__
        if isinstance(error, ConnectionError | TimeoutError | FileNotFoundError):
            return True
        if name in ("OfflineModeIsEnabled", "LocalEntryNotFoundError", "URLError"):
            return True
        error = error.__cause__ or error.__context__
    return False
