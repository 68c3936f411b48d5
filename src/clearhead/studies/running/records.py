"""One file a trial: what it measured, with a checksum; written whole, checked when read."""

import json
import re
from pathlib import Path
from typing import Any

from clearhead._atomic import sha256, write_atomic
from clearhead.errors import CorruptDataError
from clearhead.studies.table import Trial, Values

LONGEST_NAME = 120


def record_path(folder: Path, trial: Trial) -> Path:
    """STUDY/TRIAL.json; signs that a file's name may not have become _ (a hash ends the name)."""
    return folder / file_name(trial.study) / f"{file_name(trial.name)}.json"


def file_name(name: str) -> str:
    """`name` as a file's or folder's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-LONGEST_NAME:].lstrip(".") or "_"


def write_record(folder: Path, trial: Trial, values: Values) -> None:
    """Raises `StorageError` if it cannot be written; then there is none."""
    write_atomic(record_path(folder, trial), encode(trial, values))


def read_record(folder: Path, trial: Trial) -> Values | None:
    """What the trial measured; None if it has not been measured.

    Raises `CorruptDataError`, naming the file, if it is not to the last byte what was written for
    this trial.
    """
    path = record_path(folder, trial)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        record = json.loads(content)["record"]
        values = record["values"]
        whole = isinstance(values, dict) and content == encode(trial, values)
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise CorruptDataError(f"{path} is damaged, or of another trial; its checksum is not right")
    return dict(values)


def encode(trial: Trial, values: Values) -> bytes:
    """The file's content: equal for equal trials and values."""
    told = {"study": trial.study, "condition": trial.condition, "seed": trial.seed}
    record = canonical({**told, "settings": dict(trial.settings), "values": values})
    return f'{{"record": {record}, "sha256": "{sha256(record.encode())}"}}\n'.encode()


def canonical(data: Any) -> str:
    """JSON in one spelling; raises `ValueError` for NaN and infinity, `TypeError` for no JSON."""
    return json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False)
