"""Models of timm and transformers: importing the library, checking folders, loading weights."""

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from clearhead.data import ImageSource, load_image, resize_and_crop
from clearhead.errors import CheckpointError, ClearheadError, ConfigError
from clearhead.models.pretrained import (
    SOURCE_FORMATS,
    hub_is_reachable,
    library_of,
    quiet_libraries,
)

MAX_MESSAGE = 100  # characters of a library's own message
SAVED_BY = {
    "timm": "timm.models.save_for_hf(model, FOLDER, safe_serialization=True)",
    "transformers": "model.save_pretrained(FOLDER)",
}
NAMED_BY = {"timm": "architecture", "transformers": "model_type"}


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
    with quiet_libraries():
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
    config = _config(folder)
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


def first_line(error: BaseException) -> str:
    """The first line of an error's message, shortened, or else its type."""
    kind = type(error).__name__
    line = (str(error).strip() or kind).splitlines()[0].rstrip(".: ")
    if isinstance(error, KeyError):
        line = f"{kind}: {line}"
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE].rstrip()} …"


def open_photo(image: ImageSource, channels: int) -> Image.Image:
    """The whole picture in its own size, RGB or grey; `ImageError` if it cannot be decoded."""
    picture = load_image(image)
    pixels = resize_and_crop(picture, (picture.height, picture.width), channels)
    return Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).numpy())


def denormalize(
    inputs: Float[Tensor, "1 channels height width"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> UInt8[Tensor, "channels height width"]:
    """The pixels of a normalised picture: inputs · std + mean, as bytes."""
    shape = (1, -1, 1, 1)
    values = inputs * torch.tensor(std).view(shape) + torch.tensor(mean).view(shape)
    return (values[0].clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)


def _config(folder: Path) -> dict[str, object] | None:
    try:
        saved = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return saved if isinstance(saved, dict) else None


def _is_missing(error: BaseException | None) -> bool:
    """Whether files could not be found or fetched, by this error or one that caused it."""
    while error is not None:
        if isinstance(error, ConnectionError | TimeoutError | FileNotFoundError):
            return True
        error = error.__cause__ or error.__context__
    return False
