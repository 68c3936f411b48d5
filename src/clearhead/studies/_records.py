"""The files in a folder of results: a JSON file per trial with a checksum, the log, versions."""

import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from joblib import cpu_count

from clearhead._atomic import sha256, write_atomic
from clearhead.errors import CorruptDataError
from clearhead.studies.table import Outcome, Trial, Values, canonical

MAX_NAME = 120
LIBRARIES = ("clearhead", "torch", "numpy", "scipy")


def read_outcomes(
    folder: Path, trials: Sequence[Trial]
) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    """The recorded outcomes of these trials, and a line for each damaged record."""
    outcomes, damaged = [], []
    for trial in trials:
        try:
            values = read_record(folder, trial)
        except CorruptDataError as error:
            damaged.append(str(error))
            continue
        if values is not None:
            outcomes.append(Outcome(trial=trial, values=values))
    return tuple(outcomes), tuple(damaged)


def record_path(folder: Path, trial: Trial) -> Path:
    """STUDY/TRIAL.json."""
    return folder / file_name(trial.study) / f"{file_name(trial.name)}.json"


def file_name(name: str) -> str:
    """`name` as a file name: other characters become "_"; the hash at its end stays."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-MAX_NAME:].lstrip(".") or "_"


def write_record(folder: Path, trial: Trial, values: Values) -> None:
    """Write the values of a trial; raises `StorageError` and leaves no file if it cannot."""
    write_atomic(record_path(folder, trial), _encode(trial, values))


def read_record(folder: Path, trial: Trial) -> Values | None:
    """The values of a trial; None if it has not been measured.

    Raises `CorruptDataError` unless the file is, to the last byte, what was written for the trial.
    """
    path = record_path(folder, trial)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        values = json.loads(content)["record"]["values"]
        intact = isinstance(values, dict) and content == _encode(trial, values)
    except (ValueError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise CorruptDataError(
            f"{path} is damaged, or of another trial; its checksum does not match"
        )
    return dict(values)


def _encode(trial: Trial, values: Values) -> bytes:
    record = canonical(trial.to_dict() | {"study": trial.study, "values": values})
    return f'{{"record": {record}, "sha256": "{sha256(record.encode())}"}}\n'.encode()


def log(folder: Path, event: str, **facts: Any) -> None:
    """Add a line to the log, after a partial line that a kill may have left."""
    path = folder / "log.jsonl"
    line = json.dumps({"event": event, "time": round(time.time(), 3), **facts}) + "\n"
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else f"\n{line}"
        file.write(line.encode())


def read_log(folder: Path) -> Iterator[dict[str, Any]]:
    """Every complete line of the log."""
    path = folder / "log.jsonl"
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None if there is no file."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CorruptDataError(f"{path} is damaged ({error}); restore or remove it") from error
    if not isinstance(content, dict):
        raise CorruptDataError(f"{path} is damaged (no JSON object); restore or remove it")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object, if it is not there already."""
    encoded = (canonical(content) + "\n").encode()
    if not path.exists() or path.read_bytes() != encoded:
        write_atomic(path, encoded)


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on, and the commit, if known."""
    found = {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
    commit = git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    return found | ({"commit": commit} if commit else {})


def machine() -> dict[str, str | int]:
    """What times depend on: processor, cores, memory, system."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = re.search(r"^model name\s*:\s*(.*)$", cpuinfo.read_text(errors="replace"), re.M)
        processor = names[1] if names else processor
    memory = 0
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor,
        "cores": cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def git(*arguments: str, folder: Path | None = None) -> str:
    """The output of a git command, by default in the package; empty outside of a repository."""
    program, place = shutil.which("git"), folder or resources.files("clearhead.studies")
    if program is None:
        return ""
    command = [program, "-C", str(place), *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() if found.returncode == 0 else ""
