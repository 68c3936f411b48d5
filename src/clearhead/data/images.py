"""A data set in memory: images as one tensor of bytes, and what they show."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from clearhead.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images, the class of each, and what the classes are called."""

    name: str
    images: UInt8[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise InputError(
                "a data set's images are bytes (uint8) of shape (n, channels, height, width), "
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
        """How many images there are."""
        return len(self.images)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many images each class has."""
        return tuple(torch.bincount(self.labels, minlength=len(self.class_names)).tolist())

    def to(self, device: torch.device | str) -> "ImageDataset":
        """The same on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))
