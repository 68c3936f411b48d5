"""Models of ours as readers: the digit reader, or one trained on a folder."""

from pathlib import Path

from clearhead.data.pixels import normalize
from clearhead.data.preprocessing.any_picture import Picture
from clearhead.explanation.classifiers.libraries import fetching_weights
from clearhead.explanation.classifiers.reader import Reader, View
from clearhead.inference import prepare, uses_digit_preprocessing
from clearhead.models.build import SHIPPED, load
from clearhead.models.pretrained import ImageModel, is_path

ELSEWHERE = "a folder that clearhead saved"


def open_own(source: str) -> Reader:
    """The shipped "digits", a saved folder, or OWNER/NAME; `CheckpointError` if it is not there."""
    is_here = source in SHIPPED or Path(source).exists() or source.count("/") != 1
    is_here = is_here or is_path(source)
    with fetching_weights(source, ELSEWHERE, is_here=is_here):
        return read_with(load(source, ImageModel), source)


def read_with(model: ImageModel, name: str) -> Reader:
    """A model that is loaded already; it is put into evaluation mode."""
    config = model.eval().config

    def look(image: Picture) -> View:
        prepared = prepare(image, config)
        return View(
            inputs=normalize(prepared.pixels[None], config),
            pixels=prepared.pixels,
            is_ink=uses_digit_preprocessing(config),
            warnings=prepared.warnings,
            found=prepared.found,
        )

    return Reader(name=name, model=model, class_names=config.labels, look=look)
