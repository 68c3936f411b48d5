"""The common digit: labels by an independent count, balance, and no leak between the splits."""

from collections import Counter
from itertools import product

import pytest
import torch

from clearhead.data import ImageDataset, Split
from clearhead.errors import ConfigError
from clearhead.studies.measures import tasks
from clearhead.studies.measures.tasks import CommonDigits, common_digits

pytestmark = pytest.mark.usefixtures("mnist_test")
COUNT = 500


@pytest.fixture(scope="module")
def made() -> CommonDigits:
    return common_digits("test", COUNT, 3)


def halves(made: CommonDigits, image: int) -> list[Counter[int]]:
    """The classes of each half, found by where the digits are."""
    found: list[Counter[int]] = [Counter(), Counter()]
    for label, place in zip(
        made.classes[image].flatten().tolist(), made.places[image].flatten().tolist(), strict=True
    ):
        found[place // 8][label] += 1
    return found


def test_the_label_is_the_only_class_that_both_halves_have(made: CommonDigits) -> None:
    for image, label in enumerate(made.dataset.labels.tolist()):
        upper, lower = halves(made, image)
        assert set(upper) & set(lower) == {label}
        assert sorted(upper.values()) == sorted(lower.values()) == [1, 2]
        assert len(upper | lower) == 3


def test_digits_are_in_their_patches_and_nothing_else_is(made: CommonDigits) -> None:
    patches = made.dataset.images[:, 0].unfold(1, 7, 7).unfold(2, 7, 7).flatten(1, 2).flatten(2)
    inked = (patches > 0).any(dim=2)
    expected = torch.zeros_like(inked).scatter(1, made.places.flatten(1), value=True)
    assert torch.equal(inked, expected)
    assert (expected.sum(dim=1) == 6).all()


def test_classes_are_equally_frequent_and_digits_are_everywhere(made: CommonDigits) -> None:
    assert made.dataset.class_counts == (COUNT // 10,) * 10
    by_place = torch.bincount(made.places.flatten(), minlength=16) / (COUNT * 6 / 16)
    assert by_place.min() > 0.75
    assert by_place.max() < 1.25
    every = torch.bincount(made.classes.flatten(), minlength=10) / (COUNT * 6 / 10)
    assert every.min() > 0.85
    assert every.max() < 1.15


def test_no_weighting_of_counts_in_the_halves_beats_the_floor(made: CommonDigits) -> None:
    """The class with the largest weighted count; among equals the label has its share."""
    counts = torch.zeros(2, COUNT, 10)
    for half in range(2):
        counts[half].scatter_add_(1, made.classes[:, half], torch.ones(COUNT, 3))
    for upper, lower in product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=2):
        scores = upper * counts[0] + lower * counts[1]
        best = scores == scores.amax(dim=1, keepdim=True)
        right = best.gather(1, made.dataset.labels[:, None])[:, 0] / best.sum(dim=1)
        assert right.mean() <= 1 / 3 + 1e-6, (upper, lower)


def test_images_depend_on_the_seed_and_the_split_alone() -> None:
    one, again, other = (common_digits("test", 20, seed) for seed in (5, 5, 6))
    assert torch.equal(one.dataset.images, again.dataset.images)
    assert torch.equal(one.dataset.labels, again.dataset.labels)
    assert not torch.equal(one.dataset.images, other.dataset.images)


@pytest.mark.parametrize("split", ["train", "test"])
def test_digits_come_from_their_own_split_and_class(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digits that are squares, whose brightness is their class in one split alone."""
    brightness = {"train": 70, "test": 120}

    def squares(name: Split) -> ImageDataset:
        labels = torch.arange(50) % 10
        images = torch.zeros(50, 1, 28, 28, dtype=torch.uint8)
        images[:, :, 3:25, 3:25] = (brightness[name] + 4 * labels)[:, None, None, None]
        return ImageDataset(name, images, labels, tuple("0123456789"))

    monkeypatch.setattr(tasks, "whole_dataset", squares)
    made = common_digits(split, 10, 0)
    patches = made.dataset.images[:, 0].unfold(1, 7, 7).unfold(2, 7, 7).flatten(1, 2)
    middles = patches[:, :, 3, 3].gather(1, made.places.flatten(1))
    expected = (1.5 * (brightness[split] + 4 * made.classes.flatten(1))).int()
    assert torch.equal(middles.int(), expected)


def test_counts_that_cannot_be_balanced_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 10"):
        common_digits("test", 25, 0)


def test_a_digit_is_cropped_around_its_ink_and_averaged() -> None:
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 6:26, 10:16] = 200  # 20 rows and 6 columns
    (cropped,) = tasks._cropped(image)
    rows, columns = (cropped > 0).any(1).nonzero()[:, 0], (cropped > 0).any(0).nonzero()[:, 0]
    assert (len(rows), len(columns)) == (20, 6)
    assert abs(int(rows[0]) - (20 - int(rows[-1]))) <= 1
    assert abs(int(columns[0]) - (20 - int(columns[-1]))) <= 1
    small = tasks._small(cropped[None, None])
    assert small.shape == (1, 1, 7, 7)
    assert int(small.max()) == 255
