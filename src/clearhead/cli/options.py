"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

MODEL_HELP = '"digits", a folder with a saved model, or OWNER/NAME on the Hugging Face hub'
CLASSIFIER_HELP = (
    f'{MODEL_HELP}; "timm:NAME" or "timm:FOLDER", "hf:FOLDER" or "hf:OWNER/NAME" for models of '
    "timm and transformers"
)
IMAGES_HELP = "picture files, folders (all pictures in them), or - to read a picture from stdin"
DATA_HELP = '"mnist", "fashion-mnist", or a folder with one folder of images per class'
ROOT_HELP = "folder with the data set's files, used for files that are not in the cache"

ModelSource = Annotated[str, arg(metavar="MODEL", help=MODEL_HELP)]
ClassifierSource = Annotated[str, arg(metavar="MODEL", help=CLASSIFIER_HELP)]
Images = Annotated[
    Positional[tuple[str, ...]],
    arg(metavar="IMAGE [IMAGE ...]", help=IMAGES_HELP, help_behavior_hint=""),
]
DataSource = Annotated[str, arg(metavar="DATA", help=DATA_HELP)]
DataRoot = Annotated[Path | None, arg(metavar="FOLDER", help=ROOT_HELP, help_behavior_hint="")]
AsJson = Annotated[bool, arg(help="print JSON", help_behavior_hint="")]


def warn_if_unused(root: Path | None, source: str) -> None:
    """Print a remark if the folder given as `--root` will not be read."""
    from clearhead.cli.output import print_remark
    from clearhead.data import DATASETS, cache_folder, is_cached

    if root is None:
        return
    if source not in DATASETS:
        print_remark(f"--root is for {' and '.join(DATASETS)}; {root} is not read")
    elif is_cached(source):
        print_remark(f"{source} is in the cache {cache_folder()}; {root} is not read")
