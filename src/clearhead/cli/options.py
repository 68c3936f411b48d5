"""Options that several commands share, with the words that explain them."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

MODEL_HELP = '"digits", a folder with a saved model, or OWNER/NAME on the Hugging Face hub'
READER_HELP = (
    f'{MODEL_HELP}; "timm:NAME" or "timm:FOLDER", "hf:FOLDER" or "hf:OWNER/NAME" for models of '
    "timm and of transformers"
)
IMAGES_HELP = "picture files, folders (all pictures in them), or - for a picture on stdin"
DATA_HELP = '"mnist", "fashion-mnist", or a folder with one folder of images for each class'
ROOT_HELP = "a folder that already holds the data set's files, for what the cache does not have"

ModelSource = Annotated[str, arg(metavar="MODEL", help=MODEL_HELP)]
ReaderSource = Annotated[str, arg(metavar="MODEL", help=READER_HELP)]
Images = Annotated[
    Positional[tuple[str, ...]],
    arg(metavar="IMAGE [IMAGE ...]", help=IMAGES_HELP, help_behavior_hint=""),
]
DataSource = Annotated[str, arg(metavar="DATA", help=DATA_HELP)]
DataRoot = Annotated[Path | None, arg(metavar="FOLDER", help=ROOT_HELP, help_behavior_hint="")]
AsJson = Annotated[bool, arg(help="print the same as JSON", help_behavior_hint="")]
