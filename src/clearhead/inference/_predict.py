"""From a picture to a prediction: preprocessing, forward pass, softmax."""

from collections.abc import Iterable, Iterator, Sequence
from io import IOBase
from itertools import chain, islice, repeat
from pathlib import Path
from typing import cast, overload

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead._validate import check, integer
from clearhead.data import ImageSource, normalize
from clearhead.errors import ImageError, InputError
from clearhead.inference._certainty import certainty_of
from clearhead.inference._model import ModelLike, evaluation_mode
from clearhead.inference._names import EngineChoice
from clearhead.inference._prediction import (
    Prediction,
    one_or_several,
    one_or_touching,
    prediction_of,
)
from clearhead.inference._prepare import ModelInput, prepare, prepare_each
from clearhead.models.config import ImageModelConfig, TextConfig

BATCH_SIZE = 128
STREAMED = (1, 2, 4, 8, 16)  # pictures in the first batches, so that predictions come at once


@overload
def predict(  # type: ignore[overload-overlap] # a string is a path, not an iterable of paths
    model: ModelLike,
    images: ImageSource,
    *,
    single: bool = False,
    num_workers: int | None = None,
    engine: EngineChoice = "torch",
) -> Prediction: ...
@overload
def predict(
    model: ModelLike,
    images: Iterable[ImageSource],
    *,
    single: bool = False,
    num_workers: int | None = None,
    engine: EngineChoice = "torch",
) -> list[Prediction]: ...
def predict(
    model: ModelLike,
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
    if isinstance(images, memoryview):  # an iterable of numbers
        images = bytes(images)
    # an open file is an iterable of lines
    if isinstance(images, ImageSource | bytearray | IOBase) or not isinstance(images, Iterable):
        image = cast(ImageSource, images)
        return predict_inputs(model, [prepare(image, model.config, single=single)])[0]
    predictions: list[Prediction] = []
    for result in predict_each(model, images, single=single, num_workers=num_workers):
        if isinstance(result, ImageError):
            raise ImageError(f"image {len(predictions)}: {result}") from result
        predictions.append(result)
    return predictions


def predict_each(
    model: ModelLike,
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


def check_image_model(model: object, function: str) -> None:
    """Check that a model is one of Clearhead's image models.

    Args:
        model: The model.
        function: Name of the function that needs the model, for the message.

    Raises:
        InputError: It is a name, a text model, or a model of another library.
    """
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


def predict_inputs(model: ModelLike, inputs: Sequence[ModelInput]) -> list[Prediction]:
    """Classify preprocessed pictures in one batch.

    Args:
        model: As in `predict`.
        inputs: From `prepare`, for the configuration of this model.

    Returns:
        One prediction for each picture, which may have several digits.

    Raises:
        InputError: The model returns NaN or infinite logits.
    """
    if not inputs:
        return []
    config = model.config
    flat = [item for picture in inputs for item in _all_inputs(picture)]
    images = torch.stack([item.pixels for item in flat])
    rows = predict_probabilities(model, images, BATCH_SIZE)
    temperature = config.threshold_temperature
    certainties = certainty_of(rows, images, temperature, config.certainty_weights)
    predictions = (
        prediction_of(
            row if item.found else (),
            config.labels,
            item.warnings,
            item.pixels,
            certainty=certainty,
            doubtful_below=config.doubtful_below,
            rejected_below=0.0 if item.is_coarse else config.rejected_below,
            box=item.box,
        )
        for row, certainty, item in zip(rows.tolist(), certainties.tolist(), flat, strict=True)
    )
    return [_prediction_for(picture, predictions, temperature) for picture in inputs]


def _all_inputs(picture: ModelInput) -> Iterator[ModelInput]:
    yield picture
    for item in (*picture.parts, *(part for _, _, part in picture.segments)):
        yield from _all_inputs(item)


def _prediction_for(
    picture: ModelInput, predictions: Iterator[Prediction], temperature: float
) -> Prediction:
    """The prediction for a picture from those for itself, its parts and its segments, in turn."""
    whole = next(predictions)
    parts = [_prediction_for(part, predictions, temperature) for part in picture.parts]
    segments = [(first, stop, next(predictions)) for first, stop, _ in picture.segments]
    return one_or_several(one_or_touching(whole, segments, temperature), parts)


def predict_probabilities(
    model: ModelLike, images: UInt8[Tensor, "n channels height width"], batch_size: int = 1000
) -> Float[Tensor, "n classes"]:
    """Class probabilities, softmax(logits), in float64 on the CPU.

    Args:
        model: Runs on its own device, in its own number type and in evaluation mode; each module's
            own mode is restored afterwards.
        images: Pixels from 0 to 255 in the model's input size.
        batch_size: Images in a forward pass.

    Returns:
        A row for each image.

    Raises:
        InputError: The model returns NaN or infinite logits.
        ConfigError: `batch_size` is not an integer of at least 1.
    """
    check("batch_size", batch_size, integer(1))
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
    model: ModelLike, engine: EngineChoice, batch_size: int = 2 * STREAMED[-1]
) -> ModelLike:
    """The model with an engine; unchanged with "torch", or if it has one already."""
    if engine == "torch":
        return model
    from clearhead.inference._engines import load_engine  # imports torch.export, which takes long

    return load_engine(model, engine, batch_size=batch_size)
