"""From a picture to a prediction.

`predict` does it in two steps, which the server, jobs and explanations use, too:

- `prepare` loads a picture and makes model inputs of it. For the digit classifier,
  `digit_and_parts` (in `data.preprocessing.digits`) groups the ink that `find_ink` finds into
  digits, and its `_digit` scales and centres each of them as in MNIST.
- `predict_inputs` runs the model, compares the certainties with the thresholds, and decides
  whether a picture shows one digit or several.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from io import IOBase
from itertools import chain, islice, repeat
from math import ceil, floor
from typing import cast, overload

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from clearhead._validate import check, integer
from clearhead.data import Digit, ImageSource, load_image, normalize, resize_and_crop, to_grey
from clearhead.data.preprocessing.digits import TOO_SMALL, digit_and_parts
from clearhead.data.preprocessing.image import REDUCED_BY
from clearhead.data.preprocessing.scaling import SIDE
from clearhead.errors import ImageError, InputError
from clearhead.inference._certainty import certainty_of
from clearhead.inference._model import ModelLike, check_image_model, evaluation_mode, with_engine
from clearhead.inference._names import EngineChoice
from clearhead.inference._parallel import map_files
from clearhead.inference._prediction import (
    Box,
    ModelInput,
    Prediction,
    one_or_several,
    one_or_touching,
    prediction_of,
)
from clearhead.models.config import ImageModelConfig

BATCH_SIZE = 128
STREAMED = (1, 2, 4, 8, 16)  # pictures in the first batches, so that predictions come at once
MAX_COARSE = 10  # pixels on the longer side of the ink


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


def prepare(image: ImageSource, config: ImageModelConfig, *, single: bool = False) -> ModelInput:
    """Preprocess a picture for a model with this configuration.

    Args:
        image: Anything that `predict` accepts as one picture.
        config: The model's configuration.
        single: Whether to take the picture as one digit, and to ignore the rest of its ink.

    Returns:
        For the digit classifier, the digit that was found, as in MNIST, or several as its `parts`;
        for other models, the whole picture in the model's input size.

    Raises:
        ImageError: The picture cannot be read.
    """
    picture = load_image(image)
    if not uses_digit_preprocessing(config):
        return ModelInput(resize_and_crop(picture, config.image_shape, config.in_channels))
    grey = to_grey(picture)

    def model_input(digit: Digit) -> ModelInput:
        left, top, right, bottom = digit.box
        is_small = digit.found and max(right - left, bottom - top) <= MAX_COARSE
        return ModelInput(
            torch.from_numpy(digit.pixels)[None],
            digit.warnings,
            digit.found,
            _box_in(picture, digit, grey.shape) if digit.found else None,
            tuple(map(model_input, digit.parts)),
            tuple((first, stop, model_input(part)) for first, stop, part in digit.segments),
            is_small and TOO_SMALL not in digit.warnings,
        )

    return model_input(digit_and_parts(grey, single=single))


def _box_in(picture: Image.Image, digit: Digit, shape: tuple[int, ...]) -> Box:
    """The digit's box in pixels of the picture before it was reduced."""
    reduced_by = picture.info.get(REDUCED_BY, 1)
    across, down = (
        side * reduced_by / small for side, small in zip(picture.size, shape[::-1], strict=True)
    )
    left, top, right, bottom = digit.box
    return floor(left * across), floor(top * down), ceil(right * across), ceil(bottom * down)


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
    flat = [item for picture in inputs for item in picture.flat()]
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

    def prediction_for(picture: ModelInput) -> Prediction:
        whole = next(predictions)
        parts = [prediction_for(part) for part in picture.parts]
        segments = [(first, stop, next(predictions)) for first, stop, _ in picture.segments]
        return one_or_several(one_or_touching(whole, segments, temperature), parts)

    return [prediction_for(picture) for picture in inputs]


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
    prepare_one = partial(_prepared, config=model.config, single=single)
    prepared = map_files(prepare_one, images, num_workers)
    for size in chain(STREAMED, repeat(2 * STREAMED[-1])):
        batch = list(islice(prepared, size))
        if not batch:
            return
        inputs = [result for result in batch if not isinstance(result, ImageError)]
        predictions = iter(predict_inputs(model, inputs))
        for result in batch:
            yield result if isinstance(result, ImageError) else next(predictions)


def _prepared(
    image: ImageSource | ImageError, config: ImageModelConfig, *, single: bool
) -> ModelInput | ImageError:
    if isinstance(image, ImageError):
        return image
    try:
        return prepare(image, config, single=single)
    except ImageError as error:
        return error


def uses_digit_preprocessing(config: ImageModelConfig) -> bool:
    """Whether `prepare` looks for a digit and redraws it as in MNIST.

    True for models of MNIST itself: one channel, 28 × 28 pixels, ten classes without names. A
    model trained on a folder has named classes, even if these are digits; its input is the whole
    picture, as in its training.

    Args:
        config: The model's configuration.

    Returns:
        True if it does; False if the whole picture becomes the input.
    """
    shape = (config.in_channels, config.image_shape, config.num_classes)
    return shape == (1, (SIDE, SIDE), 10) and not config.class_names
