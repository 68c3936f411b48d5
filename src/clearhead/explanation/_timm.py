"""Models of timm as classifiers, with the preprocessing that each of them states."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn

from clearhead.data import ImageSource
from clearhead.errors import CheckpointError, ConfigError
from clearhead.explanation._libraries import (
    check_folder,
    denormalize,
    import_library,
    loading_weights,
    open_photo,
)
from clearhead.explanation.classifiers import ImageClassifier, ImageInput

ALTERNATIVE = (
    "timm:FOLDER, a folder with config.json and model.safetensors as timm's save_for_hf "
    "writes it with safe_serialization=True"
)


def open_timm(name: str) -> ImageClassifier:
    """A model that timm knows by name, with its trained weights, or a folder in timm's layout."""
    source = f"timm:{name}"
    timm: Any = import_library("timm", source)
    is_local = Path(name).is_dir()
    if is_local:
        check_folder(Path(name), "timm")
    elif not name.startswith("hf-hub:") and not timm.is_model(name.split(".")[0]):
        near = get_close_matches(name, timm.list_models(), n=1)
        hint = f"; did you mean timm:{near[0]}?" if near else ""
        raise ConfigError(f"timm knows no model {name!r} and there is no such folder{hint}")
    with loading_weights(source, ALTERNATIVE, is_local=is_local) as reachable:
        model = _create(timm, name, source, reachable=reachable)
    settings = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**settings, is_training=False)

    def preprocess(image: ImageSource) -> ImageInput:
        inputs = transform(open_photo(image, settings["input_size"][0]))[None]
        pixels = denormalize(inputs, settings["mean"], settings["std"])
        return ImageInput(inputs=inputs, pixels=pixels)

    return ImageClassifier(
        name=source,
        model=model.eval(),
        class_names=_class_names(timm, model),
        preprocess=preprocess,
    )


def _create(timm: Any, name: str, source: str, *, reachable: bool) -> Any:
    if Path(name).is_dir():
        return timm.create_model(f"local-dir:{name}", pretrained=True)
    if name.startswith("hf-hub:"):
        file = _weights_file(name.removeprefix("hf-hub:"), source, reachable=reachable)
        return timm.create_model(f"local-dir:{file.parent}", pretrained=True)
    known = timm.get_pretrained_cfg(name)
    if known is None or not known.hf_hub_id:
        raise _pickled(source)
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


def _class_names(timm: Any, model: nn.Module) -> tuple[str, ...]:
    """The names saved with the weights, or ImageNet's where timm knows the subset, else numbers."""
    count = int(getattr(model, "num_classes", 0))
    saved = (getattr(model, "pretrained_cfg", None) or {}).get("label_names")
    if saved and len(saved) == count:
        return tuple(map(str, saved))
    subset = timm.data.infer_imagenet_subset(model)
    if subset is None:
        return tuple(str(index) for index in range(count))
    info = timm.data.ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(count))
