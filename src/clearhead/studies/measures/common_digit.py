"""Images of six small digits: the class is the one that occurs in both halves of the image.

An image has 4 × 4 patches of 7 × 7 pixels, as the digits that the default model classifies. A patch
holds one digit of MNIST, made smaller, or nothing. The upper half has three digits of the classes
a, b, b and the lower half three of the classes a, c, c, each anywhere in its half; the label is a.

Attention, or other mixing of patches, is needed. A model without it adds up each patch's evidence
for a class: at most u for a digit of that class above and v for one below. The label then gets u +
v, and b or c, which get 2u and 2v, as much or more. So such a model is right in a third of the
images, whether it counts digits or uses their positions.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from clearhead.data import ImageDataset, Split
from clearhead.errors import ConfigError
from clearhead.studies.measures.classifiers import whole_dataset
from clearhead.training.batches import generator_for

PATCH, GRID, NUM_CLASSES = 7, 4, 10
HALF = GRID * GRID // 2
MEMBERS = ((0, 1, 1), (0, 2, 2))
"""Which of the classes a, b, c each half has"""
FLOOR = 1 / 3
"""Largest accuracy of a model without mixing that knows every digit"""

SHRINK = 3  # pixels of MNIST for one pixel here
SIDE = PATCH * SHRINK  # a digit of MNIST fits into 20 × 20 pixels
INK, BRIGHTER = 64, 1.5  # pixels from 64 on are ink; averaging makes thin strokes fainter


@dataclass(frozen=True, eq=False)
class CommonDigits:
    """Images of six digits each, and where they are.

    Attributes:
        dataset: The images; the labels are the classes that occur in both halves.
        classes: The classes of the digits, in the order of the halves and of `MEMBERS`.
        places: The patches of the digits, from 0, in the same order.
    """

    dataset: ImageDataset
    classes: Int[Tensor, "images halves digits"]
    places: Int[Tensor, "images halves digits"]


def common_digits(split: Split, count: int, seed: int) -> CommonDigits:
    """Images made from MNIST's training or test digits, all drawn with `seed`.

    Args:
        split: Which digits.
        count: Number of images, a multiple of 10: all classes are equally frequent.
        seed: The same seed gives the same images.

    Raises:
        ConfigError: The classes cannot be equally frequent.
    """
    if count < 1 or count % NUM_CLASSES:
        raise ConfigError(f"count must be a multiple of {NUM_CLASSES}, got {count}")
    generator = generator_for("common digit", split, seed)
    labels = torch.randperm(count, generator=generator) % NUM_CLASSES
    order = torch.rand(count, NUM_CLASSES, generator=generator).scatter(1, labels[:, None], -1.0)
    classes = order.argsort(dim=1)[:, torch.tensor(MEMBERS)]
    places = torch.rand(count, len(MEMBERS), HALF, generator=generator).argsort(dim=2)
    places = places[:, :, : len(MEMBERS[0])] + HALF * torch.arange(len(MEMBERS))[:, None]
    patches = torch.zeros(count, GRID * GRID, PATCH, PATCH, dtype=torch.uint8)
    patches[torch.arange(count)[:, None], places.flatten(1)] = _small(
        _drawn(split, classes.flatten(1), generator)
    )
    rows = patches.unflatten(1, (GRID, GRID)).transpose(2, 3)
    images = rows.reshape(count, 1, GRID * PATCH, GRID * PATCH)
    names = tuple(str(x) for x in range(NUM_CLASSES))
    return CommonDigits(ImageDataset("common digit", images, labels, names), classes, places)


def _drawn(
    split: Split, classes: Int[Tensor, "images digits"], generator: torch.Generator
) -> UInt8[Tensor, "images digits height width"]:
    """A digit of each class, drawn with replacement, with its ink in the middle of the square."""
    whole = whole_dataset(split)
    images = torch.empty(*classes.shape, SIDE, SIDE, dtype=torch.uint8)
    for label in range(NUM_CLASSES):
        places = classes == label
        candidates = (whole.labels == label).nonzero()[:, 0]
        chosen = torch.randint(len(candidates), (int(places.sum()),), generator=generator)
        images[places] = _cropped(whole.images[candidates[chosen], 0])
    return images


def _cropped(images: UInt8[Tensor, "images 28 28"]) -> UInt8[Tensor, "images height width"]:
    """The square around the middle of each digit's bounding box."""
    places, indices = torch.arange(SIDE), []
    for axis in (2, 1):
        inked = (images >= INK).any(dim=axis).int()
        first = inked.argmax(dim=1)
        last = inked.shape[1] - 1 - inked.flip(1).argmax(dim=1)
        start = ((first + last + 1 - SIDE) // 2 + 1).clamp(0, inked.shape[1] - SIDE)
        indices.append(start[:, None] + places)
    rows, columns = indices
    return images[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None]]


def _small(
    digits: UInt8[Tensor, "images digits height width"],
) -> UInt8[Tensor, "images digits rows columns"]:
    pooled = F.avg_pool2d(digits.flatten(0, 1)[:, None].float(), SHRINK)[:, 0]
    small: Tensor = (
        (BRIGHTER * pooled).clamp(max=255).to(torch.uint8).unflatten(0, digits.shape[:2])
    )
    return small
