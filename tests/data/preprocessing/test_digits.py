import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy import ndarray
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from clearhead.data import (
    Digit,
    ImageDataset,
    extract_digit,
    find_digits,
    load_image,
    normalize,
    to_grey,
)
from clearhead.data.preprocessing.digits import (
    DOTTED,
    MANY_LOOPS,
    NO_DIGIT,
    SEVERAL,
    SLASH,
    TOO_SMALL,
    _strokes,
)
from clearhead.data.preprocessing.groups import _belong_together, reading_order
from clearhead.data.preprocessing.scaling import as_in_mnist
from clearhead.data.preprocessing.strokes import to_middle
from clearhead.models import ImageModel, load

from .drawings import FONTS, load_font, printed, stroke

COUNT = 10


def read(image: Image.Image) -> Digit:
    return extract_digit(to_grey(image))


def encoded(image: Image.Image, name: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def larger(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((28 * factor, 28 * factor), Image.Resampling.BICUBIC)


def one_bit(image: Image.Image) -> Image.Image:
    return image.point(lambda value: 255 * (value > 110)).convert("1")


def off_centre(image: Image.Image, number: int) -> Image.Image:
    return ImageOps.expand(image, (number % 40, number * 7 % 31, number * 3 % 37, number % 5))


# How a digit is stored, the minimum share of digits that must remain nearest to themselves, and the
# maximum mean difference in grey levels.
VARIANTS: dict[str, tuple[Callable[[Image.Image, int], bytes], float, float]] = {
    "as it is": (lambda image, _: encoded(image), 1.0, 1),
    "inverted": (lambda image, _: encoded(ImageOps.invert(image)), 1.0, 1),
    "1 bit": (lambda image, _: encoded(one_bit(image)), 0.995, 12),
    "off centre": (lambda image, number: encoded(off_centre(image, number)), 1.0, 1),
    "tight crop": (lambda image, _: encoded(image.crop(image.getbbox())), 0.97, 6),
    "3 times larger": (lambda image, _: encoded(larger(image, 3)), 0.97, 10),
    "10 times larger": (lambda image, _: encoded(larger(image, 10)), 0.97, 13),
    "pale grey": (
        lambda image, _: encoded(image.point(lambda value: 120 - value // 4)),
        0.995,
        3,
    ),
    "JPEG, quality 50": (lambda image, _: encoded(image, "JPEG", quality=50), 0.98, 10),
}


@pytest.fixture(scope="module")
def digits(mnist_test: ImageDataset) -> ndarray:
    return np.asarray(mnist_test.images[:COUNT, 0].numpy())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_digit_is_the_same_however_it_is_stored(digits: ndarray, name: str) -> None:
    store, min_share, max_distance = VARIANTS[name]
    out = stored_and_extracted(digits, store)
    distance = apart(out[:, None], digits[None])
    share = (distance.argmin(axis=1) == np.arange(COUNT)).mean()
    assert share >= min_share
    assert distance.diagonal().mean() <= max_distance
    assert agreement(load("digits"), digits, out) >= 1 - 1 / COUNT


def stored_and_extracted(digits: ndarray, store: Callable[[Image.Image, int], bytes]) -> ndarray:
    """The digits extracted from files of the digits."""
    files = [store(Image.fromarray(digit), number) for number, digit in enumerate(digits)]
    return np.stack([read(load_image(data)).pixels for data in files])


def agreement(model: ImageModel, digits: ndarray, out: ndarray) -> float:
    """The share of digits with the same predicted class."""

    def labels(pixels: ndarray) -> Tensor:
        with torch.inference_mode():
            images = normalize(torch.from_numpy(pixels)[:, None], model.config)
            classes: Tensor = model(images).argmax(dim=1)
        return classes

    return float((labels(digits) == labels(out)).double().mean())


def apart(first: ndarray, second: ndarray) -> ndarray:
    """The mean difference in grey levels, the smallest over shifts by up to one pixel.

    Where the centre of mass is between two pixels, noise decides which of them is taken.
    """
    second = second.astype(np.float32)
    moves = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    moved = [np.roll(first, move, axis=(-2, -1)).astype(np.float32) for move in moves]
    return np.asarray(np.min([np.abs(one - second).mean(axis=(-2, -1)) for one in moved], axis=0))


def test_mnist_itself_has_no_warnings(digits: ndarray) -> None:
    assert not any(read(Image.fromarray(digit)).warnings for digit in digits)


def mass_centre(pixels: ndarray) -> tuple[float, float]:
    y, x = np.mgrid[:28, :28]
    total = pixels.sum(dtype=float)
    return float((y * pixels).sum() / total), float((x * pixels).sum() / total)


def box_sides(pixels: ndarray) -> tuple[int, int]:
    visible = pixels > 255 * 0.15
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize(("digit", "font"), list(enumerate(2 * FONTS)))
def test_printed_digits_have_the_size_and_centre_of_mnist(digit: int, font: str) -> None:
    out = read(printed(str(digit), font=font))
    assert out.warnings == ()
    assert out.pixels.shape == (28, 28)
    assert out.pixels.dtype == np.uint8
    assert max(box_sides(out.pixels)) == pytest.approx(20, abs=1)
    assert mass_centre(out.pixels) == pytest.approx((14, 14), abs=0.6)
    assert out.pixels.max() == 255
    assert (out.pixels[0].max(), out.pixels[:, 0].max()) == (0, 0)


@pytest.mark.parametrize("place", [(1400, 300), (1791, 1387)])
def test_a_small_digit_on_a_large_sheet_is_searched_at_full_resolution(
    place: tuple[int, int],
) -> None:
    sheet = Image.new("L", (1901, 1499), 240)
    sheet.paste(printed("5", side=130).point(lambda value: value * 240 // 255), place)
    near, far = read(printed("5")).pixels.astype(float), read(sheet).pixels.astype(float)
    assert apart(near, far) < 5


def test_a_tiny_digit_is_enlarged() -> None:
    out = read(printed("2", size=10, side=9))
    assert max(box_sides(out.pixels)) >= 18
    assert out.warnings == ()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (8, 8), (97, 61), (600, 500)])
def test_a_blank_image_has_no_digit(shape: tuple[int, int]) -> None:
    for level in (0.0, 0.4, 1.0):
        out = extract_digit(np.full(shape, level, dtype=np.float32))
        assert out.warnings == (NO_DIGIT,)
        assert not out.found
        assert not out.pixels.any()


@pytest.mark.parametrize("shape", [(10, 18), (20, 12), (20, 20), (40, 60)])
@pytest.mark.parametrize("light", [False, True])
def test_a_solid_patch_is_not_a_digit(shape: tuple[int, int], light: bool) -> None:
    sheet = np.full((120, 130), 0.9, dtype=np.float32)
    sheet[30 : 30 + shape[0], 40 : 40 + shape[1]] = 0.1
    assert not extract_digit(1 - sheet if light else sheet).found


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (1, 30), (3, 3), (2, 50), (5, 4)])
def test_any_shape_and_content_gives_28_by_28(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(math.prod(shape))
    for _ in range(7):
        assert extract_digit(random.random(shape, dtype=np.float32)).pixels.shape == (28, 28)


@pytest.mark.parametrize("text", ["12", "33", "07", "888"])
def test_several_digits_are_flagged(text: str) -> None:
    assert SEVERAL in read(printed(text, size=45)).warnings


def test_very_little_ink_is_flagged() -> None:
    canvas = Image.new("L", (28, 28))
    canvas.paste(255, (12, 12, 14, 17))
    assert read(canvas).warnings == (TOO_SMALL,)


@pytest.mark.parametrize(("loops", "warned"), [(1, False), (2, False), (3, True), (5, True)])
def test_more_than_two_loops_are_flagged(loops: int, warned: bool) -> None:
    image = Image.new("L", (300, 300), 235)
    for loop in range(loops):
        centre = 60 + 40 * loop
        box = (130 - 25, centre - 25, 130 + 25, centre + 25)
        ImageDraw.Draw(image).ellipse(box, outline=20, width=8)
    assert (MANY_LOOPS in read(image).warnings) == warned


def test_specks_are_left_out() -> None:
    image = printed("3")
    clean = read(image).pixels
    image.putpixel((3, 120), 0)
    image.putpixel((125, 9), 0)
    np.testing.assert_array_equal(read(image).pixels, clean)


@pytest.mark.parametrize("text", ["427", "10", "3\n5", "12\n34"])
def test_several_digits_are_found_in_reading_order(text: str) -> None:
    page = Image.new("L", (300, 240), 255)
    ImageDraw.Draw(page).text((60, 20), text, font=load_font(FONTS[0], 80), fill=0)
    lines = text.split("\n")
    found = find_digits(to_grey(page))
    expected = [read(printed(digit)).pixels for digit in text.replace("\n", "")]
    assert len(found) == len(expected)
    for digit, alone in zip(found, expected, strict=True):
        assert apart(digit.pixels, alone) < 10
    tops = [digit.box[1] for digit in found]
    lefts = [digit.box[0] for digit in found]
    order = sorted(range(len(found)), key=lambda n: (tops[n] > 110, lefts[n]))
    assert order == list(range(len(found)))
    assert len(lines) in (1, 2)


def test_digits_of_different_heights_are_in_one_line() -> None:
    boxes = [(40, 0, 60, 30), (0, 10, 30, 100), (70, 38, 80, 90), (0, 120, 20, 160)]
    assert reading_order(boxes) == [1, 0, 2, 3]


def test_digits_in_a_long_line_keep_their_strokes() -> None:
    page = Image.new("L", (1400, 130), 255)
    ImageDraw.Draw(page).text((60, 40), "7249-0891", font=load_font(FONTS[0], 36), fill=0)
    found = find_digits(to_grey(page))
    expected = [read(printed(digit)).pixels for digit in "72490891"]
    assert len(found) == len(expected)
    assert all(apart(a.pixels, b) < 12 for a, b in zip(found, expected, strict=True))


def test_thick_strokes_become_thinner_and_nothing_else_appears() -> None:
    thick = read(Image.fromarray(np.uint8(255 - 255 * stroke(3, width=24)))).pixels
    assert max(box_sides(thick)) == pytest.approx(20, abs=1)
    assert (thick > 0).mean() < 0.5
    assert not thick[:2].any()
    assert not thick[:, :2].any()


@pytest.mark.parametrize(("text", "warned"), [("?", True), ("!", True), ("7", False), ("5", False)])
def test_a_dot_above_or_below_is_flagged(text: str, warned: bool) -> None:
    for font in FONTS:
        assert (DOTTED in read(printed(text, font=font)).warnings) is warned


@pytest.mark.parametrize(
    ("points", "warned"),
    [
        ([(100, 20), (100, 180)], False),
        ([(130, 20), (112, 90), (70, 180)], False),  # as writers slant a 1
        ([(118, 20), (82, 180)], False),
        ([(130, 20), (70, 180)], True),  # as with a ruler
        ([(120, 20), (96, 60), (90, 100), (96, 140), (120, 180)], True),
        ([(60, 60), (100, 20), (100, 180)], False),
        ([(20, 20), (180, 180)], True),
        ([(190, 30), (10, 170)], True),
        ([(20, 100), (180, 100)], True),
        ([(117, 20), (88, 60), (80, 100), (88, 140), (117, 180)], True),
        ([(83, 20), (112, 60), (120, 100), (112, 140), (83, 180)], True),
    ],
)
def test_a_stroke_that_writers_do_not_use_for_a_one_is_flagged(
    points: list[tuple[int, int]], warned: bool
) -> None:
    picture = Image.new("L", (200, 200), 255)
    ImageDraw.Draw(picture).line(points, 0, 9, joint="curve")
    assert (SLASH in read(picture).warnings) is warned


def beside_digits(slant: float, height: int, lean: float = 0) -> tuple[str, ...]:
    """The warnings for a ruled stroke between two digits that are 100 pixels high and lean."""
    page = Image.new("L", (400, 260), 255)
    draw = ImageDraw.Draw(page)
    run, top = height * math.tan(math.radians(slant)), 130 - height // 2
    draw.line([(200 + run / 2, top), (200 - run / 2, top + height)], 0, 16)
    for x, digit in ((70, "3"), (270, "5")):
        draw.text((x, 130), digit, font=load_font(FONTS[0], 135), fill=0, anchor="lm")
    shear = math.tan(math.radians(lean))
    moved = (1, shear, -130 * shear, 0, 1, 0)
    page = page.transform(page.size, Image.Transform.AFFINE, moved, fillcolor=255)
    _, stroke, _ = find_digits(to_grey(page))
    return stroke.warnings


@pytest.mark.parametrize(
    ("slant", "height", "lean", "warned"),
    [
        *((0, 100, 0, False), (9, 100, 0, False), (5, 110, 0, False), (0, 100, 20, False)),
        *((19, 100, 0, True), (0, 145, 0, True), (12, 120, 0, True), (-19, 100, 20, True)),
    ],
)
def test_a_straight_stroke_is_compared_with_the_digits_beside_it(
    slant: float, height: int, lean: float, warned: bool
) -> None:
    assert (SLASH in beside_digits(slant, height, lean)) is warned


@pytest.mark.parametrize("font", [font for font in FONTS if "Oblique" not in font])  # touching
def test_printed_ones_are_not_slashes_and_slashes_and_bars_are_not_ones(font: str) -> None:
    for text in ("1114", "2017", "12/05", "7|14", "3/4/21"):
        page = ImageOps.expand(printed(text, font=font, side=400, size=80), 20, 255)
        flagged = [SLASH in digit.warnings for digit in find_digits(to_grey(page))]
        assert flagged == [mark in "/|" for mark in text]


@pytest.mark.parametrize(("slant", "warned"), [(9, False), (20, True)])
def test_a_straight_stroke_that_touches_a_digit_is_a_slash_if_it_is_slanted(
    slant: float, warned: bool
) -> None:
    page = Image.new("L", (300, 300), 255)
    draw = ImageDraw.Draw(page)
    draw.rectangle((60, 90, 140, 210), outline=0, width=14)
    run = 120 * math.tan(math.radians(slant))
    draw.line([(147 + run, 90), (147, 210)], 0, 14)
    (both,) = find_digits(to_grey(page))
    strokes = [part for _, _, part in both.segments if part.box[0] > 130]
    assert strokes
    assert any(SLASH in part.warnings for part in strokes) is warned


def test_specks_between_strokes_do_not_change_how_digits_that_touch_are_cut() -> None:
    page = Image.new("L", (300, 300), 255)
    draw = ImageDraw.Draw(page)
    draw.rectangle((60, 90, 140, 210), outline=0, width=14)
    draw.line([(147, 90), (147, 203), (220, 203)], 0, 14)
    (clean,) = find_digits(to_grey(page))
    for x, y in ((98, 120), (100, 150), (190, 100), (200, 140)):
        draw.rectangle((x, y, x + 3, y + 3), fill=0)
    (found,) = find_digits(to_grey(page))
    segments = [
        [(first, stop, part.box, part.pixels.tolist()) for first, stop, part in digit.segments]
        for digit in (clean, found)
    ]
    assert segments[0]
    assert segments[0] == segments[1]


@pytest.mark.parametrize("turned", [-8, 5])
def test_a_long_sheet_on_a_desk_is_not_a_one(turned: int) -> None:
    picture = Image.new("L", (300, 300), 60)
    ImageDraw.Draw(picture).rectangle((130, 60, 170, 240), 240)
    assert SLASH in read(picture.rotate(turned, Image.Resampling.BICUBIC, fillcolor=60)).warnings


@pytest.mark.parametrize("number", [2, 3, 5, 7])
@pytest.mark.parametrize("width", [14, 20])
def test_the_paper_of_a_tight_crop_is_not_taken_for_ink(number: int, width: int) -> None:
    ink = stroke(number, width).astype(np.float32)
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    crop = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    expected = extract_digit(ink).pixels.ravel()
    for grey in (crop, 1 - crop):
        assert np.corrcoef(extract_digit(grey).pixels.ravel(), expected)[0, 1] > 0.8


@pytest.mark.parametrize("width", [40, 50])
def test_the_corners_of_a_tight_crop_are_paper(width: int) -> None:
    ink = stroke(1, width).astype(np.float32)
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    crop = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    found, expected = (extract_digit(grey).pixels.ravel() for grey in (1 - crop, ink))
    assert np.corrcoef(found, expected)[0, 1] > 0.9


def test_a_bar_high_above_a_stroke_belongs_to_it_but_a_dot_does_not() -> None:
    five = (slice(21, 101), slice(0, 60))
    assert _belong_together((slice(0, 4), slice(10, 50)), five)
    assert not _belong_together((slice(0, 4), slice(28, 32)), five)
    assert _belong_together((slice(30, 85), slice(63, 70)), five)  # a shorter one close beside it
    assert not _belong_together((slice(25, 95), slice(63, 70)), five)  # a digit, as high


@pytest.mark.parametrize(
    ("gap", "width", "together"), [(2, 10, True), (2, 20, False), (2, 45, True), (9, 10, False)]
)
def test_pieces_above_each_other_are_one_stroke_if_thin_or_one_digit_if_not_too_high(
    gap: int, width: int, together: bool
) -> None:
    upper = (slice(0, 40), slice(0, width))
    lower = (slice(40 + gap, 80 + gap), slice(0, width))
    assert _belong_together(upper, lower) is together
    assert _belong_together(lower, upper) is together


def test_ink_of_nearly_the_right_size_is_not_resampled() -> None:
    ink = np.zeros((19, 12), dtype=np.float32)
    ink[:, 5] = ink[9] = 1
    assert np.unique(as_in_mnist(ink)).tolist() == [0, 1]


@pytest.mark.parametrize("turned", range(4))
def test_centring_cuts_nothing_off(turned: int) -> None:
    ink = np.zeros((20, 20), dtype=np.float32)
    ink[:, :3] = ink[10] = 1  # its centre of mass is near to one side
    pixels = to_middle(np.rot90(ink, turned), (28, 28), 0.0, round)
    assert pixels.sum() == ink.sum()
    assert [pixels[:, -1], pixels[0], pixels[:, 0], pixels[-1]][turned].any()


def test_very_thick_strokes_are_eroded() -> None:
    ink = np.ones((100, 40), dtype=np.float32)
    pixels = as_in_mnist(ink)
    assert (pixels > 0.5).any(axis=0).sum() <= 7  # scaled alone, the stroke has 8 columns


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("factor", [1, 3])
@pytest.mark.parametrize("text", ["4171", "15", "37\n24"])
def test_all_digits_of_a_tight_crop_are_found(text: str, factor: int, light: bool) -> None:
    image = ImageOps.invert(printed(text, side=300, size=60))
    image = image.crop(image.getbbox())
    image = image.resize([side * factor // 2 for side in image.size], Image.Resampling.BICUBIC)
    grey = to_grey(image if light else ImageOps.invert(image))
    assert len(find_digits(grey)) == len(text.replace("\n", ""))


@pytest.mark.parametrize("side", [33, 43])
@pytest.mark.parametrize("width", [1, 2])
def test_the_sides_of_a_frame_at_the_border_are_not_digits(side: int, width: int) -> None:
    alone = to_grey(printed("4", side=side, size=side - 2))
    framed = alone.copy()
    framed[:, :width] = framed[:, -width:] = 0.3
    (found,), (expected,) = find_digits(framed), find_digits(alone)
    assert found.box == expected.box


def test_noise_that_remains_without_lines_is_not_a_digit() -> None:
    sheet = np.full((150, 150), 0.9, dtype=np.float32)
    sheet[::30] = sheet[:, ::30] = 0.1
    sheet[45:85, 73:76] -= 0.12  # contrast 0.13, of the lines 0.89
    assert not extract_digit(sheet).found
    sheet[45:85, 73:76] -= 0.4
    assert extract_digit(sheet).found


def test_the_soft_edges_of_a_stroke_belong_to_it() -> None:
    ink = np.zeros((17, 31), dtype=np.float32)
    ink[5:9, 3:13] = 1
    ink[5:9, 13:23] = ink[11:13, 5:9] = 0.3
    expected = (ink > 0) & (np.arange(31) < 16)  # at most 3 pixels away, and connected
    expected[9:] = False
    np.testing.assert_array_equal(_strokes(ink, ink > 0.5, reach=3), expected)


def test_noise_of_the_paper_does_not_make_ink_paler() -> None:
    seen = 0.85 - 0.5 * stroke(3, width=9)
    noisy = seen + np.random.default_rng(0).normal(0, 0.04, seen.shape)
    clean, found = (extract_digit(x.astype(np.float32)).pixels for x in (seen, noisy.clip(0, 1)))
    assert found.mean() == pytest.approx(clean.mean(), rel=0.1)


def test_a_bar_beside_its_five_belongs_to_it_among_other_digits() -> None:
    page = Image.new("L", (300, 200), 255)
    draw = ImageDraw.Draw(page)
    draw.line([(80, 60), (76, 95), (100, 92), (115, 115), (100, 138), (72, 135)], 0, 8)
    draw.line([(92, 46), (130, 44)], 0, 8)  # apart from the rest of the 5
    draw.line([(210, 45), (210, 140)], 0, 8)
    five, one = find_digits(to_grey(page))
    assert five.box == pytest.approx((72, 41, 130, 142), abs=4)
    assert one.box == pytest.approx((206, 45, 214, 140), abs=4)


def test_ink_on_the_desk_is_left_out() -> None:
    seen = 0.9 - 0.8 * stroke(3)
    seen[:, :70] = 0.5
    seen[60:160, 30:36] = 0.1  # a scratch as long as a digit
    (found,) = find_digits(seen.astype(np.float32))
    assert found.box[0] > 70


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize("level", [0.35, 0.55])
def test_digits_where_light_falls_off_are_found(level: float, step: int) -> None:
    image = Image.new("L", (700, 150), 225)
    ImageDraw.Draw(image).text((50, 20), "4 2 7 5 3", font=load_font(FONTS[0], 100), fill=40)
    seen = to_grey(image) * np.linspace(1, level, 700, dtype=np.float32)[::step]
    assert len(find_digits(seen)) == 5


@pytest.mark.parametrize("gap", [2, 3])
@pytest.mark.parametrize("size", [24, 32])
def test_digits_close_to_the_lines_of_their_cells_are_found(gap: int, size: int) -> None:
    image = Image.new("L", (180, 60), 240)
    draw = ImageDraw.Draw(image)
    font = load_font(FONTS[0], size)
    for number, digit in enumerate("4212"):
        left = 20 + 35 * number
        draw.rectangle((left, 10, left + 35, 50), outline=60, width=2)
        place = left + 18, 50 - gap * (1 + number % 2)  # every other digit is farther from it
        draw.text(place, digit, font=font, fill=40, anchor="ms")
    assert len(find_digits(to_grey(image))) == 4


@pytest.mark.parametrize("share", [0.5, 0.65])
@pytest.mark.parametrize("shape", ["ellipse", "rounded_rectangle"])
def test_a_ring_around_a_digit_is_left_out(share: float, shape: str) -> None:
    image = Image.new("L", (500, 400), 230)
    draw = ImageDraw.Draw(image)
    size = round(200 * share / 0.73)  # capitals are 0.73 of the size
    draw.text((250, 200), "4", font=load_font(FONTS[0], size), fill=40, anchor="mm")
    options = {"radius": 40} if shape != "ellipse" else {}
    getattr(draw, shape)((150, 100, 350, 300), outline=40, width=9, **options)
    (digit,) = find_digits(to_grey(image))
    left, top, right, bottom = digit.box
    assert min(left - 150, top - 100, 350 - right, 300 - bottom) > 20


@pytest.mark.parametrize("mark", [((0, -8), (0, 8)), ((-20, 32), (20, -32))])
def test_a_mark_within_a_zero_belongs_to_it(mark: tuple[tuple[int, int], ...]) -> None:
    image = Image.new("L", (400, 400), 230)
    draw = ImageDraw.Draw(image)
    draw.ellipse((130, 100, 270, 300), outline=40, width=14)
    draw.line([(200 + x, 200 + y) for x, y in mark], fill=40, width=14)
    (digit,) = find_digits(to_grey(image))
    assert digit.box == pytest.approx((130, 100, 270, 300), abs=8)


@pytest.mark.parametrize(("margin", "count"), [(1, 4), (20, 3)])
def test_digits_at_the_border_count_if_the_others_reach_it_too(margin: int, count: int) -> None:
    page = Image.new("L", (200, 200 + margin), 255)
    draw = ImageDraw.Draw(page)
    font = load_font(FONTS[0], 60)
    for place, digit, anchor in (
        ((0, 60), "3", "lt"),
        ((60, 0), "5", "lt"),
        ((100, 200), "7", "lb"),
        ((200, 60), "2", "rt"),
    ):
        draw.text(place, digit, font=font, fill=0, anchor=anchor)
    assert len(find_digits(to_grey(page))) == count


def test_a_neighbour_that_is_cut_by_the_border_is_left_out() -> None:
    image = printed("282", side=150, size=80).crop((20, 20, 130, 130))
    (digit,) = find_digits(to_grey(image))
    assert not digit.warnings


@pytest.mark.parametrize("slope", [-0.3, 0.3])
def test_a_scan_in_uneven_light_has_its_digit(slope: float) -> None:
    even = to_grey(printed("5", side=32, size=24))
    across, down = np.mgrid[-1:1:32j, -1:1:32j]
    light = 0.45 * (1 + slope * across + slope * down) * (1 - 0.3 * (1 - even))
    noisy = light + np.random.default_rng(0).normal(0, 0.004, even.shape)
    found, expected = extract_digit(noisy.astype(np.float32)), extract_digit(even)
    assert found.box == expected.box


def display(digit: str, gap: int, thickness: int = 12) -> np.ndarray:
    """A digit of seven segments with gaps between them, dark on light."""
    segments = {"0": "abcdef", "1": "bc", "7": "abc", "8": "abcdefg", "2": "abged"}[digit]
    ends = {"a": (0, 0, 1, 0), "g": (0, 1, 1, 1), "d": (0, 2, 1, 2)}
    ends |= {"f": (0, 0, 0, 1), "b": (1, 0, 1, 1), "e": (0, 1, 0, 2), "c": (1, 1, 1, 2)}
    image = Image.new("L", (160, 220), 230)
    draw = ImageDraw.Draw(image)
    for name in segments:
        x0, y0, x1, y1 = (50 + 60 * value for value in ends[name])
        is_flat = y0 == y1
        along, across = gap, thickness // 2
        margin = (along, -across, -along, across) if is_flat else (-across, along, across, -along)
        box = [v + m for v, m in zip((x0, y0 - 10, x1, y1 - 10), margin, strict=True)]
        draw.rectangle(box, 30)
    return to_grey(image)


@pytest.mark.parametrize("gap", [5, 8, 10])
@pytest.mark.parametrize("digit", "01278")
def test_the_segments_of_a_display_are_one_digit(digit: str, gap: int) -> None:
    assert len(find_digits(display(digit, gap))) == 1


def test_ones_above_each_other_are_two() -> None:
    assert len(find_digits(to_grey(printed("1 4\n1 4", side=300)))) == 4
