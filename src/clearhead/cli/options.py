"""Options that several commands share, and the pictures that they name."""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from clearhead.cli.output import print_remark
from clearhead.errors import ConfigError
from clearhead.inference._names import EngineChoice

if TYPE_CHECKING:
    from clearhead.data import ImageSource, PictureRef
    from clearhead.inference import ModelLike
    from clearhead.models.pretrained import ImageModel

STDIN = "-"
MODEL_HELP = (
    '"digits", "digits-distilled", a folder with a saved model, or OWNER/NAME on the Hugging Face '
    "hub"
)
CLASSIFIER_HELP = (
    f'{MODEL_HELP}; "timm:NAME" or "timm:FOLDER", "hf:FOLDER" or "hf:OWNER/NAME" for models of '
    "timm and transformers"
)
IMAGES_HELP = (
    "picture files, folders (all pictures in them), patterns such as 'scans/*.png', tar archives "
    "(WebDataset), Parquet files, or - to read a picture from stdin"
)
COLUMN_HELP = "the column of the pictures in Parquet files, if there are several"
DATA_HELP = (
    '"mnist", "fashion-mnist", a folder with one folder of images per class, a CSV or Parquet '
    "file, or hf:OWNER/NAME"
)
ENGINE_HELP = (
    "what computes the forward pass; compile makes a C++ library first, auto takes the fastest one "
    "that is installed and agrees with torch"
)
ROOT_HELP = "folder with the data set's files, used for files that are not in the cache"

ModelSource = Annotated[str, arg(metavar="MODEL", help=MODEL_HELP)]
ClassifierSource = Annotated[str, arg(metavar="MODEL", help=CLASSIFIER_HELP)]
Images = Annotated[
    Positional[tuple[str, ...]],
    arg(metavar="IMAGE [IMAGE ...]", help=IMAGES_HELP),
]
ImageColumn = Annotated[str | None, arg(metavar="NAME", help=COLUMN_HELP)]
DataRoot = Annotated[Path | None, arg(metavar="FOLDER", help=ROOT_HELP)]
EngineOption = Annotated[EngineChoice, arg(help=ENGINE_HELP)]
AsJson = Annotated[bool, arg(help="print JSON")]


def check_given(images: Sequence[str], command: str) -> None:
    """Raise `ConfigError` if there is no picture to work on."""
    if not images:
        raise ConfigError(
            "expected a picture file, a folder, or - for stdin; run "
            f"`clearhead {command} --help` for help"
        )


def warn_if_unused(root: Path | None, source: str) -> None:
    """Print a remark if the folder given as `--root` will not be read."""
    from clearhead.data import DATASETS, cache_folder, is_cached

    if root is None:
        return
    if source not in DATASETS:
        print_remark(f"--root is for {' and '.join(DATASETS)}; {root} is not read")
    elif is_cached(source):
        print_remark(f"{source} is in the cache {cache_folder()}; {root} is not read")


def with_engine(model: "ImageModel", engine: EngineChoice, batch_size: int = 32) -> "ModelLike":
    """The model with an engine; the choice of "auto" is printed."""
    if engine == "torch":
        return model
    from clearhead.inference import load_engine

    ready = load_engine(model, engine, batch_size=batch_size)
    if engine == "auto":
        print_remark(ready.choice())
    return ready


def list_inputs(images: Iterable[str], image_column: str | None = None) -> "list[PictureRef]":
    """List the pictures; a line on stderr names each other file in a folder."""
    from clearhead.data import list_pictures

    images = list(images)
    if address := next((image for image in images if "://" in image), None):
        raise ConfigError(f"{address} is an address; download the picture, and give its file")

    def report(path: str) -> None:
        print_remark(f"{path}: left out, its suffix is not that of a picture")

    return list(list_pictures(images, image_column=image_column, on_left_out=report))


def picture_reader(image_column: str | None = None) -> "Callable[[PictureRef], ImageSource]":
    """Make the function that reads listed pictures."""
    from clearhead.data import PictureReader
    from clearhead.data.preprocessing.image import MAX_BYTES

    read = PictureReader(image_column)
    return lambda ref: sys.stdin.buffer.read(MAX_BYTES + 1) if ref.name == STDIN else read(ref)
