"""Other people's libraries: imported when they are wanted, and asked for weights without a wait."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NoReturn

import torch
from huggingface_hub import constants

from clearhead.errors import CheckpointError, ClearheadError, ConfigError
from clearhead.models.pretrained import hub_answers, quiet_libraries

LONGEST = 100  # letters of what a library says
AS_A_PAIR = "pip install --force-reinstall torch torchvision"


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
            f"not fit this torch ({first_line(error)}); install the two as a pair: {AS_A_PAIR}"
        ) from error


@contextmanager
def fetching_weights(source: str, elsewhere: str, *, is_here: bool) -> Iterator[None]:
    """Around what may fetch weights: any failure is one `CheckpointError`, and comes soon.

    Where the hub is out of reach only its cache is looked into. No pickle is read: safetensors
    alone. What `is_here`, in a folder, needs no network and gets none.
    """
    reachable = not is_here and hub_answers()
    with quiet_libraries(), _offline(not reachable), _without_pickle(source):
        try:
            yield
        except ClearheadError:
            raise
        except Exception as error:  # libraries raise what they like
            if is_here or not _is_missing(error):
                raise CheckpointError(
                    f"{source} cannot be loaded ({first_line(error)}); give {elsewhere}"
                ) from error
            reason = "they are not there" if reachable else "the Hugging Face hub is out of reach"
            raise CheckpointError(
                f"the weights of {source} could not be fetched: {reason}, and no copy is in the "
                f"cache; fetch them once where there is a network, or give {elsewhere}"
            ) from error


def first_line(error: BaseException) -> str:
    """The first line of what an error says, shortened, or else its kind."""
    kind = type(error).__name__
    line = (str(error).strip() or kind).splitlines()[0].rstrip(".: ")
    if isinstance(error, KeyError):
        line = f"{kind}: {line}"
    return line if len(line) <= LONGEST else f"{line[:LONGEST].rstrip()} …"


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _without_pickle(source: str) -> Iterator[None]:
    """Let torch's reader of pickles refuse, whichever library calls it.

    timm takes it where a model has no safetensors, and offers no switch against that.
    """

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise CheckpointError(
            f"the weights of {source} are a pickle, which is never read; give a model that is "
            "saved as safetensors"
        )

    before = torch.load
    torch.load = refuse
    try:
        yield
    finally:
        torch.load = before


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
