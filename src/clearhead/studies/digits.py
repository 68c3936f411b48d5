"""The digits that studies train and measure on: read once in a process."""

from dataclasses import replace
from functools import cache

import torch

from clearhead.data import ImageDataset, Split, load_dataset
from clearhead.errors import ConfigError


def training_digits(count: int, seed: int) -> ImageDataset:
    """`count` of MNIST's training digits, drawn with `seed`, with no regard to their class."""
    return _drawn("train", count, seed)


def unseen_digits(count: int = 10_000, seed: int = 0) -> ImageDataset:
    """`count` of MNIST's test digits, drawn with `seed`: the same for all arms of a study."""
    return _drawn("test", count, seed)


@cache
def _whole(split: Split) -> ImageDataset:
    return load_dataset("mnist", split)


def _drawn(split: Split, count: int, seed: int) -> ImageDataset:
    whole = _whole(split)
    if not 1 <= count <= len(whole):
        raise ConfigError(f"count must lie in 1 … {len(whole):,} for {split}, got {count:,}")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))[:count]
    return replace(whole, images=whole.images[order], labels=whole.labels[order])
