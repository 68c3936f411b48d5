"""The page preprocesses pictures as Python does: the same digits, boxes, warnings and answers."""

from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image

from clearhead.data.preprocessing import digits as python
from clearhead.data.preprocessing.digits import Digit, digit_and_parts
from clearhead.data.preprocessing.image import to_grey
from clearhead.inference import Prediction, predict
from tests.microscope.kinds import KINDS
from tests.microscope.node import Bridge

if TYPE_CHECKING:
    from pathlib import Path

    from clearhead.data import ImageDataset
    from clearhead.models.vit import VisionTransformer

NAMES = "SEVERAL TOO_SMALL MANY_LOOPS DOTTED SLASH POLYGON".split()
WARNINGS = [getattr(python, name) for name in NAMES]  # in the order of the page
STATUSES = ("confident", "doubtful", "rejected")
TOLERANCE = 3  # of 255


def argument(picture: Image.Image) -> dict[str, Any]:
    """A picture for the page's functions."""
    plain = picture if picture.mode == "L" else picture.convert("RGBA")
    data = b64encode(plain.tobytes()).decode()
    return {"width": picture.width, "height": picture.height, "data": data}


def outline(digit: Digit) -> list[int]:
    """All but the pixels, as the page's functions give it."""
    cuts = [number for first, stop, _ in digit.segments for number in (first, stop)]
    coded = sorted(map(WARNINGS.index, digit.warnings)) if digit.found else []
    own = [int(digit.found), *digit.box, len(coded), *coded]
    inner = [number for other in others(digit) for number in outline(other)]
    return [*own, len(digit.parts), len(digit.segments), *cuts, *inner]


def inputs(digit: Digit) -> Iterator[ndarray]:
    yield digit.pixels.ravel()
    for other in others(digit):
        yield from inputs(other)


def others(digit: Digit) -> list[Digit]:
    return [*digit.parts, *(part for _, _, part in digit.segments)]


def answers(prediction: Prediction) -> list[int]:
    """Status, class and box of each digit that was found; a doubt about all is one about each."""
    digits = prediction.digits or (prediction,)
    are_doubtful = prediction.status == "doubtful" and not any(one.warnings for one in digits)
    return [
        number
        for one in digits
        if one.box
        for number in (
            STATUSES.index("doubtful" if are_doubtful else one.status),
            int(np.argmax(one.probabilities)),
            *one.box,
        )
    ]
