"""Two generated tasks that need attention: the common digit and associative recall.

**The common digit**: an image has 4 × 4 patches of 7 × 7 pixels, as the digits that the default
model classifies. A patch holds one digit of MNIST, made smaller, or nothing. The upper half has
three digits of the classes a, b, b and the lower half three of the classes a, c, c, each anywhere
in its half; the label is a. A model that does not mix patches adds up each patch's evidence for a
class: at most u for a digit of that class above and v for one below. The label then gets u + v, and
b or c, which get 2u and 2v, as much or more. So such a model is right in a third of the images,
whether it counts digits or uses their positions.

**Recall**: pairs of a key and a value, then keys alone, whose values are predicted (Arora et al.
2023, "Zoology", arXiv 2312.04927; in language models the induction heads of Olsson et al. 2022,
arXiv 2209.11895, do this). The keys and values of each text are drawn anew, without repetition, so
that neither a word nor its position predicts a value, and counting the values of the text finds it
in one of `NUM_PAIRS` cases. No value follows its query, or the last ones would be known by
elimination.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from clearhead.data import ImageDataset, Split
from clearhead.errors import ConfigError
from clearhead.models.config import TextConfig
from clearhead.models.text import TextTransformer
from clearhead.studies.measures.classifiers import whole_dataset
from clearhead.training.batches import generator_for

COMMON, RECALL = "common digit", "recall"
"""Names of the tasks, and of the conditions about them"""

PATCH, GRID, NUM_CLASSES = 7, 4, 10
HALF = GRID * GRID // 2
MEMBERS = ((0, 1, 1), (0, 2, 2))
"""Which of the classes a, b, c each half has"""
SHRINK = 3  # pixels of MNIST for one pixel here
SIDE = PATCH * SHRINK  # a digit of MNIST fits into 20 × 20 pixels
INK, BRIGHTER = 64, 1.5  # pixels from 64 on are ink; averaging makes thin strokes fainter

NUM_PAIRS, NUM_QUERIES, NUM_WORDS = 4, 4, 8
"""Pairs and queries of a text; keys, and values, of the vocabulary"""
VOCABULARY = tuple(f"{kind}{number}" for kind in "kv" for number in range(NUM_WORDS))
FIRST_QUERY = 2 * NUM_PAIRS
LENGTH = FIRST_QUERY + NUM_QUERIES
RECALL_MODEL = TextConfig(vocabulary=VOCABULARY, context_length=LENGTH, embed_dim=32, depth=2)


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

    All classes are equally frequent: `count` must be a multiple of 10.
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
    small: Tensor = (BRIGHTER * pooled).clamp(max=255).unflatten(0, digits.shape[:2])
    return small.to(torch.uint8)


@dataclass(frozen=True, eq=False)
class RecallTexts:
    """Texts of pairs and queries.

    Attributes:
        ids: Key, value, key, value, …, then the keys of the queries.
        answers: The id of the value of each query.
        pairs: The pair, from 0, that each query is about; its value is token `2 * pairs + 1`.
    """

    ids: Int[Tensor, "texts tokens"]
    answers: Int[Tensor, "texts queries"]
    pairs: Int[Tensor, "texts queries"]


def recall_texts(split: str, count: int, seed: int) -> RecallTexts:
    """Texts drawn with `seed`; "train" and "test" have different ones."""
    generator = generator_for("recall", split, seed)
    keys, values = (
        torch.rand(count, NUM_WORDS, generator=generator).argsort(dim=1)[:, :NUM_PAIRS] + first
        for first in (0, NUM_WORDS)
    )
    pairs = torch.rand(count, NUM_PAIRS, generator=generator).argsort(dim=1)[:, :NUM_QUERIES]
    paired = torch.stack([keys, values], dim=2).flatten(1)
    ids = torch.cat([paired, keys.gather(1, pairs)], dim=1)
    return RecallTexts(ids, values.gather(1, pairs), pairs)


@torch.no_grad()
def recall_accuracy(model: TextTransformer, texts: RecallTexts) -> float:
    """Per cent of the queries whose value has the largest logit."""
    predicted = model(texts.ids)[:, FIRST_QUERY:].argmax(dim=-1)
    return 100 * float((predicted == texts.answers).double().mean())
