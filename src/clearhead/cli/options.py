"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from tyro.conf import Positional, arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from clearhead.inference._names import EngineChoice

if TYPE_CHECKING:
    from clearhead.inference import ModelLike
    from clearhead.models.pretrained import ImageModel

MODEL_HELP = '"digits", a folder with a saved model, or OWNER/NAME on the Hugging Face hub'
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
    arg(metavar="IMAGE [IMAGE ...]", help=IMAGES_HELP, help_behavior_hint=""),
]
ImageColumn = Annotated[str | None, arg(metavar="NAME", help=COLUMN_HELP, help_behavior_hint="")]
DataRoot = Annotated[Path | None, arg(metavar="FOLDER", help=ROOT_HELP, help_behavior_hint="")]
EngineOption = Annotated[EngineChoice, arg(help=ENGINE_HELP)]
AsJson = Annotated[bool, arg(help="print JSON", help_behavior_hint="")]


NUMBERS = ConstructorRegistry()
"""Makes tyro's errors for numbers name what was expected instead of Python's types"""


@NUMBERS.primitive_rule
def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    kinds = {
        int: (int, "a whole number"),
        float: (float, "a number"),
        int | tuple[int, int]: (int, "one or two whole numbers"),
    }
    for kind, (convert, expected) in kinds.items():
        if info.type in (kind, kind | None):

            def parse(given: list[str], convert: Any = convert, expected: str = expected) -> Any:
                try:
                    numbers = tuple(map(convert, given))
                except ValueError:
                    message = f"expected {expected}, got {' '.join(given)!r}"
                    raise ValueError(message) from None
                return numbers if len(numbers) > 1 else numbers[0]

            single = isinstance(kind, type)
            return PrimitiveConstructorSpec(
                nargs=1 if single else (1, 2),
                metavar=convert.__name__.upper() if single else "INT [INT]",
                instance_from_str=parse,
                is_instance=lambda value: value is None or isinstance(value, int | float | tuple),
                str_from_instance=lambda x: list(map(str, x if isinstance(x, tuple) else (x,))),
            )
    choices = [arg for arg in get_args(info.type) if arg is not type(None)]
    if (
        type(None) in get_args(info.type)
        and len(choices) == 1
        and get_origin(choices[0]) is Literal
    ):
        words = get_args(choices[0])
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=f"{{{','.join(words)}}}",
            instance_from_str=lambda given: given[0],
            is_instance=lambda value: value is None or value in words,
            str_from_instance=lambda value: [str(value)],
            choices=words,
        )
    return None


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


def with_engine(model: "ImageModel", engine: EngineChoice, batch_size: int = 32) -> "ModelLike":
    """The model with an engine; the choice of "auto" is printed."""
    from clearhead.cli.output import print_remark

    if engine == "torch":
        return model
    from clearhead.inference import load_engine

    ready = load_engine(model, engine, batch_size=batch_size)
    if engine == "auto":
        print_remark(ready.choice())
    return ready
