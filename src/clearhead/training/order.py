"""Which image comes when: a function of (seed, epoch, step) alone.

Nothing is remembered between steps, so a resumed run and a run on more processes see the same
images, in the same order, moved and bent in the same way.
"""

import hashlib

import torch
from jaxtyping import Int
from torch import Tensor


def seed_of(*key: int | str) -> int:
    """A seed of 63 bits: a hash of `key`, so that neighbouring keys have nothing in common."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator_for(*key: int | str) -> torch.Generator:
    """A generator on the CPU, seeded with `seed_of(key)`."""
    return torch.Generator().manual_seed(seed_of(*key))


def epoch_order(seed: int, epoch: int, images: int) -> Int[Tensor, " images"]:
    """The order of all images in one epoch."""
    return torch.randperm(images, generator=generator_for("order", seed, epoch))


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Whole batches in an epoch; the few images left over come in another epoch's order."""
    return max(images // batch_size, 1)
