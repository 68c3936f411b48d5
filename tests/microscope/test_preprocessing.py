"""The page preprocesses pictures as Python does: the same boxes, warnings and predictions."""

import io
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
from clearhead.inference import Prediction, predict, prepare
from clearhead.models import load
from tests.data.preprocessing.scenes import enlarged, paper
from tests.microscope.driver import Microscope
from tests.microscope.kinds import DRAWN, KINDS
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


def outcomes(prediction: Prediction) -> list[int]:
    """Status, class and box of each digit that was found; a doubt about all is one about each."""
    digits = prediction.digits or (prediction,)
    of_all = {*prediction.warnings}.difference(*(one.warnings for one in digits))
    return [
        number
        for one in digits
        if one.box
        for number in (
            STATUSES.index("doubtful" if one.label and of_all else one.status),
            int(np.argmax(one.probabilities)),
            *one.box,
        )
    ]


def drawn(kind: str, mnist: "ImageDataset", number: int) -> Image.Image:
    random = np.random.default_rng([number, sum(map(ord, kind))])
    picture = KINDS[kind](mnist.images[number, 0].numpy(), random)
    return Image.fromarray(np.ascontiguousarray(picture))


def assert_same_digits(bridge: Bridge, pictures: dict[str, Image.Image]) -> list[Digit]:
    """All that Python finds in pictures; the page finds the same, within `TOLERANCE`."""
    found = bridge.call(*[("picture", argument(picture)) for picture in pictures.values()])
    digits = [digit_and_parts(to_grey(picture)) for picture in pictures.values()]
    for name, digit, numbers in zip(pictures, digits, found, strict=True):
        count = int(numbers[0])
        assert numbers[1 : count + 1].tolist() == outline(digit), name
        difference = np.abs(numbers[count + 1 :] - np.concatenate([*inputs(digit)]))
        assert difference.max(initial=0) <= TOLERANCE, name
    return digits


def test_the_page_finds_and_scales_the_same_digits(
    bridge: Bridge, mnist_test: "ImageDataset"
) -> None:
    names = [*DRAWN, "light desk, tilted", "squared, strong", "box, touching", "solid patch"]
    digits = assert_same_digits(bridge, {name: drawn(name, mnist_test, 6) for name in names})
    assert any(digit.segments for digit in digits)
    assert any(digit.parts and digit.found for digit in digits)
    flat = [one for digit in digits for one in (digit, *digit.parts)]
    assert {warning for digit in flat for warning in digit.warnings} > {*WARNINGS}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_finds_the_same_digits_in_all_kinds_of_pictures(
    kind: str, bridge: Bridge, mnist_test: "ImageDataset"
) -> None:
    assert_same_digits(bridge, {str(n): drawn(kind, mnist_test, n) for n in range(4)})


def test_the_page_decides_as_predict_does_whether_ink_is_one_digit_or_several(
    bridge: Bridge, page_file: "Path", mnist_test: "ImageDataset", twin: "VisionTransformer"
) -> None:
    kinds = ("dot matrix", "seven segments", "polygon", "bent stroke", "letter", "very little ink")
    pictures = [drawn(kind, mnist_test, n) for kind in kinds for n in (3, 5)]
    pictures += [joined(mnist_test, *pair) for pair in ((3, 4), (0, 18))]
    found = bridge.call(*[("predicted", argument(one)) for one in pictures], page=page_file)
    predictions = [predict(twin, one) for one in pictures]
    assert [one.tolist() for one in found] == [outcomes(one) for one in predictions]
    assert {one.status for one in predictions} == {*STATUSES}
    assert any(len(one.digits) == 2 for one in predictions[-2:])


def joined(mnist: "ImageDataset", *indices: int) -> Image.Image:
    """Digits of the test set, written into each other."""
    sheet, x = np.zeros((120, 300)), 20
    for index in indices:
        ink = enlarged(mnist.images[index, 0].numpy(), 84)
        area = sheet[18 : 18 + ink.shape[0], x : x + ink.shape[1]]
        np.maximum(area, ink, out=area)
        x += ink.shape[1] - 6
    return Image.fromarray(np.uint8(255 * (1 - sheet)))


@pytest.mark.parametrize("size", [(37, 23), (2100, 9)])
@pytest.mark.parametrize("alpha", ["opaque", "of one colour", "of many colours"])
def test_luminance_is_that_of_python(bridge: Bridge, size: tuple[int, int], alpha: str) -> None:
    random = np.random.default_rng(7)
    pixels = random.integers(0, 256, (size[1], size[0], 4), np.uint8)
    if alpha == "opaque":
        pixels[..., 3] = 255
    elif alpha == "of one colour":
        pixels[..., :3] = 40
    picture = Image.fromarray(pixels)
    (found,) = bridge.call(("grey", argument(picture)))
    difference = np.abs(found - to_grey(picture).ravel())
    assert difference.max() < 3 / 255  # Pillow averages bytes that are multiplied with alpha
    assert difference.mean() < 1 / 255


def test_a_photo_is_opened_in_the_browser_as_in_python(
    microscope: Microscope, mnist_test: "ImageDataset"
) -> None:
    """Of more than 4 megapixels, so that it is decoded at half its size."""
    sheet = paper(1700, 2500, np.random.default_rng(1))
    ink = enlarged(mnist_test.images[4, 0].numpy(), 400)
    sheet[600 : 600 + ink.shape[0], 900 : 900 + ink.shape[1]] *= 1 - 0.8 * ink
    file = io.BytesIO()
    Image.fromarray(np.uint8(255 * sheet)).save(file, "JPEG", quality=90)
    expected = prepare(file.getvalue(), load().config).pixels[0].numpy()
    microscope.show()
    upload = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}
    microscope.page.locator("input[type=file]").set_input_files(upload)  # type: ignore[arg-type]
    microscope.page.wait_for_selector("text=A picture is open", state="attached")
    (shown,) = microscope.evaluate(
        "() => clearhead.store.state.value.images.map((image) => Array.from(image))"
    )
    difference = np.abs(np.reshape(shown, (28, 28)) - expected)
    assert difference.max() <= 12
    assert difference.mean() < 0.5
    assert microscope.frames().text(".prediction-label")[0] == "4"
