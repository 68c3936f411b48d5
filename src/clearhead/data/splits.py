"""Parts of a data set that are the same on every machine and in every version of torch.

Examples are ranked, within each class, by the BLAKE2 hash of seed and key; the first ones are held
out. No random generator takes part, so there is no generator to agree on. The key is the example's
place in the data set, or its name where it has one: then another file more moves hardly any.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b

import torch
from jaxtyping import Int64
from torch import Tensor

from clearhead.data.images import ImageDataset
from clearhead.errors import ConfigError


def split(
    dataset: ImageDataset, fraction: float = 0.1, seed: int = 0
) -> tuple[ImageDataset, ImageDataset]:
    """The data set in two: what is left, and `fraction` of each class held out for validation."""
    kept, held_out = split_indices(dataset.labels.tolist(), fraction, seed)
    return take(dataset, kept), take(dataset, held_out)


def split_indices(
    labels: Sequence[int], fraction: float, seed: int, keys: Sequence[str] | None = None
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " held_out"]]:
    """Which examples are kept and which held out, each in ascending order.

    Of n examples of a class, round(n · fraction) are held out, but at least one and not all of
    them; a class with a single example keeps it. `keys` stand in for the places, if given.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"the fraction held out must be between 0 and 1, got {fraction}")
    held_out: set[int] = set()
    for members in _by_class(labels):
        ranked = sorted(members, key=lambda place: _rank(seed, keys[place] if keys else place))
        count = min(max(int(len(ranked) * fraction + 0.5), 1), len(ranked) - 1)
        held_out.update(ranked[:count])
    kept = (place for place in range(len(labels)) if place not in held_out)
    return _indices(kept), _indices(sorted(held_out))


def take(dataset: ImageDataset, indices: Int64[Tensor, " chosen"]) -> ImageDataset:
    """The data set of these examples, in this order."""
    return replace(dataset, images=dataset.images[indices], labels=dataset.labels[indices])


def _by_class(labels: Sequence[int]) -> Iterable[list[int]]:
    classes: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        classes.setdefault(label, []).append(place)
    return classes.values()


def _rank(seed: int, key: str | int) -> bytes:
    return blake2b(f"{seed}:{key}".encode(), digest_size=16).digest()


def _indices(places: Iterable[int]) -> Int64[Tensor, " places"]:
    return torch.tensor(list(places), dtype=torch.int64)
