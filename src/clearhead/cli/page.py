"""`clearhead page`: the microscope for a model, as one HTML file."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from clearhead.cli.options import ModelSource
from clearhead.cli.output import print_line
from clearhead.errors import ConfigError

PICTURES_HELP = (
    "example pictures, for a model whose classes are not digits (its page has no drawing pad); "
    "they are labelled with the names of their files"
)
OUT_HELP = "the file to write; - is standard output"


def page(
    model: ModelSource = "digits",
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE", help=OUT_HELP)] = Path(
        "microscope.html"
    ),
    pictures: Annotated[tuple[Path, ...], arg(metavar="FILE …", help=PICTURES_HELP)] = (),
) -> None:
    """Write the microscope: an interactive HTML page that runs a model and shows its attention.

    The page is one file that contains the weights in half precision; it opens from disk and makes
    no request. The model must be a Vision Transformer with few tokens.
    """
    from clearhead._atomic import write_atomic

    content = build(model, pictures).encode()
    if str(out) == "-":
        sys.stdout.buffer.write(content)  # UTF-8, independent of the terminal's encoding
        return
    write_atomic(out, content)
    print_line(f"wrote {out} ({len(content) / 1e6:.2f} MB); open it in a browser")


def build(model: str, pictures: Sequence[Path] = ()) -> str:
    """Build the page; for the shipped model this needs no torch."""
    from clearhead.microscope import build_page, shipped_page

    if model == "digits" and not pictures:
        return shipped_page()
    from clearhead.models import ImageModel, load

    named = {path.stem: path for path in pictures}
    if len(named) < len(pictures):
        raise ConfigError("expected --pictures with different names, which label them on the page")
    return build_page(load(model, ImageModel), name=Path(model).name, pictures=named)
