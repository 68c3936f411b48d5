"""Labelled images in memory, and how to hold out some of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from clearhead.errors import ConfigError, InputError

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, eq=False, repr=False)
class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Images and their labels in memory; also a map-style data set for torch's `DataLoader`.

    Args:
        name: For messages and titles.
        images: All images as one tensor of bytes.
        labels: The index of each image's class.
        class_names: The names of the classes.

    Raises:
        InputError: If types or shapes are wrong, or a label has no class name.
    """

    name: str
    images: UInt8[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise InputError(
                "the images of a data set are bytes (uint8) of shape (n, channels, height, width), "
                f"got {self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise InputError(
                f"{len(self.images)} images need as many labels of type int64, "
                f"got {self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )
        if len(self) and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            raise InputError(
                f"labels must be 0 … {len(self.class_names) - 1}, one for each class name, "
                f"got {int(self.labels.min())} … {int(self.labels.max())}"
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "channels height width"], int]:
        """One image and its label."""
        return self.images[index], int(self.labels[index])

    def __iter__(self) -> Iterator[tuple[UInt8[Tensor, "channels height width"], int]]:
        return zip(self.images, self.labels.tolist(), strict=True)

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.images.shape[1:]))
        return (
            f"{type(self).__name__}({self.name!r}: {len(self):,} images of {shape}, "
            f"{len(self.class_names)} classes)"
        )

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of images of each class."""
        return tuple(torch.bincount(self.labels, minlength=len(self.class_names)).tolist())

    def to(self, device: torch.device | str) -> "ImageDataset":
        """The same data set on another device.

        Args:
            device: As in `torch.Tensor.to`.

        Returns:
            A new data set with images and labels on that device.
        """
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


def split_dataset(
    dataset: ImageDataset, fraction: float = 0.1, seed: int = 0
) -> tuple[ImageDataset, ImageDataset]:
    """Hold out a share of each class for validation (see `split_indices`).

    Args:
        dataset: The data set to divide.
        fraction: The share of each class to hold out.
        seed: Another seed gives another division.

    Returns:
        What is left, and what is held out.

    Raises:
        ConfigError: If the fraction is not between 0 and 1.
    """
    kept, held_out = (
        replace(dataset, images=dataset.images[indices], labels=dataset.labels[indices])
        for indices in split_indices(dataset.labels.tolist(), fraction, seed)
    )
    return kept, held_out


def split_indices(
    labels: Sequence[int], fraction: float, seed: int, keys: Sequence[str] | None = None
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " held_out"]]:
    """Divide examples, stratified by class, in the same way on every machine and torch version.

    The examples of a class are ranked by the BLAKE2 hash of seed and key, and the first ones are
    held out. With names as keys, a new example hardly changes the division of the others.

    Args:
        labels: The class of each example.
        fraction: The share of each class to hold out, rounded; at least one example and not all.
        seed: Another seed gives another division.
        keys: What identifies each example; its index by default.

    Returns:
        The indices of the examples kept and held out, each in ascending order. A class with a
        single example keeps it.

    Raises:
        ConfigError: If the fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"the fraction held out must be between 0 and 1, got {fraction}")

    def rank(index: int) -> bytes:
        key = f"{seed}:{keys[index] if keys else index}"
        # Names of files that are not UTF-8 contain surrogates.
        return blake2b(key.encode(errors="surrogatepass"), digest_size=16).digest()

    classes: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        classes.setdefault(label, []).append(index)
    held_out: set[int] = set()
    for members in classes.values():
        count = min(max(int(len(members) * fraction + 0.5), 1), len(members) - 1)
        held_out.update(sorted(members, key=rank)[:count])
    kept = [index for index in range(len(labels)) if index not in held_out]
    return torch.tensor(kept, dtype=torch.int64), torch.tensor(sorted(held_out), dtype=torch.int64)
