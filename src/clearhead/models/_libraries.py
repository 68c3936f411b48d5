"""Models of timm and transformers: importing the library, finding the weights, never a pickle."""

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import nn

from clearhead._hub import hub_is_reachable
from clearhead._paths import is_folder
from clearhead.errors import CheckpointError, ClearheadError, ConfigError
from clearhead.models.pretrained import (
    SOURCE_FORMATS,
    first_line,
    library_of,
    quiet_libraries,
)

SAVED_BY = {
    "timm": "timm.models.save_for_hf(model, FOLDER, safe_serialization=True)",
    "transformers": "model.save_pretrained(FOLDER)",
}
NAMED_BY = {"timm": "architecture", "transformers": "model_type"}
TIMM_FOLDER = (
    "timm:FOLDER, a folder with config.json and model.safetensors as timm's save_for_hf "
    "writes it with safe_serialization=True"
)


def load_timm(name: str) -> Any:
    """A model that timm knows by name, with its trained weights, or a folder in timm's layout."""
    source = f"timm:{name}"
    timm: Any = import_library("timm", source)
    is_local = is_folder(name)
    if is_local:
        check_folder(Path(name), "timm")
    elif not name.startswith("hf-hub:") and not timm.is_model(name.split(".")[0]):
        near = get_close_matches(name, timm.list_models(), n=1)
        hint = f"; did you mean timm:{near[0]}?" if near else ""
        raise ConfigError(f"timm has no model {name!r} and there is no such folder{hint}")
    with loading_weights(source, TIMM_FOLDER, is_local=is_local) as reachable:
        return _create(timm, name, source, reachable=reachable)


def _create(timm: Any, name: str, source: str, *, reachable: bool) -> Any:
    if is_folder(name):
        return timm.create_model(f"local-dir:{name}", pretrained=True)
    if name.startswith("hf-hub:"):
        file = _weights_file(name.removeprefix("hf-hub:"), source, reachable=reachable)
        return timm.create_model(f"local-dir:{file.parent}", pretrained=True)
    known = timm.get_pretrained_cfg(name)
    if known is None or not known.hf_hub_id:
        if known is not None and known.url:
            raise _pickled(source)
        raise CheckpointError(f"timm has no trained weights of {name}; give another model")
    file = _weights_file(known.hf_hub_id, source, reachable=reachable)
    overlay = {"file": str(file), "custom_load": False}
    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)


def _weights_file(repository: str, source: str, *, reachable: bool) -> Path:
    """The safetensors of a repository on the hub, beside its config.json.

    Left to itself, timm falls back to a pickle.
    """
    from huggingface_hub import snapshot_download

    files = ["config.json", "model.safetensors"]
    folder = snapshot_download(repository, allow_patterns=files, local_files_only=not reachable)
    path = Path(folder) / "model.safetensors"
    if not path.is_file():
        raise _pickled(source)
    return path


def _pickled(source: str) -> CheckpointError:
    return CheckpointError(
        f"the weights of {source} are a pickle, which is never loaded; give a model that is saved "
        "as safetensors"
    )


def timm_class_names(model: nn.Module) -> tuple[str, ...]:
    """The names saved with the weights, or ImageNet's where timm knows the subset, else numbers."""
    timm: Any = importlib.import_module("timm")
    count = int(getattr(model, "num_classes", 0))
    saved = (getattr(model, "pretrained_cfg", None) or {}).get("label_names")
    if saved and len(saved) == count:
        return tuple(map(str, saved))
    subset = timm.data.infer_imagenet_subset(model)
    if subset is None:
        return tuple(str(index) for index in range(count))
    info = timm.data.ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(count))


def import_library(name: str, source: str) -> ModuleType:
    """Import timm or transformers; the `ConfigError` names what to install where that fails."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{source} needs the library {name}, which cannot be imported ({first_line(error)}); "
            f"install it: pip install {name}"
        ) from error
    except RuntimeError as error:  # torchvision's, where its compiled part does not load
        raise ConfigError(
            f"{source} needs the library {name}, which imports torchvision, and that one does not "
            f"fit this torch ({first_line(error)}); install the two as a pair: "
            "pip install --force-reinstall torch torchvision"
        ) from error


@contextmanager
def loading_weights(source: str, alternative: str, *, is_local: bool) -> Iterator[bool]:
    """Turn any failure to load a model into one `CheckpointError`.

    Yields whether files may be fetched: not for a local model, nor if the hub cannot be reached,
    so that its cache is used alone.
    """
    reachable = not is_local and hub_is_reachable()
    with quiet_libraries(), torch.random.fork_rng(devices=[]):  # libraries draw weights first
        try:
            yield reachable
        except ClearheadError:
            raise
        except Exception as error:  # libraries raise many types
            if is_local or not _is_missing(error):
                raise CheckpointError(
                    f"{source} cannot be loaded ({first_line(error)}); give {alternative}"
                ) from error
            reason = "they are not there" if reachable else "the Hugging Face hub cannot be reached"
            raise CheckpointError(
                f"the weights of {source} could not be fetched: {reason}, and no copy is in the "
                f"cache; fetch them once where there is a network, or give {alternative}"
            ) from error


def check_folder(folder: Path, library: Literal["timm", "transformers"]) -> None:
    """Raise `CheckpointError` unless the folder holds a model of the library, as safetensors."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        config = None
    config = config if isinstance(config, dict) else None
    saved_by = None if config is None else library_of(config)
    if saved_by != library:
        key = NAMED_BY[library]
        reason = "it has no config.json" if config is None else f"its config.json has no {key}"
        advice = f"save one there: {SAVED_BY[library]}"
        if saved_by is not None:
            advice = f"{SOURCE_FORMATS[saved_by].format(folder)} for a model of {saved_by}"
            reason = f"{saved_by} wrote its config.json"
        raise CheckpointError(f"{folder} holds no model of {library} ({reason}); {advice}")
    names = [path.name for path in folder.glob("*.safetensors")]
    if not names or (library == "timm" and "model.safetensors" not in names):
        raise CheckpointError(
            f"{folder} holds no model.safetensors, and a pickle such as pytorch_model.bin is never "
            f"loaded; save the model with {SAVED_BY[library]}"
        )


def _is_missing(error: BaseException | None) -> bool:
    """Whether files could not be found or fetched, by this error or one that caused it."""
    while error is not None:
        if isinstance(error, ConnectionError | TimeoutError | FileNotFoundError):
            return True
        error = error.__cause__ or error.__context__
    return False
