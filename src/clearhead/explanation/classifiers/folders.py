"""Whose model a folder holds, so that one in the wrong reader's hands is told where it belongs."""

import json
from pathlib import Path
from typing import Literal

from clearhead.errors import CheckpointError
from clearhead.models.pretrained import SOURCE_FORMATS, library_of

CONFIG, WEIGHTS = "config.json", "model.safetensors"
NAMED_BY = {"timm": "architecture", "transformers": "model_type"}
SAVED_BY = {
    "timm": "timm.models.save_for_hf(model, FOLDER, safe_serialization=True)",
    "transformers": "model.save_pretrained(FOLDER)",
}


def check_folder(folder: Path, wanted: Literal["timm", "transformers"]) -> None:
    """Raise `CheckpointError` unless the folder holds a model of that library, as safetensors."""
    maker = library_of(_config(folder))
    if maker is None or maker != wanted:
        told = f"{folder} holds no model of {wanted} ({_lack(folder, wanted)})"
        if maker is None:
            raise CheckpointError(f"{told}; save one there: {SAVED_BY[wanted]}")
        raise CheckpointError(
            f"{told}; {SOURCE_FORMATS[maker].format(folder)} for a model of {maker}"
        )
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    if (WEIGHTS not in names) if wanted == "timm" else not names:
        raise CheckpointError(
            f"{folder} holds no {WEIGHTS}, and a pickle such as pytorch_model.bin is never read; "
            f"save the model with {SAVED_BY[wanted]}"
        )


def _lack(folder: Path, wanted: str) -> str:
    if not (folder / CONFIG).is_file():
        return f"it has no {CONFIG}"
    lacks = NAMED_BY[wanted] not in _config(folder)
    return (
        f"its {CONFIG} names no {NAMED_BY[wanted]}" if lacks else f"its {CONFIG} is not {wanted}'s"
    )


def _config(folder: Path) -> dict[str, object]:
    try:
        saved = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return saved if isinstance(saved, dict) else {}
