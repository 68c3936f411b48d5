"""One entry point for pictures and texts; the model decides which it takes."""

from pathlib import Path
from typing import Any, Literal, overload

from clearhead.data import ImageSource
from clearhead.errors import ConfigError, InputError
from clearhead.explanation._selection import Layers
from clearhead.explanation.classifiers import (
    ImageClassifier,
    TextModel,
    classifier_of,
    open_classifier,
)
from clearhead.explanation.pictures import Explanation, explain_picture
from clearhead.explanation.texts import Heads, TextExplanation, explain_text
from clearhead.models import ImageModel, Model, TextTransformer


@overload
def explain(
    model: ImageClassifier | ImageModel | Literal["digits"],
    picture_or_text: ImageSource,
    *,
    layers: Layers = None,
    name: str = "",
) -> Explanation: ...
@overload
def explain(
    model: TextModel | TextTransformer | Literal["sentences", "sentences-causal"],
    picture_or_text: str,
    *,
    layers: Layers = None,
    heads: Heads = "mean",
    word: str | None = None,
) -> TextExplanation: ...
@overload
def explain(
    model: str | Path,
    picture_or_text: ImageSource,
    *,
    layers: Layers = None,
    name: str = "",
    heads: Heads = "mean",
    word: str | None = None,
) -> Any: ...
def explain(
    model: str | Path | ImageClassifier | TextModel | Model,
    picture_or_text: ImageSource,
    *,
    layers: Layers = None,
    name: str = "",
    heads: Heads = "mean",
    word: str | None = None,
) -> Explanation | TextExplanation:
    """Explain a prediction: the attention weights behind it, verified, and what it depends on.

    The model runs once under `capture`, and every recorded weight is compared with what the model
    computed. For a picture, three measures of how much each patch matters follow.

    Args:
        model: a name or folder as `open_classifier` takes it, an `ImageClassifier`, a `TextModel`,
            or one of Clearhead's models.
        picture_or_text: for an image classifier a picture (path, bytes, Pillow image, array or
            tensor), for a text model a text.
        layers: the layers whose weights are kept: names, patterns ("blocks.*") or indices from 0.
            By default all, as far as they fit into a page.
        name: pictures only: what the picture is called; by default its path.
        heads: texts only: "mean" over the heads of a layer, "each", or one head's index from 0.
        word: texts only: the query word. By default the pronoun, or else every word.

    Returns:
        An `Explanation` of a picture or a `TextExplanation`.

    Raises:
        ImageError: the picture cannot be decoded.
        InputError: the text is empty or too long, or has no such word.
        CaptureError: the model's attention cannot be recorded or verified, or `layers` fits none.
        CheckpointError: the model cannot be loaded.
    """
    classifier = _classifier(model)
    if isinstance(classifier, ImageClassifier):
        if word is not None or heads != "mean":
            raise ConfigError(f"heads and word are for texts, and {classifier.name} takes pictures")
        return explain_picture(classifier, picture_or_text, layers=layers, name=name)
    if not isinstance(picture_or_text, str):
        raise InputError(
            f"{classifier.name} is a text model; give a text, got a "
            f"{type(picture_or_text).__name__}"
        )
    return explain_text(classifier, picture_or_text, layers=layers, heads=heads, word=word)


def _classifier(
    model: str | Path | ImageClassifier | TextModel | Model,
) -> ImageClassifier | TextModel:
    if isinstance(model, ImageClassifier | TextModel):
        return model
    if isinstance(model, str | Path):
        return open_classifier(model)
    if isinstance(model, ImageModel | TextTransformer):
        return classifier_of(model, type(model).__name__)
    raise InputError(
        "model is a name, a folder, an ImageClassifier, a TextModel or one of Clearhead's models, "
        f"got {type(model).__name__}; for another one, describe the preprocessing: "
        "ImageClassifier(name=..., model=..., class_names=..., preprocess=...)"
    )
