import numpy as np
import pytest
from PIL import Image

from clearhead.data import to_grey
from clearhead.data.preprocessing.scaling import area_weights, resize_area
from clearhead.errors import ImageError

HEIGHT, WIDTH = 7, 11
RAMP = np.linspace(0, 255, HEIGHT * WIDTH).round().astype(np.uint8).reshape(HEIGHT, WIDTH)
GREY = Image.fromarray(RAMP)
EXPECTED = RAMP / 255


def opaque() -> Image.Image:
    image = GREY.convert("RGBA")
    image.putalpha(255)
    return image


@pytest.mark.parametrize(
    "image",
    [
        GREY,
        GREY.convert("RGB"),
        GREY.convert("LA"),
        opaque(),
        GREY.convert("CMYK"),
        GREY.convert("P"),
        GREY.convert("I"),
        GREY.convert("I;16"),
        Image.fromarray(RAMP.astype(np.uint16) * 257),
        Image.fromarray(RAMP.astype(np.int32) * 257),
        Image.fromarray((RAMP / 255).astype(np.float32)),
    ],
    ids=lambda image: image.mode,
)
def test_every_mode_gives_the_same_luminance(image: Image.Image) -> None:
    np.testing.assert_allclose(to_grey(image), EXPECTED, atol=1e-6)
    assert to_grey(image).dtype == np.float32


def test_one_bit_is_black_and_white() -> None:
    image = GREY.point(lambda value: 255 * (value > 99)).convert("1")
    np.testing.assert_array_equal(to_grey(image), RAMP > 99)


def test_colours_are_weighted_as_in_bt_601() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8)
    grey = to_grey(Image.fromarray(colours))
    np.testing.assert_allclose(grey[0], [0.299, 0.587, 0.114], atol=1 / 255)


def test_16_bits_are_not_clipped_to_8() -> None:
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 800
    assert len(np.unique(to_grey(Image.fromarray(values)))) == HEIGHT * WIDTH


@pytest.mark.parametrize(("ink", "paper"), [(0, 1.0), (255, 0.0)])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_ink_of_one_colour_is_composited_on_the_other(mode: str, ink: int, paper: float) -> None:
    image = Image.new("L", (WIDTH, HEIGHT), ink).convert(mode)
    image.putalpha(GREY)
    np.testing.assert_allclose(
        to_grey(image), EXPECTED * ink / 255 + paper * (1 - EXPECTED), atol=1 / 255
    )


def test_a_sheet_with_transparent_corners_keeps_its_background() -> None:
    sheet = np.full((HEIGHT, WIDTH), 230, dtype=np.uint8)
    sheet[2:5, 4:6] = 20
    image = Image.fromarray(sheet).convert("LA")
    alpha = Image.new("L", (WIDTH, HEIGHT), 255)
    alpha.putpixel((0, 0), 0)
    image.putalpha(alpha)
    np.testing.assert_allclose(to_grey(image), sheet / 255, atol=1 / 255)


def test_a_palette_with_a_transparent_colour_keeps_its_ink() -> None:
    image = Image.new("P", (WIDTH, HEIGHT), 0)
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.putpixel((5, 3), 1)
    image.info["transparency"] = 0
    grey = to_grey(image)
    assert grey[3, 5] == 0
    assert grey.sum() == HEIGHT * WIDTH - 1


def test_a_transparent_image_is_white() -> None:
    np.testing.assert_array_equal(to_grey(Image.new("RGBA", (WIDTH, HEIGHT))), 1)


def test_floats_beyond_1_are_stretched_into_range() -> None:
    image = Image.fromarray((RAMP / 255 * 8 - 2).astype(np.float32))
    grey = to_grey(image)
    np.testing.assert_allclose(grey, EXPECTED, atol=0.01)
    assert (grey.min(), grey.max()) == (0, 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_an_error(value: float) -> None:
    values = (RAMP / 255).astype(np.float32)
    values[3, 5] = value
    with pytest.raises(ImageError, match="not numbers"):
        to_grey(Image.fromarray(values))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "F", "I", "I;16"])
def test_large_images_are_averaged_down(mode: str) -> None:
    image = Image.new(mode, (3 * 1024 + 1, 5))
    assert to_grey(image).shape in [(2, 1025), (1, 1024)]


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_a_single_row_of_pixels_is_kept(mode: str) -> None:
    assert to_grey(Image.new(mode, (5000, 1))).shape[0] == 1


def test_resizing_by_area_averages_over_the_covered_pixels() -> None:
    # 5 pixels to 2: each covers two and a half
    np.testing.assert_allclose(area_weights(5, 2), np.array([[2, 2, 1, 0, 0], [0, 0, 1, 2, 2]]) / 5)
    for inputs, outputs in ((97, 20), (23, 7), (20, 20), (31, 1)):
        np.testing.assert_allclose(area_weights(inputs, outputs).sum(axis=1), 1)
    values = np.random.default_rng(0).random((53, 37))
    smaller = resize_area(values, 19, 13)
    assert smaller.shape == (19, 13)
    assert smaller.mean() == pytest.approx(values.mean(), rel=1e-6)


def test_enlarging_stays_within_0_and_1() -> None:
    values = np.random.default_rng(0).integers(0, 2, (5, 7)).astype(float)
    larger = resize_area(values, 17, 23)
    assert larger.shape == (17, 23)
    assert (larger.min(), larger.max()) == (0, 1)
