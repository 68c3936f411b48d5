"""timm's models as readers, with the preprocessing that each of them states."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from clearhead.data import ImageInput
from clearhead.errors import ConfigError
from clearhead.explanation.classifiers.folders import check_folder
from clearhead.explanation.classifiers.libraries import fetching_weights, import_library
from clearhead.explanation.classifiers.photos import denormalised, open_photo
from clearhead.explanation.classifiers.reader import Reader, View

ELSEWHERE = (
    "timm:FOLDER, a folder with config.json and model.safetensors as timm's save_for_hf "
    "writes it with safe_serialization=True"
)


def open_timm(name: str) -> Reader:
    """A model that timm knows by name, with its trained weights, or a folder in timm's layout."""
    source = f"timm:{name}"
    timm: Any = import_library("timm", source)
    is_here = Path(name).is_dir()
    if is_here:
        check_folder(Path(name), "timm")
    where = f"local-dir:{name}" if is_here else name
    if not is_here and ":" not in name and not timm.is_model(name.split(".")[0]):
        raise ConfigError(
            f"timm knows no model {name!r} and there is no such folder{_near(timm, name)}"
        )
    with fetching_weights(source, ELSEWHERE, is_here=is_here):
        model = timm.create_model(where, pretrained=True).eval()
    return Reader(
        name=source,
        model=model,
        class_names=_class_names(timm, model),
        look=_looking(timm, model),
    )


def _looking(timm: Any, model: nn.Module) -> Callable[[ImageInput], View]:
    settings = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**settings, is_training=False)
    channels = settings["input_size"][0]

    def look(image: ImageInput) -> View:
        inputs = transform(open_photo(image, channels))[None]
        return View(inputs=inputs, pixels=denormalised(inputs, settings["mean"], settings["std"]))

    return look


def _class_names(timm: Any, model: nn.Module) -> tuple[str, ...]:
    """What the weights say, or ImageNet's names where timm knows that they are, else numbers."""
    count = int(getattr(model, "num_classes", 0))
    saved = (getattr(model, "pretrained_cfg", None) or {}).get("label_names")
    if saved and len(saved) == count:
        return tuple(map(str, saved))
    subset = timm.data.infer_imagenet_subset(model)
    if subset is None:
        return tuple(str(index) for index in range(count))
    info = timm.data.ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(count))


def _near(timm: Any, name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, timm.list_models(), n=1)
    return f"; did you mean timm:{near[0]}?" if near else ""
