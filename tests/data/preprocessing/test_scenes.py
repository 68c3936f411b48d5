"""Digits on generated pictures, as people take them: each kind is classified as MNIST is."""

import numpy as np
import pytest
import torch

from clearhead.data import ImageDataset, extract_digit, find_digits
from clearhead.inference._predict import predict_probabilities
from clearhead.models import load

from .scenes import NO_DIGITS, SCENES, enlarged, paper, photographed, written

COUNT = 6
QUICK = (
    "MNIST", "on paper", "light on dark", "shadow", "dark desk, tilted", "light desk, all sides",
    "box, touching", "form cells", "one rule through", "ruled, strong", "squared, strong, tilted",
    "crop 20 × 20, very thick", "crop enlarged", "scan 16 × 16, binary", "scan 8 × 8",
)  # fmt: skip


def pictures(name: str, mnist: ImageDataset, first: int = 0) -> list[np.ndarray]:
    scene = (SCENES | NO_DIGITS)[name]
    return [
        scene(mnist.images[k, 0].numpy(), np.random.default_rng([k, sum(map(ord, name))]))
        for k in range(first, COUNT)
    ]


def num_right(name: str, mnist: ImageDataset, first: int = 0) -> int:
    """How many digits are classified right on these pictures."""
    seen = pictures(name, mnist, first)
    found = [extract_digit(picture.astype(np.float32) / 255) for picture in seen]
    pixels = torch.from_numpy(np.stack([digit.pixels for digit in found]))[:, None]
    labels = predict_probabilities(load("digits"), pixels).argmax(dim=1)
    return int((labels == mnist.labels[first:COUNT]).sum())


@pytest.mark.parametrize("name", QUICK)
def test_the_digit_alone_is_found(name: str, mnist_test: ImageDataset) -> None:
    assert num_right(name, mnist_test, first=COUNT - 3) == 3


@pytest.mark.slow
@pytest.mark.parametrize("names", [QUICK, *((name,) for name in SCENES if name not in QUICK)])
def test_of_several_digits_at_most_one_is_classified_wrong(
    names: tuple[str, ...], mnist_test: ImageDataset
) -> None:
    right = {name: num_right(name, mnist_test) for name in names}
    assert all(number >= COUNT - 1 for number in right.values()), right


@pytest.mark.parametrize("name", ["blank paper", "solid patch", "texture", "blank ruled paper"])
def test_pictures_without_a_digit_give_a_warning(name: str, mnist_test: ImageDataset) -> None:
    seen = pictures(name, mnist_test)
    remarked = [bool(extract_digit(one.astype(np.float32) / 255).warnings) for one in seen]
    assert sum(remarked) >= COUNT - 1


@pytest.mark.parametrize("seed", [5, 9, 15, 28])
def test_the_edges_of_a_tilted_sheet_are_not_digits(seed: int) -> None:
    sheet = NO_DIGITS["blank desk and sheet"](np.zeros((28, 28)), np.random.default_rng(seed))
    assert all(digit.warnings for digit in find_digits(sheet.astype(np.float32) / 255))


@pytest.mark.parametrize("below", [False, True])
def test_two_digits_are_separate_with_their_boxes(below: bool, mnist_test: ImageDataset) -> None:
    random = np.random.default_rng(5)
    for k in range(0, COUNT, 2):
        sheet = paper(500, 400, random)
        inks = [enlarged(mnist_test.images[k + n, 0].numpy(), 130) for n in range(2)]
        places = [(50, 60), (280, 70) if below else (60, 230)]
        for ink, place in zip(inks, places, strict=True):
            written(sheet, ink, random, place)
        found = find_digits(photographed(sheet, random).astype(np.float32) / 255)
        assert len(found) == 2
        for digit, ink, (top, left) in zip(found, inks, places, strict=True):
            rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
            expected = (left + columns[0], top + rows[0], left + columns[-1], top + rows[-1])
            assert digit.box == pytest.approx(expected, abs=8)
