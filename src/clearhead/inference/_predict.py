"""From a picture to a prediction: preprocessing, forward pass, softmax."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import escape
from io import BytesIO
from itertools import chain, islice, pairwise, repeat
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from clearhead.data import ImageSource, normalize
from clearhead.data.preprocessing.digits import SEVERAL
from clearhead.errors import ConfigError, ImageError, InputError
from clearhead.inference._names import EngineChoice
from clearhead.inference._prepare import Box, ModelInput, prepare, prepare_each
from clearhead.models.config import ImageModelConfig, TextConfig

if TYPE_CHECKING:
    from clearhead.inference._engines import ModelLike

BATCH_SIZE = 128
STREAMED = (1, 2, 4, 8, 16)  # pictures in the first batches, so that predictions come at once
LOW_CONFIDENCE = "low confidence"
NOT_RECOGNISED = "not recognised: no class is probable enough"
THUMBNAIL_SIZE = 64
MAX_TABLE_ROWS = 10

Status = Literal["confident", "doubtful", "rejected"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The class of one picture, with probabilities; or the text of a picture of several digits.

    Attributes:
        label: Name of the most probable class; None if the picture is rejected. Of several digits,
            their labels in reading order, with "?" for each one that is rejected.
        probability: Probability of `label`; 0 without one. Of several digits, the product.
        runner_up: The second most probable label; None if there is none.
        runner_up_probability: Probability of `runner_up`.
        probabilities: One for each class, in the order of `class_names`; they sum to 1. Empty if
            the model did not run because the picture is blank, and for several digits.
        class_names: Names of all classes.
        warnings: Reasons to doubt or to reject the prediction.
        box: Where the digit is, in pixels of the upright picture; None if it was not searched for.
        digits: The predictions for the single digits if there are several, in reading order.
        image: The model input, reduced to at most 64 pixels per side, for display in notebooks.
    """

    label: str | None = None
    probability: float = 0.0
    runner_up: str | None = None
    runner_up_probability: float = 0.0
    probabilities: tuple[float, ...] = ()
    class_names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    box: Box | None = None
    digits: tuple["Prediction", ...] = ()
    image: UInt8[Tensor, "channels height width"] | None = field(default=None, compare=False)

    @property
    def status(self) -> Status:
        """Doubtful if there are warnings, rejected if there is no label."""
        if self.label is None:
            return "rejected"
        return "doubtful" if self.warnings else "confident"

    def to_dict(self) -> dict[str, Any]:
        """All but the image, as JSON types."""
        return {
            "status": self.status,
            "label": self.label,
            "probability": self.probability,
            "runner_up": self.runner_up,
            "runner_up_probability": self.runner_up_probability,
            "probabilities": list(self.probabilities),
            "classes": list(self.class_names),
            "warnings": list(self.warnings),
            "box": self.box and list(self.box),
            "digits": [digit.to_dict() for digit in self.digits],
        }

    def __repr__(self) -> str:
        parts = [f"label={self.label!r}", f"status={self.status!r}"]
        if self.label is not None:
            parts.append(f"probability={self.probability:.4f}")
        if self.warnings:
            parts.append(f"warnings={self.warnings}")
        if self.digits:
            parts.append(f"digits={len(self.digits)}")
        return f"Prediction({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """Model input, status, and the ten largest probabilities as bars; for each digit."""
        title = escape(" · ".join([self.label or "–", self.status, *self.warnings]))
        if self.digits:
            return f"<p>{title}</p>" + "".join(digit._repr_html_() for digit in self.digits)
        ranked = sorted(zip(self.probabilities, self.class_names, strict=False), reverse=True)
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{probability:.2%}</td><td style='text-align:left'>"
            f"<meter value='{probability:.4f}'></meter></td></tr>"
            for probability, name in ranked[:MAX_TABLE_ROWS]
        )
        image = "" if self.image is None else f"<img alt='model input' {_img_source(self.image)}>"
        return f"<figure>{image}<figcaption>{title}</figcaption></figure><table>{rows}</table>"


@overload
def predict(  # type: ignore[overload-overlap] # a string is a path, not an iterable of paths
    model: "ModelLike",
    images: ImageSource,
    *,
    single: bool = False,
    num_workers: int | None = None,
    engine: EngineChoice = "torch",
) -> Prediction: ...
@overload
def predict(
    model: "ModelLike",
    images: Iterable[ImageSource],
    *,
    single: bool = False,
    num_workers: int | None = None,
    engine: EngineChoice = "torch",
) -> list[Prediction]: ...
def predict(
    model: "ModelLike",
    images: ImageSource | Iterable[ImageSource],
    *,
    single: bool = False,
    num_workers: int | None = None,
    engine: EngineChoice = "torch",
) -> Prediction | list[Prediction]:
    """Classify one picture, or many.

    The digit classifier reads all digits of a picture: lines from top to bottom, in a line from
    left to right.

    Args:
        model: One of Clearhead's image classifiers, on any device. It runs in evaluation mode;
            each module's own mode is restored afterwards.
        images: A path, the bytes of an image file, a Pillow image, an array or a tensor; or an
            iterable of these.
        single: Whether every picture shows one digit, and the rest of its ink is to be ignored.
        num_workers: Processes that read and preprocess files; 0 for none. By default, once this
            has taken a second, one for each core of the CPU.
        engine: What computes the forward pass, as in `load_engine`, which should be called before
            if `predict` is called often.

    Returns:
        A `Prediction` for one picture; for an iterable, a list in the same order.

    Raises:
        ImageError: A picture cannot be read; for many, the message has its position.
        InputError: The model is not one of Clearhead's, or returns NaN.
        ConfigError: The engine cannot be used.
    """
    check_image_model(model, "predict")
    model = with_engine(model, engine)
    if isinstance(images, ImageSource | bytearray) or not isinstance(images, Iterable):
        return predict_inputs(model, [prepare(images, model.config, single=single)])[0]
    predictions: list[Prediction] = []
    for result in predict_each(model, images, single=single, num_workers=num_workers):
        if isinstance(result, ImageError):
            raise ImageError(f"image {len(predictions)}: {result}") from result
        predictions.append(result)
    return predictions


def predict_each(
    model: "ModelLike",
    images: Iterable[ImageSource | ImageError],
    *,
    single: bool = False,
    num_workers: int | None = None,
) -> Iterator[Prediction | ImageError]:
    """Classify pictures one after another, as `predict` does.

    Args:
        model: As in `predict`.
        images: Pictures, of which only few are taken in advance; an error in place of a picture
            comes out again.
        single: As in `predict`.
        num_workers: As in `predict`.

    Yields:
        The prediction for each picture as soon as it is made, or the error if it cannot be read.

    Raises:
        InputError: The model is not one of Clearhead's, or returns NaN.
    """
    check_image_model(model, "predict_each")
    prepared = prepare_each(images, model.config, single=single, num_workers=num_workers)
    for size in chain(STREAMED, repeat(2 * STREAMED[-1])):
        batch = list(islice(prepared, size))
        if not batch:
            return
        inputs = [result for result in batch if not isinstance(result, ImageError)]
        predictions = iter(predict_inputs(model, inputs))
        for result in batch:
            yield result if isinstance(result, ImageError) else next(predictions)


def combine(digits: Sequence[Prediction]) -> Prediction:
    """The prediction for a picture with these digits, in reading order; of one digit, its own."""
    digits = [digit for prediction in digits for digit in prediction.digits or (prediction,)]
    if len(digits) == 1:
        return digits[0]
    label, runner_up, change = "", "", 0.0
    for digit in digits:  # in the second most probable text, one digit differs
        ratio = digit.runner_up_probability / digit.probability if digit.runner_up else 0.0
        if ratio > change:
            runner_up, change = f"{label}{digit.runner_up}", ratio
        elif runner_up:
            runner_up += digit.label or "?"
        label += digit.label or "?"
    probability = prod(digit.probability for digit in digits if digit.label is not None)
    combined = Prediction(
        class_names=digits[0].class_names,
        warnings=tuple(dict.fromkeys(warning for digit in digits for warning in digit.warnings)),
        box=_hull([digit.box for digit in digits if digit.box is not None]),
        digits=tuple(digits),
    )
    if all(digit.label is None for digit in digits):
        return combined
    return replace(
        combined,
        label=label,
        probability=probability,
        runner_up=runner_up or None,
        runner_up_probability=probability * change,
    )


def _hull(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def check_image_model(model: object, function: str) -> None:
    """Raise `InputError` unless `model` is one of Clearhead's image models."""
    config = getattr(model, "config", None)
    if isinstance(config, ImageModelConfig):
        return
    if isinstance(model, str | Path):
        advice = f"load it first: clearhead.load({str(model)!r})"
        raise InputError(f"{function} needs a model, got the name {str(model)!r}; {advice}")
    kind = f"{type(model).__module__}.{type(model).__name__}"
    if isinstance(config, TextConfig):
        raise InputError(
            f"{function} needs an image model, got the text model {kind}; for a text use "
            'clearhead.explain(model, "The cat sat.")'
        )
    raise InputError(
        f"{function} needs one of Clearhead's image models, got {kind}; for models of other "
        'libraries use clearhead.explain("timm:NAME", picture), or "hf:OWNER/NAME", or wrap the '
        "model in clearhead.explanation.ImageClassifier and explain that"
    )


def predict_inputs(model: "ModelLike", inputs: Sequence[ModelInput]) -> list[Prediction]:
    """Classify preprocessed pictures in one batch.

    Raises:
        InputError: The model returns NaN or infinite logits.
    """
    if not inputs:
        return []
    flat = [item for picture in inputs for item in _all_inputs(picture)]
    rows = predict_probabilities(model, torch.stack([item.pixels for item in flat]), BATCH_SIZE)
    config = model.config
    predictions = (
        prediction_of(
            row if item.found else (),
            config.labels,
            item.warnings,
            item.pixels,
            box=item.box,
            doubtful_below=config.doubtful_below,
            rejected_below=config.rejected_below,
            threshold_temperature=config.threshold_temperature,
        )
        for row, item in zip(rows.tolist(), flat, strict=True)
    )
    return [_prediction_for(picture, predictions) for picture in inputs]


def _all_inputs(picture: ModelInput) -> Iterator[ModelInput]:
    yield picture
    for item in (*picture.parts, *picture.halves):
        yield from _all_inputs(item)


def _prediction_for(picture: ModelInput, predictions: Iterator[Prediction]) -> Prediction:
    """The prediction for a picture from those for itself, its parts and its halves, in turn."""
    whole = next(predictions)
    parts = [_prediction_for(part, predictions) for part in picture.parts]
    halves = [_prediction_for(half, predictions) for half in picture.halves]
    if halves and whole.status != "confident" and combine(halves).status == "confident":
        whole = combine(halves)
    return _one_or_several(whole, parts)


def _one_or_several(whole: Prediction, digits: Sequence[Prediction]) -> Prediction:
    """The prediction for a picture from those for all of it as one digit and for its parts.

    Parts that are not all digits, but together look like one, are pieces of one.
    """
    if not digits:
        return whole
    several = combine(digits)
    if whole.status == several.status == "confident":
        likelier = several if _are_side_by_side(digits) else whole
        return replace(likelier, warnings=(SEVERAL,))
    if whole.status == "confident" or (several.label is None and whole.label is not None):
        return whole
    return several


def _are_side_by_side(digits: Sequence[Prediction]) -> bool:
    boxes = [digit.box for digit in digits if digit.box is not None]
    return all(after[0] >= before[2] for before, after in pairwise(boxes))


def predict_probabilities(
    model: "ModelLike", images: UInt8[Tensor, "n channels height width"], batch_size: int = 1000
) -> Float[Tensor, "n classes"]:
    """Class probabilities, softmax(logits), in float64 on the CPU.

    Args:
        model: Runs on its own device, in its own number type and in evaluation mode; each module's
            own mode is restored afterwards.
        images: Pixels from 0 to 255 in the model's input size.
        batch_size: Images in a forward pass.

    Raises:
        InputError: The model returns NaN or infinite logits.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    like = next(model.parameters())
    with evaluation_mode(model), torch.inference_mode():
        parts = [
            model(normalize(batch.to(like.device), model.config).to(like.dtype)).cpu().double()
            for batch in torch.split(images, batch_size)
            if len(batch)
        ]
    logits = torch.cat([torch.empty(0, model.config.num_classes, dtype=torch.float64), *parts])
    if not logits.isfinite().all():
        first = int((~logits.isfinite()).any(dim=1).nonzero()[0])
        raise InputError(
            f"the model returned NaN or infinite logits, first for image {first}; its weights or "
            "settings are broken, so load another checkpoint"
        )
    return logits.softmax(dim=1)


def with_engine(
    model: "ModelLike", engine: EngineChoice, batch_size: int = 2 * STREAMED[-1]
) -> "ModelLike":
    """The model with an engine; unchanged with "torch", or if it has one already."""
    if engine == "torch":
        return model
    from clearhead.inference._engines import load_engine  # imports torch.export, which takes long

    return load_engine(model, engine, batch_size=batch_size)


@contextmanager
def evaluation_mode(model: object) -> Iterator[None]:
    """Put a module into evaluation mode, and restore each submodule's own mode afterwards.

    Anything that is not a module is left alone.
    """
    # Setting the mode takes longer than some forward passes: only modules in training are touched.
    modules = model.modules() if isinstance(model, nn.Module) else ()
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def prediction_of(
    probabilities: Sequence[float],
    names: tuple[str, ...],
    warnings: tuple[str, ...],
    pixels: UInt8[Tensor, "channels height width"],
    *,
    doubtful_below: float,
    rejected_below: float,
    threshold_temperature: float = 1.0,
    box: Box | None = None,
) -> Prediction:
    """The prediction with these probabilities; without any, one that is rejected."""
    step = ceil(max(pixels.shape[1:]) / THUMBNAIL_SIZE)
    image = pixels if step == 1 else pixels[:, ::step, ::step].clone()
    values = tuple(probabilities)
    best, second = [*sorted(range(len(values)), key=lambda index: -values[index]), None, None][:2]
    prediction = Prediction(
        probabilities=values, class_names=names, warnings=warnings, box=box, image=image
    )
    if best is None:
        return prediction
    softened = [value ** (1 / threshold_temperature) for value in values]
    certainty = softened[best] / sum(softened)
    if certainty < rejected_below:
        return replace(prediction, warnings=(*warnings, NOT_RECOGNISED))
    return replace(
        prediction,
        label=names[best],
        probability=values[best],
        runner_up=None if second is None else names[second],
        runner_up_probability=0.0 if second is None else values[second],
        warnings=warnings if certainty >= doubtful_below else (*warnings, LOW_CONFIDENCE),
    )


def _img_source(pixels: UInt8[Tensor, "channels height width"]) -> str:
    """The attributes of an HTML image, with the pixels as a PNG."""
    channels = pixels.cpu().numpy()
    picture = channels[0] if len(channels) in (1, 2) else channels[:3].transpose(1, 2, 0)
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    height, width = (2 * side for side in pixels.shape[1:])
    data = b64encode(file.getvalue()).decode()
    return f"width='{width}' height='{height}' src='data:image/png;base64,{data}'"
