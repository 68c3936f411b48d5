"""Enlarged scans are reduced to their original size; other images are left as they are."""

from functools import cache

import numpy as np
import pytest
from numpy import ndarray
from PIL import Image, ImageFilter

from clearhead import load, predict
from clearhead.data import load_dataset, to_grey
from clearhead.data.preprocessing.resolution import at_original_size
from clearhead.data.preprocessing.scaling import resize_area
from tests.marks import slow_after

FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


@cache
def digits() -> ndarray:
    return np.array(load_dataset("mnist", "train").images[50_000:50_020, 0].numpy())


def scan_of(digit: ndarray, high: int, wide: int) -> Image.Image:
    """A digit cut to its ink, dark on white, at a size."""
    rows, columns = (np.flatnonzero(digit.any(axis=axis)) for axis in (1, 0))
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / np.float32(255)
    return Image.fromarray(np.rint(255 * (1 - resize_area(ink, high, wide))).astype(np.uint8))


@pytest.mark.parametrize(("high", "wide"), [(8, 8), (16, 16), (20, 14), (4, 31)])
@pytest.mark.parametrize("factor", [2, 5, 12.5, 21.3])
def test_repeated_pixels_of_a_scan_are_one_by_any_factor(
    high: int, wide: int, factor: float
) -> None:
    scan = np.random.default_rng(high).integers(0, 256, (high, wide), dtype=np.uint8)
    size = round(high * factor), round(wide * factor)
    for shift in (0.5, 0.0):  # the middle of a pixel or its beginning is looked up
        rows, columns = (
            ((np.arange(large) + shift) * small / large).astype(int)
            for large, small in zip(size, scan.shape, strict=True)
        )
        found = to_grey(Image.fromarray(scan[np.ix_(rows, columns)]))
        np.testing.assert_array_equal(found, np.float32(scan / 255))


def test_a_single_pixel_is_not_a_repetition() -> None:
    scan = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    image = scan.repeat(9, axis=0).repeat(9, axis=1)
    image[38, 38] ^= 1
    assert to_grey(Image.fromarray(image)).shape == image.shape


@pytest.mark.parametrize("side", [64, 100, 160, 416])
def test_a_bilinear_scan_of_8_pixels_has_its_values_again(side: int) -> None:
    for digit in digits()[:2]:
        scan = scan_of(digit, 8, 8)
        found = to_grey(scan.resize((side, side), Image.Resampling.BILINEAR))
        assert found.shape == (8, 8)
        assert np.abs(found - np.asarray(scan) / 255).max() < 0.1


@pytest.mark.parametrize("resampling", FILTERS[:2], ids=lambda x: x.name)
@pytest.mark.parametrize("side", [8, 12, 16, 24])
def test_an_interpolated_scan_has_its_size_again(resampling: Image.Resampling, side: int) -> None:
    scans = (scan_of(digit, side, side) for digit in digits()[3:6])
    found = [to_grey(scan.resize((200, 200), resampling)).shape for scan in scans]
    assert found == [(side, side)] * 3


def test_sharp_images_scans_and_paper_are_unchanged() -> None:
    paper = np.linspace(0.6, 0.9, 90_000, dtype=np.float32).reshape(300, 300)
    blank = np.ones((80, 60), dtype=np.float32)
    for digit in digits():
        image = Image.fromarray(digit)
        sharp = image.resize((280, 280), Image.Resampling.BICUBIC).point(lambda x: 255 * (x > 127))
        soft = sharp.filter(ImageFilter.GaussianBlur(1.5))
        for unchanged in (image, sharp, soft):
            grey = np.asarray(unchanged) / np.float32(255)
            assert at_original_size(grey) is grey
    assert at_original_size(paper) is paper
    assert at_original_size(blank) is blank


def test_a_small_digit_on_a_large_soft_sheet_keeps_its_pixels() -> None:
    for digit in digits()[:3]:
        sheet = np.full((400, 300), 0.9, dtype=np.float32)
        sheet[100:128, 200:228] -= digit / np.float32(300)
        assert at_original_size(sheet) is sheet


@pytest.mark.parametrize("resampling", slow_after(1, FILTERS), ids=lambda x: x.name)
def test_enlarged_scans_of_8_pixels_are_classified_as_the_scans(
    resampling: Image.Resampling,
) -> None:
    model = load("digits")
    scans = [scan_of(digit, 8, 8) for digit in digits()[:10]]
    expected = predict(model, scans)
    found = predict(model, [scan.resize((170, 170), resampling) for scan in scans])
    same = sum(
        (a.label, a.status) == (b.label, b.status) for a, b in zip(expected, found, strict=True)
    )
    assert same >= 9
