"""A model from its configuration, or from a name or folder."""

from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from clearhead._paths import exists
from clearhead.errors import CheckpointError, ConfigError, did_you_mean
from clearhead.models._timm import PREFIX, from_timm
from clearhead.models.baselines import ConvNet, PatchMLP
from clearhead.models.config import ImageModelConfig, TextConfig
from clearhead.models.pretrained import ImageModel, Pretrained, read_config
from clearhead.models.text import TextTransformer
from clearhead.models.vit import VisionTransformer

Model = ImageModel | TextTransformer
ModelT = TypeVar("ModelT", bound=Pretrained)

MODELS: tuple[type[Model], ...] = (VisionTransformer, PatchMLP, ConvNet, TextTransformer)
SHIPPED = ("digits", "digits-distilled")
SHIPPED_TEXT = ("sentences", "sentences-causal")


@overload
def build(config: ImageModelConfig) -> ImageModel: ...
@overload
def build(config: TextConfig) -> TextTransformer: ...
def build(config: ImageModelConfig | TextConfig) -> Model:
    """A new model with random weights, drawn from torch's default generator.

    Args:
        config: The configuration; its class decides which model it is.

    Returns:
        The model, in training mode.
    """
    classes: dict[Any, Any] = {model.config_class: model for model in MODELS}
    model: Model = classes[type(config)](config)
    return model


@overload
def load(
    source: Literal["digits", "digits-distilled"] = ..., **download: Any
) -> VisionTransformer: ...
@overload
def load(source: Literal["sentences", "sentences-causal"], **download: Any) -> TextTransformer: ...
@overload
def load(source: str | Path, expected: type[ModelT], **download: Any) -> ModelT: ...
@overload
def load(source: str | Path, **download: Any) -> Any: ...
def load(
    source: str | Path = "digits", expected: type[Pretrained] = Pretrained, **download: Any
) -> Any:
    """Load a trained model, in evaluation mode.

    Args:
        source: A model that ships with the package ("digits", "digits-distilled", "sentences",
            "sentences-causal"), a folder, OWNER/NAME on the Hugging Face hub, or "timm:NAME" or
            "timm:FOLDER" for a plain Vision Transformer of timm, which becomes a
            `VisionTransformer`.
        expected: The class, or base class, that the model must have, such as `ImageModel`.
        **download: Options of the hub (`revision`, `token`, `cache_dir`, `local_files_only`).

    Returns:
        The model: a `VisionTransformer`, `PatchMLP`, `ConvNet` or `TextTransformer`.

    Raises:
        CheckpointError: If it is missing, damaged, or not of the expected class.
        ConfigError: If `source` is neither a name nor a folder.
    """
    shipped = (*SHIPPED, *SHIPPED_TEXT)
    if isinstance(source, str) and source.startswith(PREFIX) and expected is not TextTransformer:
        return from_timm(source.removeprefix(PREFIX))
    if not isinstance(source, str | Path):
        raise ConfigError(
            f"load needs the name or folder of a model, such as {shipped[0]!r}, got {source!r}"
        )
    is_name = source not in shipped and "/" not in str(source) and not exists(source)
    if is_name and (nearest := did_you_mean(str(source), shipped)):
        raise CheckpointError(f"no model at {str(source)!r}{nearest}")
    folder = str(shipped_folder(str(source)) if source in shipped else source)
    architecture = read_config(folder, **download)["architecture"]
    classes = {model.__name__: model for model in MODELS}
    if architecture not in classes:
        raise CheckpointError(
            f"{source}: unknown architecture {architecture!r}; expected one of {sorted(classes)}"
        )
    if not issubclass(classes[architecture], expected):
        use = (
            "explain its attention with `clearhead attend`"
            if architecture == TextTransformer.__name__
            else f"text models that ship are {' and '.join(SHIPPED_TEXT)}"
        )
        raise CheckpointError(
            f"{source} holds a {architecture}, expected {_described(expected)}; {use}"
        )
    return classes[architecture].from_pretrained(folder, **download)


def shipped_folder(name: str) -> Path:
    """The folder of a model that ships with the package.

    Args:
        name: Such as "digits".

    Returns:
        The folder, which need not exist.
    """
    return Path(str(resources.files("clearhead.models"))) / "shipped" / name


def _described(expected: type[Pretrained]) -> str:
    return "an image classifier" if expected is ImageModel else f"a {expected.__name__}"
