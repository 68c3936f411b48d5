"""The folder of a training: whose it is, and what may go on in it."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from clearhead._atomic import write_atomic
from clearhead.errors import CheckpointError, ConfigError
from clearhead.models.pretrained import RUN
from clearhead.training.config import NEEDED, LearningConfig

CHECKPOINTS = "checkpoints"


def open_run(
    out: Path, config: LearningConfig, learnt_from: Mapping[str, str], *, restart: bool
) -> None:
    """Make `out` the folder of this training, or check that it already is.

    `learnt_from` names what is learnt from, and gives its fingerprint. `restart` removes what a
    training had left there. Raises `ConfigError` if `out` belongs to a training with other
    settings, or on other images or texts, and if `config` needs a start that nobody has named.
    """
    if config.start == NEEDED:
        raise ConfigError(
            "this training goes on from a saved model; name it in start, on the command line "
            "--start FOLDER"
        )
    path = out / RUN
    settings = {"config": asdict(config), **learnt_from}
    described = json.loads(json.dumps(settings))
    if restart:
        shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
        if path.exists():
            path.unlink()
    if path.exists():
        differing = sorted(_differences(_read(path), described))
        if differing:
            raise ConfigError(
                f"{out} holds a training with other settings ({', '.join(differing)}); choose "
                "another --out, or --restart to begin again there"
            )
        return
    write_atomic(path, (json.dumps(described, indent=2) + "\n").encode())


def fingerprint(*tensors: Tensor) -> str:
    """SHA-256 over tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); restore it, or begin again with --restart"
        ) from error


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            place
            for key in old.keys() | new.keys()
            for place in _differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if old == new else [name]
