"""Asking the Hugging Face hub: without a wait where it is out of reach, and without its own lines.

The hub's library tries again and again, for half a minute, and says so on stderr. Here it is asked
once whether it answers; where it does not, only the cache is looked into, as the library itself
would do in the end.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants

PROBE_SECONDS = 5.0
OUT_OF_REACH = "the Hugging Face hub is out of reach, and no copy is in the cache"
LIBRARIES = ("huggingface_hub", "transformers", "timm")
ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".json", ".npz")


@contextmanager
def asking_hub(*, wanted: bool = True, endpoint: str | None = None) -> Iterator[bool]:
    """Around what may fetch files; gives whether the hub answers. Not `wanted`: it is not asked."""
    reachable = wanted and _hub_answers(endpoint)
    with _quiet(), _offline(not reachable):
        yield reachable


def names_a_path(source: str) -> bool:
    """Whether this can only be meant as a path: ./model, /models/a, ~/a, a/b/c, or a file's name.

    OWNER/NAME may be a folder or on the hub; what names a path is never asked for there.
    """
    return (
        source.startswith((".", "/", "~"))
        or source.count("/") > 1
        or source.endswith(("/", *ENDINGS))
    )


def no_folder(source: str) -> str:
    """What to say where a path leads nowhere, in one line whatever it holds."""
    said = source if source.isprintable() else repr(source)
    if Path(source).exists():
        return f"{said} is a file; a model is a folder"
    return f"there is no folder {said}"


def _hub_answers(endpoint: str | None) -> bool:
    from huggingface_hub import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(endpoint or constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # noqa: BLE001, whichever client the hub's library uses, and its errors
        return False
    return True


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' own lines on stderr: what matters is in our error."""
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
