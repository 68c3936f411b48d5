"""Saving and loading models: `save_pretrained`, `from_pretrained`, the Hugging Face hub.

A saved model is a folder (or a repository on the hub) with `model.safetensors` and `config.json`.
The configuration carries the SHA-256 of the weights, because safetensors has no checksum, and its
own, because one wrong digit of a mean is a wrong model too. Pickle is never read.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias

import safetensors
import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor, nn

from clearhead._atomic import remove_temporaries, sha256, write_all_atomic, write_atomic
from clearhead._hub import hub_is_reachable
from clearhead._paths import exists, is_folder
from clearhead.errors import CheckpointError, ConfigError, InputError, similar_folder
from clearhead.models._card import CARD, MARK, UNMEASURED, model_card
from clearhead.models.config import ImageModelConfig, ModelConfig

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
RUN = "run.json"
"""Written into the folder of a training run before its first step, long before the model"""
SAVED_KEYS = ("architecture", "model", "sha256")  # the part of config.json that its digest covers
WANTED = f"give a folder with {CONFIG} and {WEIGHTS}"

Library: TypeAlias = Literal["timm", "transformers", "Clearhead"]
SOURCE_FORMATS: Mapping[Library, str] = {
    "timm": "timm:{}",
    "transformers": "hf:{}",
    "Clearhead": "{}",
}
"""How a folder saved by each library is named on the command line"""

FILE_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".json", ".npz")

MAX_MESSAGE = 100  # characters of a library's own message


class Pretrained(nn.Module, PyTorchModelHubMixin):
    """Base class of the models: `save_pretrained`, `from_pretrained` and `push_to_hub`."""

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
        """Write weights, configuration and a model card; the first two are replaced together.

        Args:
            save_directory: The folder, made if it does not exist.
            repo_id: OWNER/NAME on the hub, if it is pushed there.
            push_to_hub: Whether to push it.
            model_card_kwargs: Fills the hub's template of a card; by default Clearhead's own card
                is written. A card written by hand is kept.
            **push_options: Options of the hub's `push_to_hub`.

        Returns:
            The address of the commit on the hub, or None without `push_to_hub`.

        Raises:
            StorageError: If the files cannot be written; the old ones are kept.
        """
        folder = Path(save_directory)
        self._save_pretrained(folder)
        if not model_card_kwargs:
            self.write_card(folder)
        elif not (folder / CARD).exists():
            card = self.generate_model_card(**model_card_kwargs)
            write_atomic(folder / CARD, str(card).encode())
        if not push_to_hub:
            return None
        return self.push_to_hub(
            repo_id or folder.name, model_card_kwargs=model_card_kwargs, **push_options
        )

    def write_card(self, folder: Path, measured: str = UNMEASURED) -> None:
        """Write the model card, unless `folder` has one that was written by hand.

        Args:
            folder: The folder of the saved model.
            measured: What was measured, such as an accuracy with its interval.

        Raises:
            StorageError: The file cannot be written.
        """
        path = folder / CARD
        if not path.exists() or MARK in path.read_text(encoding="utf-8", errors="replace"):
            write_atomic(path, model_card(self, self.config, measured).encode())

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **download: Any) -> Self:
        """Load a saved model of this class, in evaluation mode.

        Args:
            pretrained_model_name_or_path: A folder, or OWNER/NAME on the hub.
            **download: Options of the hub (`revision`, `token`, `cache_dir`, `local_files_only`).

        Raises:
            CheckpointError: If it is missing or damaged, or of another class.
        """
        source = str(pretrained_model_name_or_path)
        saved = read_config(source, **download)
        if saved["architecture"] != cls.__name__:
            raise CheckpointError(
                f"{source} holds a {saved['architecture']}, not a {cls.__name__}; "
                "use clearhead.load()"
            )
        known = {field.name for field in fields(cls.config_class)}
        if unknown := sorted(set(saved["model"]) - known):
            raise CheckpointError(f"{source}: unknown settings {unknown}; expected {sorted(known)}")
        settings: dict[str, Any] = {
            name: tuple(x) if isinstance(x, list) else x for name, x in saved["model"].items()
        }
        try:
            with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced
                model = cls(cls.config_class(**settings))
        except (ConfigError, TypeError) as error:
            raise CheckpointError(f"{source}: {error}") from error
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


class ImageModel(Pretrained):
    """Base class of the image classifiers: (batch, channels, height, width) → (batch, classes)."""

    config: ImageModelConfig
    head: nn.Linear

    def check_images(self, images: Tensor) -> None:
        """Check that images have the shape of the configuration.

        Args:
            images: Normalised images.

        Raises:
            InputError: Their shape is another one, or they are integers.
        """
        expected = (self.config.in_channels, *self.config.image_shape)
        if images.dim() != 4 or tuple(images.shape[1:]) != expected:
            raise InputError(
                f"images must be (batch, {', '.join(map(str, expected))}), "
                f"got {tuple(images.shape)}"
            )
        if not images.is_floating_point():
            raise InputError(
                f"images must be floating point (normalised pixels), got {images.dtype}"
            )


def read_config(source: str, **download: Any) -> dict[str, Any]:
    """The saved configuration: architecture, model settings, SHA-256 of the weights."""
    path = saved_file(source, CONFIG, **download)
    try:
        saved = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}); restore the file") from error
    library = library_of(saved) if isinstance(saved, dict) else None
    if library in ("timm", "transformers"):
        raise CheckpointError(
            f"{source} holds a model of {library}; `clearhead explain` (pictures) and `clearhead "
            f"attend` (text) load it as {SOURCE_FORMATS[library].format(source)}"
        )
    if not isinstance(saved, dict) or set(saved) - {"config_sha256"} != set(SAVED_KEYS):
        found = sorted(saved) if isinstance(saved, dict) else type(saved).__name__
        raise CheckpointError(f"{path} must hold {list(SAVED_KEYS)}, got {found}")
    if "config_sha256" in saved and saved["config_sha256"] != _digest(saved):
        raise CheckpointError(
            f"{path} was changed since it was saved; restore it, or if you changed it on purpose, "
            'remove the line "config_sha256"'
        )
    kinds = {"architecture": str, "model": dict, "sha256": str}
    if not all(isinstance(saved[name], kind) for name, kind in kinds.items()):
        raise CheckpointError(f"{path} is not one of Clearhead's")
    return saved


def load_weights(model: nn.Module, path: Path, digest: str) -> None:
    """Load the weights in `path` into `model`, if their SHA-256 is `digest`."""
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
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds NaN or infinity")
    load_tensors(model, tensors, path)


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Load the state of a model; `CheckpointError` if names or shapes differ from the model's."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{source} does not fit the model: {reason}") from error


def saved_file(source: str, name: str, **download: Any) -> Path:
    """The path of one file of a saved model, downloaded unless `source` is a folder."""
    if is_folder(source):
        path = Path(source) / name
        if not path.is_file() and (Path(source) / RUN).is_file():
            raise CheckpointError(
                f"the training in {source} is not finished; run the same train command again to "
                "continue"
            )
        if not path.is_file():
            raise CheckpointError(f"{source} holds no {name}; is it a saved model?")
        return path
    _check_hub_name(source)
    offline = download.pop("local_files_only", False) or not hub_is_reachable(
        download.get("endpoint")
    )
    try:
        with quiet_libraries():
            return Path(hf_hub_download(source, name, local_files_only=offline, **download))
    except (HfHubHTTPError, OSError, ValueError) as error:
        missing = isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled)
        reason = (
            "the Hugging Face hub cannot be reached, and no copy is in the cache"
            if missing and offline
            else f"and the Hugging Face hub does not provide it ({first_line(error)})"
        )
        raise CheckpointError(f"{source!r} is not a folder, {reason}; {WANTED}") from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Mute the logs of huggingface_hub, transformers and timm; our errors include the reason."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "transformers", "timm")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def library_of(config: Mapping[str, object]) -> Library | None:
    """The library that wrote a `config.json`: each has keys that no other writes."""
    if "model_type" in config:
        return "transformers"
    if "architecture" not in config:
        return None
    return "Clearhead" if {"model", "sha256", "config_sha256"} & set(config) else "timm"


def is_path(source: str) -> bool:
    """Whether `source` can only be a path: ./model, /models/a, ~/a, a/b/c, or the name of a file.

    OWNER/NAME may be a folder, or a repository on the hub.
    """
    return (
        source.startswith((".", "/", "~"))
        or source.count("/") > 1
        or source.endswith(("/", *FILE_ENDINGS))
    )


def missing_folder(source: str) -> str:
    """The message for a path that is not a folder, on one line, with special characters escaped."""
    text = source if source.isprintable() else repr(source)
    if exists(source):
        return f"{text} is a file; a model is a folder"
    return f"there is no folder {text}{similar_folder(source)}"


def _check_hub_name(source: str) -> None:
    """Raise `CheckpointError` for a source that cannot be OWNER/NAME on the hub."""
    wanted = f"{WANTED}, or OWNER/NAME on the Hugging Face hub"
    if source.startswith(("timm:", "hf:")):
        raise CheckpointError(
            f"{source}: only `clearhead explain` (pictures) and `clearhead attend` (text) load "
            f"models of timm and transformers; {wanted}"
        )
    if is_path(source) or exists(source):
        raise CheckpointError(f"{missing_folder(source)}; {wanted}")
    similar = similar_folder(source)
    if similar or source.count("/") != 1:
        raise CheckpointError(f"no model at {source!r}{similar or f': {wanted}'}")


def _digest(saved: dict[str, Any]) -> str:
    """SHA-256 of the settings; it does not depend on how the file is formatted."""
    settings = {name: saved[name] for name in SAVED_KEYS}
    return sha256(json.dumps(settings, sort_keys=True).encode())


def first_line(error: BaseException) -> str:
    """The first line of an error's message, shortened, or else its type."""
    kind = type(error).__name__
    line = (str(error).strip() or kind).splitlines()[0].rstrip(".: ")
    if isinstance(error, KeyError):
        line = f"{kind}: {line}"
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE].rstrip()} …"
