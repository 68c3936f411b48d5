"""From a configuration, a folder or a name to a model."""

from importlib import resources
from pathlib import Path
from typing import Any

from clearhead.errors import CheckpointError
from clearhead.models.cnn import ConvNet
from clearhead.models.config import CNNConfig, ImageModelConfig, MLPConfig, ViTConfig
from clearhead.models.mlp import PatchMLP
from clearhead.models.pretrained import read_config
from clearhead.models.vit import VisionTransformer

ImageModel = VisionTransformer | PatchMLP | ConvNet

_MODELS: dict[type[ImageModelConfig], type[ImageModel]] = {
    ViTConfig: VisionTransformer,
    MLPConfig: PatchMLP,
    CNNConfig: ConvNet,
}

SHIPPED = ("digits",)


def build(config: ImageModelConfig) -> ImageModel:
    """A new model with random weights (of torch's current generator)."""
    return _MODELS[type(config)](config)  # type: ignore[arg-type]


def load(source: str | Path = "digits", **download: Any) -> ImageModel:
    """A trained model in evaluation mode: the shipped "digits", a folder, or OWNER/NAME.

    Raises `CheckpointError` if it is missing or damaged.
    """
    folder = str(shipped_folder(str(source)) if source in SHIPPED else source)
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
