"""Image classifiers of transformers as readers, with the preprocessing saved beside them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clearhead.data.folder import to_image
from clearhead.data.pixels import normalize
from clearhead.data.preprocessing.any_picture import Picture, as_picture
from clearhead.errors import CheckpointError
from clearhead.explanation.classifiers.folders import check_folder
from clearhead.explanation.classifiers.libraries import fetching_weights, import_library
from clearhead.explanation.classifiers.photos import denormalised, open_photo
from clearhead.explanation.classifiers.reader import Reader, View
from clearhead.models.pretrained import is_path, missing_folder

ELSEWHERE = "hf:FOLDER, a folder as transformers' save_pretrained writes it"
NO_PROCESSOR = (
    "nothing is saved about how pictures are prepared for this model: each was scaled to its size, "
    "with mean 0.5 and deviation 0.5"
)
NEW_WEIGHTS = "these weights are not in the saved model, so the answer is partly random: "


class Half(NamedTuple):
    """The normalisation of most Vision Transformers of this library."""

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)


def open_hf(name: str) -> Reader:
    """A saved folder or OWNER/NAME, read by `AutoModelForImageClassification`; no code of theirs.

    The attention implementation is the library's default: `capture` needs no other.
    """
    source = f"hf:{name}"
    transformers: Any = import_library("transformers", source)
    is_here = is_a_folder(name, ELSEWHERE)
    with fetching_weights(source, ELSEWHERE, is_here=is_here), quiet_bars(transformers):
        _check_kind(transformers, name)
        model, loading = transformers.AutoModelForImageClassification.from_pretrained(
            name, output_loading_info=True, use_safetensors=True
        )
    processor = _processor(transformers, name)
    missing = sorted(loading["missing_keys"])
    warnings = [NEW_WEIGHTS + ", ".join(missing)] if missing else []
    if processor is None:
        warnings.append(NO_PROCESSOR)
    names: dict[int, str] = model.config.id2label or {}
    return Reader(
        name=source,
        model=model.eval(),
        class_names=tuple(str(names.get(index, index)) for index in range(model.config.num_labels)),
        look=_plain_looking(model) if processor is None else _looking(processor, model),
        warnings=tuple(warnings),
    )


def is_a_folder(name: str, elsewhere: str) -> bool:
    """Whether the model is here, or else has a name that the hub can be asked for."""
    if Path(name).is_dir():
        check_folder(Path(name), "transformers")
        return True
    if is_path(name):
        raise CheckpointError(f"{missing_folder(name)}; give {elsewhere}, or hf:OWNER/NAME")
    return False


def _check_kind(transformers: Any, name: str) -> None:
    """Raise `CheckpointError` for a model that classifies no pictures, before its weights come."""
    config = transformers.AutoConfig.from_pretrained(name)
    if type(config) in transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING:
        return
    if hasattr(config, "vocab_size") and not config.is_encoder_decoder:
        raise CheckpointError(
            f"{name} is a text model ({config.model_type}); attend shows it: "
            f"clearhead attend --model hf:{name}"
        )
    raise CheckpointError(
        f"{name} is no image classifier of transformers ({config.model_type}); give {ELSEWHERE}"
    )


@contextmanager
def quiet_bars(transformers: Any) -> Iterator[None]:
    """Without the library's progress bars on stderr."""
    bars = transformers.utils.logging
    were_on = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if were_on:
            bars.enable_progress_bar()


def _processor(transformers: Any, name: str) -> Any:
    """What prepares pictures; None where nothing is saved about it."""
    try:
        with fetching_weights(name, ELSEWHERE, is_here=Path(name).is_dir()):
            return transformers.AutoImageProcessor.from_pretrained(name)
    except CheckpointError:  # the model is there: that no processor is, is only a warning
        return None


def _looking(processor: Any, model: nn.Module) -> Callable[[Picture], View]:
    channels = _channels(model)

    def look(image: Picture) -> View:
        given = processor(images=open_photo(image, channels), return_tensors="pt")
        inputs: Tensor = given["pixel_values"].to(torch.float32)
        if not getattr(processor, "do_normalize", True):
            return View(inputs=inputs, pixels=denormalised(inputs, (0.0,), (1.0,)))
        mean, std = tuple(processor.image_mean), tuple(processor.image_std)
        return View(inputs=inputs, pixels=denormalised(inputs, mean, std))

    return look


def _plain_looking(model: nn.Module) -> Callable[[Picture], View]:
    size = getattr(_vision_config(model), "image_size", None)
    if size is None:
        raise CheckpointError(
            f"nothing is saved about how pictures are prepared for this {type(model).__name__}; "
            "save its image processor beside it: processor.save_pretrained(FOLDER)"
        )
    height, width = (size, size) if isinstance(size, int) else size

    def look(image: Picture) -> View:
        pixels = to_image(as_picture(image), (int(height), int(width)), _channels(model))
        return View(inputs=normalize(pixels[None], Half()), pixels=pixels)

    return look


def _channels(model: nn.Module) -> int:
    return int(getattr(_vision_config(model), "num_channels", 3))


def _vision_config(model: nn.Module) -> Any:
    """The configuration, or for models of pictures and texts the part about pictures."""
    return getattr(model.config, "vision_config", model.config)
