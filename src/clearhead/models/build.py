"""From a configuration, a folder or a name to a model."""

from importlib import resources
from pathlib import Path
from typing import Any, overload

from clearhead.errors import CheckpointError, did_you_mean
from clearhead.models.cnn import ConvNet
from clearhead.models.config import (
    CNNConfig,
    ImageModelConfig,
    MLPConfig,
    ModelConfig,
    TextConfig,
    ViTConfig,
)
from clearhead.models.mlp import PatchMLP
from clearhead.models.pretrained import read_config
from clearhead.models.text import TextTransformer
from clearhead.models.vit import VisionTransformer

ImageModel = VisionTransformer | PatchMLP | ConvNet
Model = ImageModel | TextTransformer

_MODELS: dict[type[ModelConfig], type[Model]] = {
    ViTConfig: VisionTransformer,
    MLPConfig: PatchMLP,
    CNNConfig: ConvNet,
    TextConfig: TextTransformer,
}

SHIPPED = ("digits",)
SHIPPED_TEXT = ("sentences", "sentences-causal")


@overload
def build(config: ImageModelConfig) -> ImageModel: ...
@overload
def build(config: TextConfig) -> TextTransformer: ...
def build(config: ImageModelConfig | TextConfig) -> Model:
    """A new model with random weights (of torch's current generator)."""
    return _MODELS[type(config)](config)  # type: ignore[arg-type]


def load(source: str | Path = "digits", **download: Any) -> ImageModel:
    """A trained model of images in evaluation mode: the shipped "digits", a folder, or OWNER/NAME.

    Raises `CheckpointError` if it is missing or damaged.
    """
    model = load_any(source, **download)
    if isinstance(model, TextTransformer):
        raise CheckpointError(
            f"{source} is a {type(model).__name__}, which reads text and no images; give it to "
            "`clearhead attend`, in Python clearhead.load_text()"
        )
    return model


def load_text(source: str | Path = "sentences", **download: Any) -> TextTransformer:
    """A trained model of text in evaluation mode: "sentences", "sentences-causal", or a folder.

    Or OWNER/NAME. Raises `CheckpointError` if it is missing or damaged.
    """
    model = load_any(source, **download)
    if not isinstance(model, TextTransformer):
        raise CheckpointError(
            f"{source} is a {type(model).__name__}, which reads images and no text; text models "
            f"that ship are {' and '.join(SHIPPED_TEXT)}"
        )
    return model


def load_any(source: str | Path, **download: Any) -> Model:
    """A trained model, whatever it reads, in evaluation mode."""
    known = (*SHIPPED, *SHIPPED_TEXT)
    shipped = source in known
    is_name = not shipped and "/" not in str(source) and not Path(source).exists()
    if is_name and (near := did_you_mean(str(source), known)):
        raise CheckpointError(f"no model at {str(source)!r}{near}")
    folder = str(shipped_folder(str(source)) if shipped else source)
    architecture = read_config(folder, **download)["architecture"]
    classes = {model.__name__: model for model in _MODELS.values()}
    if architecture not in classes:
        raise CheckpointError(
            f"{source}: unknown architecture {architecture!r}; known are {sorted(classes)}"
        )
    return classes[architecture].from_pretrained(folder, **download)


def shipped_folder(name: str) -> Path:
    """Where the package keeps the weights of a model that ships with it."""
    return Path(str(resources.files("clearhead.models"))) / "shipped" / name
