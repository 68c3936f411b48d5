"""Checkpoints of a training run: written atomically, verified by SHA-256, the last two kept.

A checkpoint is one safetensors file: tensors under dotted names, everything else as JSON in its
header. `latest.json` names the newest file and the one before, each with its SHA-256; it is
replaced only after the new file is safely on the disk.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor
from torch.optim import Optimizer

from clearhead._atomic import remove_temporaries, sha256, write_atomic
from clearhead.errors import CheckpointError, setting

LATEST = "latest.json"
_KEY = "state"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and plain numbers and strings."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save_checkpoint(folder: Path, name: str, checkpoint: Checkpoint) -> None:
    """Write `folder`/`name`.safetensors, name it in latest.json, and drop all but the last two."""
    tensors = {
        key: tensor.detach().cpu().contiguous() for key, tensor in checkpoint.tensors.items()
    }
    content = write_tensors(tensors, metadata={_KEY: json.dumps(checkpoint.state)})
    kept = [entry for entry in _read_latest(folder) if entry["file"] != f"{name}.safetensors"][:1]
    newest = {"file": f"{name}.safetensors", "sha256": sha256(content)}
    remove_temporaries(folder)
    write_atomic(folder / newest["file"], content)
    write_atomic(folder / LATEST, json.dumps([newest, *kept], indent=2).encode())
    for old in folder.glob("*.safetensors"):
        if old.name not in {entry["file"] for entry in [newest, *kept]}:
            old.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint, or None if there is none yet.

    A damaged file raises `CheckpointError`; once the user has removed it, the
    previous one is used.
    """
    entries = _read_latest(folder)
    present = [entry for entry in entries if (folder / entry["file"]).exists()]
    if entries and not present:
        raise CheckpointError(
            f"{folder / LATEST} names {entries[0]['file']}, which is missing; "
            f"restore it, or start again with {setting('restart', True)}"
        )
    return _read(folder / present[0]["file"], present[0]["sha256"]) if present else None


def optimizer_tensors(optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """The state of the optimisers, under the names optimizer.NUMBER.WEIGHT.QUANTITY."""
    return {
        f"optimizer.{number}.{weight}.{quantity}": tensor
        for number, optimizer in enumerate(optimizers)
        for weight, memory in optimizer.state_dict()["state"].items()
        for quantity, tensor in memory.items()
    }


def restore_optimizers(optimizers: list[Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Restore the state that `optimizer_tensors` returned."""
    for number, optimizer in enumerate(optimizers):
        memory: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            match name.split("."):
                case ["optimizer", owner, weight, quantity] if int(owner) == number:
                    memory.setdefault(int(weight), {})[quantity] = tensor
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": memory, "param_groups": groups})


def _read(path: Path, digest: str) -> Checkpoint:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if sha256(content) != digest:
        raise CheckpointError(
            f"{path} is damaged (its SHA-256 differs from {LATEST}); remove it to continue "
            "from the checkpoint before it"
        )
    header_length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_length])
    return Checkpoint(read_tensors(content), json.loads(header["__metadata__"][_KEY]))


def _read_latest(folder: Path) -> list[dict[str, str]]:
    path = folder / LATEST
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_bytes())
        if not entries or any(set(entry) != {"file", "sha256"} for entry in entries):
            raise ValueError("not a list of files with their SHA-256")
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); restore it, or start again with "
            f"{setting('restart', True)}"
        ) from error
    return [dict(entry) for entry in entries]
