"""Saving a model and finding it again: `save_pretrained`, `from_pretrained`.

A saved model is a folder (or a repository on the Hugging Face hub) with `model.safetensors` and
`config.json`. The configuration carries the SHA-256 of the weights, because safetensors does not
check its own data, and its own, because one wrong digit of a mean is a wrong model too. Pickle is
never read.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import safetensors
import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor, nn

from clearhead._atomic import remove_temporaries, sha256, write_all_atomic, write_atomic
from clearhead.errors import CheckpointError, ConfigError
from clearhead.models.card import CARD, write_card
from clearhead.models.config import ModelConfig
from clearhead.models.hub import OUT_OF_REACH, asking_hub, names_a_path, no_folder
from clearhead.models.maker import CALLED, maker_of

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
FOREIGN = ("timm:", "hf:")  # how models of other libraries are called
TRAINING = "run.json"
"""What a training writes into its folder first, long before the model"""
SETTINGS = ("architecture", "model", "sha256")  # what the configuration's own digest covers

ConfigT = TypeVar("ConfigT", bound=ModelConfig)


class Pretrained(nn.Module, PyTorchModelHubMixin):
    """A module with `save_pretrained`, `from_pretrained` and `push_to_hub`."""

    config_class: ClassVar[type[ModelConfig]]
    config: ModelConfig

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict[str, Any] | None = None,
        **push_options: Any,
    ) -> str | None:
        """Write the folder; weights and configuration are replaced together.

        A card is written too, ours or with `model_card_kwargs` the hub's template, but never over
        one that somebody else has written.
        """
        folder = Path(save_directory)
        self._save_pretrained(folder)
        if not model_card_kwargs:
            write_card(folder, self, self.config)
        elif not (folder / CARD).exists():
            card = self.generate_model_card(**model_card_kwargs)
            write_atomic(folder / CARD, str(card).encode())
        if not push_to_hub:
            return None
        push_options.pop("config", None)
        return self.push_to_hub(
            repo_id or folder.name, model_card_kwargs=model_card_kwargs, **push_options
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **download: Any) -> Self:
        """The model saved in a folder or in a hub repository, in evaluation mode.

        Raises `CheckpointError` if it is missing or damaged. `download` goes to the hub
        (`revision`, `token`, `cache_dir`, `local_files_only`, …).
        """
        source = str(pretrained_model_name_or_path)
        saved = read_config(source, **download)
        _check_architecture(saved, cls.__name__, source)
        config = config_from_dict(cls.config_class, saved["model"], source)
        try:
            model = cls(config)
        except (ConfigError, TypeError) as error:
            raise CheckpointError(f"{source}: {_first_line(error)}") from error
        load_weights(model, saved_file(source, WEIGHTS, **download), saved["sha256"])
        return model.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        weights = write_tensors(
            {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        )
        saved = {
            "architecture": type(self).__name__,
            "model": asdict(self.config),
            "sha256": sha256(weights),
        }
        saved["config_sha256"] = _digest(saved)
        config = (json.dumps(saved, indent=2) + "\n").encode()
        remove_temporaries(save_directory)
        write_all_atomic({save_directory / WEIGHTS: weights, save_directory / CONFIG: config})


def read_config(source: str, **download: Any) -> dict[str, Any]:
    """The saved configuration: architecture, model settings, SHA-256 of the weights."""
    path = saved_file(source, CONFIG, **download)
    try:
        saved = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}); restore the file") from error
    maker = maker_of(saved) if isinstance(saved, dict) else None
    if maker in ("timm", "transformers"):
        raise CheckpointError(
            f"{source} holds a model of {maker}; `clearhead explain` (pictures) and `clearhead "
            f"attend` (text) read it as {CALLED[maker].format(source)}"
        )
    if not isinstance(saved, dict) or set(saved) - {"config_sha256"} != set(SETTINGS):
        found = sorted(saved) if isinstance(saved, dict) else type(saved).__name__
        raise CheckpointError(f"{path} must hold {list(SETTINGS)}, got {found}")
    if "config_sha256" in saved and saved["config_sha256"] != _digest(saved):
        raise CheckpointError(
            f"{path} was changed since it was saved; restore it, or if you changed it on purpose, "
            'remove the line "config_sha256"'
        )
    kinds = {"architecture": str, "model": dict, "sha256": str}
    if not all(isinstance(saved[name], kind) for name, kind in kinds.items()):
        raise CheckpointError(f"{path} is not one of Clearhead's")
    return saved


def config_from_dict(config_class: type[ConfigT], values: dict[str, Any], source: str) -> ConfigT:
    """A saved configuration as the dataclass; unknown keys are an error."""
    known = {field.name for field in fields(config_class)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise CheckpointError(f"{source}: unknown settings {unknown}; known are {sorted(known)}")
    settings: dict[str, Any] = {
        name: tuple(x) if isinstance(x, list) else x for name, x in values.items()
    }
    try:
        return config_class(**settings)
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{source}: {_first_line(error)}") from error


def load_weights(model: nn.Module, path: Path, digest: str) -> None:
    """Copy the weights of `path` into `model`, after checking every byte of them."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if sha256(content) != digest:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 is not the one in {CONFIG}; restore or train again"
        )
    try:
        tensors = read_tensors(content)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
    _check_tensors(tensors, model.state_dict(), path)
    model.load_state_dict(tensors)


def saved_file(source: str, name: str, **download: Any) -> Path:
    """The path of one file of a saved model, fetched from the hub unless `source` is a folder."""
    if Path(source).is_dir():
        path = Path(source) / name
        if not path.is_file() and (Path(source) / TRAINING).is_file():
            raise CheckpointError(
                f"the training in {source} is not finished; give the same train command again to "
                "go on"
            )
        if not path.is_file():
            raise CheckpointError(f"{source} holds no {name}; is it a saved model?")
        return path
    _check_hub_name(source)
    wanted = not download.get("local_files_only", False)
    with asking_hub(wanted=wanted, endpoint=download.get("endpoint")) as reachable:
        try:
            return Path(hf_hub_download(source, name, **download))
        except (HfHubHTTPError, OSError, ValueError) as error:
            away = isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled)
            told = (
                OUT_OF_REACH
                if away and not reachable
                else f"and the Hugging Face hub did not give it ({_first_line(error)})"
            )
            raise CheckpointError(
                f"{source!r} is no folder, {told}; give a folder with {CONFIG} and {WEIGHTS}"
            ) from error


def _check_hub_name(source: str) -> None:
    """Raise `CheckpointError` for what the hub need not be asked for."""
    wanted = f"give a folder with {CONFIG} and {WEIGHTS}, or OWNER/NAME on the Hugging Face hub"
    if source.startswith(FOREIGN):
        raise CheckpointError(
            f"{source}: only `clearhead explain` (pictures) and `clearhead attend` (text) read "
            f"models of timm and transformers; {wanted}"
        )
    if names_a_path(source) or Path(source).exists():
        raise CheckpointError(f"{no_folder(source)}; {wanted}")
    if source.count("/") != 1:
        raise CheckpointError(f"no model at {source!r}: {wanted}")


def _digest(saved: dict[str, Any]) -> str:
    """SHA-256 of what is said, however it is spaced: a formatter may touch the file."""
    said = {name: saved[name] for name in SETTINGS}
    return sha256(json.dumps(said, sort_keys=True).encode())


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check_architecture(saved: dict[str, Any], expected: str, source: str) -> None:
    if saved["architecture"] != expected:
        raise CheckpointError(
            f"{source} holds a {saved['architecture']}, not a {expected}; use clearhead.load()"
        )


def _check_tensors(found: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if name not in found or name not in expected:
            where = "missing from" if name not in found else "not known to the model, but in"
            raise CheckpointError(f"{name} is {where} {path}")
        if found[name].shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: {name} has shape {tuple(found[name].shape)}, "
                f"the configuration needs {tuple(expected[name].shape)}"
            )
        if found[name].is_floating_point() and not torch.isfinite(found[name]).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinity")
