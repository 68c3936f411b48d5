"""Explain a picture or a text, whichever the model takes, and write the files of it."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from clearhead._atomic import write_all_atomic
from clearhead.data import ImageSource
from clearhead.errors import ConfigError, ImageError, InputError, check_one_of
from clearhead.explanation._libraries import open_timm, open_transformers
from clearhead.explanation.classifiers import ImageClassifier, TextModel, classifier_of
from clearhead.explanation.pictures import Explanation, explain_picture
from clearhead.explanation.texts import Heads, TextExplanation, explain_text
from clearhead.models import ImageModel, Model, TextTransformer, load
from clearhead.recording import Layers

TIMM, HF = "timm:", "hf:"
FORMATS = ("html", "png", "svg", "json", "csv")


@overload
def explain(
    model: ImageClassifier | ImageModel | Literal["digits", "digits-distilled"],
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
    computed. For a picture, four measures of how much each patch matters follow.

    Args:
        model: A name or folder as `open_classifier` takes it, an `ImageClassifier`, a `TextModel`,
            or one of Clearhead's models.
        picture_or_text: For an image classifier a picture (path, bytes, Pillow image, array or
            tensor), for a text model a text.
        layers: The layers whose weights are kept: names, patterns ("blocks.*") or indices from 0.
            By default all, as far as they fit into a page.
        name: Pictures only: what the picture is called; by default its path.
        heads: Texts only: "mean" over the heads of a layer, "each", or one head's index from 0.
        word: Texts only: the query word. By default the pronoun, or else every word.

    Returns:
        An `Explanation` of a picture, whose `digits` explain each digit if there are several; or
        a `TextExplanation`.

    Raises:
        ImageError: The picture cannot be decoded.
        InputError: The text is empty or too long, or has no such word; or it is not a text, or the
            model is of another kind.
        ConfigError: A library is not installed, or `layers`, `heads` or `word` is invalid or not
            for this model.
        CaptureError: The model's attention cannot be recorded or verified, or `layers` fits none.
        CheckpointError: The model cannot be loaded.
    """
    if isinstance(model, str | Path):
        classifier = open_classifier(model)
    elif isinstance(model, ImageModel | TextTransformer):
        classifier = classifier_of(model, type(model).__name__)
    elif isinstance(model, ImageClassifier | TextModel):
        classifier = model
    else:
        raise InputError(
            "model is a name, a folder, an ImageClassifier, a TextModel or one of Clearhead's "
            f"models, got {type(model).__module__}.{type(model).__name__}; for models of timm or "
            'transformers give "timm:NAME" or "hf:OWNER/NAME", for others the preprocessing: '
            "clearhead.explanation.ImageClassifier(name=..., model=..., class_names=..., "
            "preprocess=...)"
        )
    if isinstance(picture_or_text, list | tuple):
        raise InputError("expected one picture or text, got several; call explain for each")
    if isinstance(classifier, ImageClassifier):
        if word is not None or heads != "mean":
            raise ConfigError(f"heads and word are for texts, and {classifier.name} takes pictures")
        try:
            return explain_picture(classifier, picture_or_text, layers=layers, name=name)
        except ImageError as error:
            is_path = re.search(r"[/\\]|\.\w+$", str(picture_or_text))
            if not isinstance(picture_or_text, str) or is_path:
                raise
            raise ImageError(
                f"{error}; {classifier.name} classifies pictures, for a text give a text model: "
                'clearhead.explain("sentences", text)'
            ) from error
    if not isinstance(picture_or_text, str):
        raise InputError(
            f"{classifier.name} is a text model; give a text, got a "
            f"{type(picture_or_text).__name__}"
        )
    return explain_text(classifier, picture_or_text, layers=layers, heads=heads, word=word)


def open_classifier(source: str | Path = "digits") -> ImageClassifier | TextModel:
    """Load a model by name, with its preprocessing or its tokenizer.

    Args:
        source: One of Clearhead's models ("digits", "digits-distilled", "sentences",
            "sentences-causal", a saved folder, or OWNER/NAME on the Hugging Face hub); "timm:NAME"
            or "timm:FOLDER" for a model of timm; "hf:OWNER/NAME" or "hf:FOLDER" for an image
            classifier or a text model of transformers.

    Returns:
        An `ImageClassifier` or a `TextModel`, in evaluation mode.

    Raises:
        ConfigError: A library is not installed, or the name is incomplete.
        CheckpointError: The weights are missing or damaged.
    """
    name = str(source)
    if name in (TIMM, HF):
        raise ConfigError(
            f"{name} names no model; give {TIMM}vit_tiny_patch16_224, {HF}OWNER/NAME or a folder"
        )
    if name.startswith(TIMM):
        return open_timm(name.removeprefix(TIMM))
    if name.startswith(HF):
        return open_transformers(name.removeprefix(HF))
    return classifier_of(load(name), name)


def write_report(
    explanation: Explanation | TextExplanation, path: str | Path, *, formats: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Write an explanation as an HTML page, and beside it in other formats.

    For a picture of several digits there is a page for each: "report-digit-1.html" and so on.

    Args:
        explanation: Of a picture or a text.
        path: The page, such as "report.html".
        formats: Additional ones, "png", "svg", "json" or "csv"; these files get the page's name
            with another suffix.

    Returns:
        The paths of all files, the page first; for several digits, those of each in turn.

    Raises:
        ConfigError: The path or a format has an unknown suffix.
        StorageError: A file cannot be written; then none is.
    """
    page = Path(path)
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"a report is an HTML file such as report.html, got {page.name!r}")
    for name in formats:
        check_one_of("a format", name, FORMATS)
    wanted = [name for name in FORMATS if name in formats and name != "html"]
    parts = {page: explanation}
    if isinstance(explanation, Explanation) and explanation.digits:
        digits = enumerate(explanation.digits, start=1)
        parts = {page.with_stem(f"{page.stem}-digit-{n}"): digit for n, digit in digits}
    files = {}
    for path, part in parts.items():
        files[path] = encode(part, "html")
        files |= {path.with_suffix(f".{name}"): encode(part, name) for name in wanted}
    write_all_atomic(files)
    return tuple(files)


def encode(explanation: Explanation | TextExplanation, file_format: str) -> bytes:
    """The content of a file in one of `FORMATS`."""
    from clearhead.explanation import figures, page, tables
    from clearhead.insight.plots import figure_bytes

    is_picture = isinstance(explanation, Explanation)
    if file_format in ("png", "svg"):
        figure = figures.picture_figure if is_picture else figures.text_figure
        return figure_bytes(figure(explanation), file_format)  # type: ignore[arg-type]
    if file_format == "json":
        content = json.dumps(explanation.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
    else:
        make: dict[str, Callable[..., str]] = (
            {"html": page.picture_page, "csv": tables.picture_csv}
            if is_picture
            else {"html": page.text_page, "csv": tables.text_csv}
        )
        content = make[file_format](explanation)
    return content.encode(errors="replace")  # a file's name may be undecodable
