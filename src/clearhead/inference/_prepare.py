"""From pictures to model inputs: all digits of a picture, and many pictures in parallel."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import chain, groupby, islice
from math import ceil, floor
from multiprocessing import current_process
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from clearhead._processes import ctrl_c_deferred, exit_with_parent
from clearhead._validate import check, integer, optional
from clearhead.data import (
    Digit,
    ImageSource,
    extract_digit,
    load_image,
    resize_and_crop,
    to_grey,
)
from clearhead.data.preprocessing.digits import TOO_SMALL, digit_and_parts
from clearhead.data.preprocessing.image import REDUCED_BY
from clearhead.data.preprocessing.scaling import SIDE
from clearhead.errors import ImageError
from clearhead.models.config import ImageModelConfig

POOL_AFTER = 1.0  # seconds of preprocessing; it takes about as many until the processes work
MAX_COARSE = 10  # pixels on the longer side of the ink
CHUNK, CHUNKS_AHEAD = 8, 3  # files that a process gets at once; chunks per process

NUM_WORKERS_RULE = optional(integer(0))

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; the last two are exclusive."""


@dataclass(frozen=True, eq=False)
class ModelInput:
    """A preprocessed picture.

    Attributes:
        pixels: What the model takes, from 0 to 255.
        warnings: Reasons to doubt a prediction.
        found: Whether the picture shows anything.
        box: Where the digit is, in pixels of the upright picture; None if it was not searched for.
        parts: The digits in reading order if the picture seems to show several; `pixels` then have
            all of them as one, in case that they are pieces of one.
        segments: What is between two cuts, with their numbers, if the digit may be several.
        is_coarse: Whether a digit has too few pixels to estimate its certainty, but is not a dot.
    """

    pixels: UInt8[Tensor, "channels height width"] = field(repr=False)
    warnings: tuple[str, ...] = ()
    found: bool = True
    box: Box | None = None
    parts: tuple["ModelInput", ...] = ()
    segments: tuple[tuple[int, int, "ModelInput"], ...] = ()
    is_coarse: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        # torch would send a tensor to another process through shared memory, in a file for each.
        pixels, *others = (getattr(self, field.name) for field in fields(self))
        return _from_numpy, (pixels.numpy(), *others)


Prepared = ModelInput | ImageError
Source = ImageSource | ImageError


def _from_numpy(pixels: np.ndarray, *others: Any) -> ModelInput:
    return ModelInput(torch.from_numpy(pixels), *others)


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

    return model_input(extract_digit(grey) if single else digit_and_parts(grey))


def _box_in(picture: Image.Image, digit: Digit, shape: tuple[int, ...]) -> Box:
    """The digit's box in pixels of the picture before it was reduced."""
    reduced_by = picture.info.get(REDUCED_BY, 1)
    across, down = (
        side * reduced_by / small for side, small in zip(picture.size, shape[::-1], strict=True)
    )
    left, top, right, bottom = digit.box
    return floor(left * across), floor(top * down), ceil(right * across), ceil(bottom * down)


def prepare_each(
    images: Iterable[Source],
    config: ImageModelConfig,
    *,
    single: bool = False,
    num_workers: int | None = None,
) -> Iterator[Prepared]:
    """The results of `prepare` in order, as soon as they are made; errors in their place.

    Args:
        images: Pictures, of which only few are taken in advance, and errors in place of others.
        config: The model's configuration.
        single: As in `prepare`.
        num_workers: Processes that read and preprocess files, while pictures in memory are
            preprocessed in this process. By default, once this has taken a second, one for each
            core of the CPU.
    """
    check("num_workers", num_workers, NUM_WORKERS_RULE)
    prepared = partial(_prepared, config=config, single=single)
    seconds = 0.0 if num_workers else POOL_AFTER
    for is_file, group in groupby(images, lambda image: isinstance(image, str | Path)):
        for image in group:
            if is_file and seconds <= 0 and num_workers != 0:
                files = chain([image], group)  # noqa: B031 - the rest of the group, used once
                yield from _in_processes(files, prepared, num_workers)
                continue
            started = perf_counter()
            result = prepared(image)
            seconds -= perf_counter() - started
            yield result


def _in_processes(
    files: Iterator[Source],
    prepared: "partial[Prepared]",
    num_workers: int | None,
) -> Iterator[Prepared]:
    # Threads would not do: most of the preprocessing holds the GIL. Unlike those of the standard
    # library, these processes do not import the script that is running, which may lack a guard.
    from joblib import cpu_count
    from joblib.externals.loky import ProcessPoolExecutor

    workers = num_workers or cpu_count()
    if current_process().daemon or (num_workers is None and workers == 1):
        yield from map(prepared, files)
        return
    pool = ProcessPoolExecutor(workers, initializer=exit_with_parent)
    waiting: deque[Future[list[Prepared]]] = deque()
    try:
        with ctrl_c_deferred():
            started = pool.submit(exit_with_parent)
        while not started.done() and (file := next(files, None)) is not None:
            yield prepared(file)
        while True:
            while len(waiting) < CHUNKS_AHEAD * workers and (chunk := [*islice(files, CHUNK)]):
                waiting.append(pool.submit(_all_prepared, prepared, chunk))
            if not waiting:
                return
            yield from waiting.popleft().result()
    except BrokenExecutor as error:
        raise ImageError(
            "a process that preprocesses pictures has ended; is the memory full? With "
            "num_workers=0 pictures are preprocessed one after another"
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def _all_prepared(prepared: "partial[Prepared]", files: Sequence[Source]) -> list[Prepared]:
    return [prepared(file) for file in files]


def _prepared(image: Source, config: ImageModelConfig, *, single: bool) -> Prepared:
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
