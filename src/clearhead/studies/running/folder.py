"""A folder of results: whose it is, what may be added to it, and its log.

```
settings.json        budget, first seed, versions: what all results in the folder share
STUDY/study.json     where the study is found, and the digest of the code that measured it
STUDY/TRIAL.json     what one trial measured
log.jsonl            what was run when, on which machine, how long each trial took, what failed
printed.txt          what trials printed
```
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from clearhead._atomic import remove_temporaries, write_atomic
from clearhead.errors import ConfigError, CorruptDataError, StorageError
from clearhead.studies.running.planning import Planned
from clearhead.studies.running.provenance import code_digest, versions
from clearhead.studies.running.records import canonical, file_name
from clearhead.studies.table import Budget

SETTINGS, STUDY, LOG, PRINTED, LOCK = (
    *("settings.json", "study.json", "log.jsonl", "printed.txt"),
    ".lock",
)


def default_folder(budget: Budget, first_seed: int) -> Path:
    """Where results go if nobody says: runs/studies/quick, …/full, …/full-from-seed-100."""
    return Path("runs/studies") / (f"{budget}-from-seed-{first_seed}" if first_seed else budget)


@contextmanager
def opened(
    folder: Path, planned: Sequence[Planned], budget: Budget, first_seed: int, *, restart: bool
) -> Iterator[None]:
    """The folder, checked and held: these studies may be measured into it, by nobody else.

    `restart` removes their results first. Raises `ConfigError` if results of other settings or
    other code lie there, or somebody is at it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"another run is at {folder}; wait for it, or choose another folder with --out"
        ) from error
    except OSError as error:
        raise StorageError(
            f"cannot write to {folder}: {error.strerror}; choose another folder with --out"
        ) from error
    try:
        _clear(folder, planned if restart else ())
        _claim(folder, planned, {"budget": budget, "first_seed": first_seed})
        yield
    finally:
        lock.release()


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a folder of results; raises `ConfigError` if it is none."""
    settings = _read(folder / SETTINGS)
    if settings is None:
        raise ConfigError(
            f"there are no results in {folder}; `clearhead study run` makes them, --results names "
            "their folder"
        )
    return settings


def read_studies(folder: Path) -> list[dict[str, Any]]:
    """What each study's study.json says, by the number of its claim."""
    found = [_read(path) or {} for path in folder.glob(f"*/{STUDY}")]
    return sorted(found, key=lambda told: (_number(told["claim"]), told["name"]))


def log(folder: Path, event: str, **facts: Any) -> None:
    """Add a line to the log, after what a kill may have cut off."""
    path = folder / LOG
    line = json.dumps({"event": event, "time": round(time.time(), 3), **facts}) + "\n"
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else f"\n{line}"
        file.write(line.encode())


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Every whole line of the log."""
    path = folder / LOG
    lines = path.read_text("utf-8", errors="replace").splitlines() if path.exists() else []
    events = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            events.append(event)
    return events


def _clear(folder: Path, planned: Sequence[Planned]) -> None:
    for one in planned:
        shutil.rmtree(folder / file_name(one.study.name), ignore_errors=True)
    for place in (folder, *(path.parent for path in folder.glob(f"*/{STUDY}"))):
        remove_temporaries(place)


def _claim(folder: Path, planned: Sequence[Planned], settings: dict[str, Any]) -> None:
    settings["versions"] = versions()
    old = _read(folder / SETTINGS)
    if old is not None and old != settings and any(folder.glob(f"*/{STUDY}")):
        differing = ", ".join(_differences(old, settings))
        raise ConfigError(
            f"{folder} holds results with other settings ({differing}); choose another folder with "
            "--out"
        )
    for one in planned:
        place = folder / file_name(one.study.name) / STUDY
        known = _read(place)
        if known is not None and known != _described(one):
            raise ConfigError(
                f"the results of {one.study.name} in {folder} were measured with other code; "
                "--restart measures them again, --out keeps them"
            )
    _write(folder / SETTINGS, settings)
    for one in planned:
        _write(folder / file_name(one.study.name) / STUDY, _described(one))


def _described(planned: Planned) -> dict[str, Any]:
    return {
        "name": planned.study.name,
        "claim": planned.study.claim,
        "source": planned.source,
        "code": code_digest(planned.source),
    }


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now)
        elif before != now:
            yield f"{key.replace('_', ' ')} {before}, not {now}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CorruptDataError(
            f"{path} is damaged ({error}); restore it or choose another folder with --out"
        ) from error
    if not isinstance(content, dict):
        raise CorruptDataError(
            f"{path} is damaged (no JSON object); restore it or choose another folder with --out"
        )
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    encoded = (canonical(content) + "\n").encode()
    if not path.exists() or path.read_bytes() != encoded:
        write_atomic(path, encoded)


def _number(claim: str) -> tuple[int, str]:
    digits = "".join(sign for sign in claim if sign.isdigit())
    return (int(digits) if digits else 10**6, claim)
