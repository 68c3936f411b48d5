"""`clearhead explain`: what a model looked at in pictures, one file for each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from clearhead.cli.options import ClassifierSource, Images

OUT_HELP = "the page; for several pictures a folder, or a name that each picture's is added to"
LAYERS_HELP = (
    'whose weights the files hold: names, patterns ("blocks.*"), or numbers, which count from 0 '
    "as in Python; the page's layer 1 is number 0"
)
JSON_HELP = "write the data as JSON too, and print one line of JSON for each picture"

Out = Annotated[
    Path | None,
    arg(metavar="PATH", help=OUT_HELP, help_behavior_hint="(default: NAME-explained.html here)"),
]
Layers = Annotated[
    tuple[str, ...],
    arg(metavar="LAYER [LAYER ...]", help=LAYERS_HELP, help_behavior_hint="(default: as fits)"),
]


def explain(
    images: Images,
    *,
    model: ClassifierSource = "digits",
    out: Out = None,
    layers: Layers = (),
    png: Annotated[bool, arg(help="draw a still figure as PNG too", help_behavior_hint="")] = False,
    svg: Annotated[bool, arg(help="draw a still figure as SVG too", help_behavior_hint="")] = False,
    json: Annotated[bool, arg(help=JSON_HELP, help_behavior_hint="")] = False,
    csv: Annotated[bool, arg(help="write the data as CSV too", help_behavior_hint="")] = False,
) -> int:
    """Show what a model looked at in a picture: one HTML file that opens anywhere.

    What the model saw, its answer, every layer and head, and what the answer rests on, with a
    proof that the maps are what the model computed. Other files get the page's name and their own
    ending. A picture that cannot be read is reported, the others are explained all the same, and
    the exit code is 1.
    """
    from clearhead.cli.output import print_remark, usage_error
    from clearhead.cli.pictures import named_pictures
    from clearhead.errors import ImageError

    if not images:
        return usage_error("a picture's file, a folder, or - for stdin", "explain")
    names = [name for name in named_pictures(images) if not _is_ours(name, images)]
    wanted = {"png": png, "svg": svg, "json": json, "csv": csv}
    formats = [name for name, is_wanted in wanted.items() if is_wanted]
    pages = _pages(names, out, formats)
    reader = _open(model)
    failed = False
    for name, page in zip(names, pages, strict=True):
        try:
            row = _explain_one(name, page, reader, _layers(layers), formats)
        except ImageError as error:
            failed = True
            row = {"image": str(name), "error": str(error).removeprefix(f"{name}: ")}
            print_remark(f"{name}: {row['error']}")
        _print_row(row, json)
    return int(failed)


def _is_ours(name: str | Path, images: tuple[str, ...]) -> bool:
    """Whether a picture found in a folder is a figure that an earlier call has drawn."""
    return Path(name).stem.endswith("-explained") and str(name) not in images


def _open(model: str) -> Any:
    from rich.console import Console
    from rich.text import Text

    from clearhead.explanation.classifiers.named import open_reader

    with Console(stderr=True).status(Text(f"loading {model}")):
        return open_reader(model)


def _explain_one(
    name: str | Path, page: Path, reader: Any, layers: list[str | int] | None, formats: list[str]
) -> dict[str, Any]:
    from clearhead.cli.pictures import STDIN, read_picture
    from clearhead.explanation.picture.explanation import explain as explain_picture
    from clearhead.explanation.picture.tables import summary
    from clearhead.explanation.picture.write import write_report

    called = "stdin" if name == STDIN else str(name)
    explanation = explain_picture(read_picture(name), reader, layers=layers, name=called)
    files = write_report(explanation, page, formats=formats)
    return summary(explanation) | {"image": str(name), "files": [str(path) for path in files]}


def _layers(layers: tuple[str, ...]) -> list[str | int] | None:
    """Names and patterns as they are, numbers as numbers; commas separate as spaces do."""
    parts = [part for text in layers for part in text.split(",") if part]
    return [int(x) if x.lstrip("-").isdigit() else x for x in parts] or None


def _pages(names: list[str | Path], out: Path | None, formats: list[str]) -> list[Path]:
    """A page for each picture, no two the same, none of them (or their figures) a picture."""
    from clearhead.errors import ConfigError

    stems = list(_stems(names))
    if out is None or out.is_dir() or not out.suffix:
        pages = [(out or Path()) / f"{stem}-explained.html" for stem in stems]
    elif out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out names an HTML file or a folder, got {str(out)!r}")
    elif len(names) == 1:
        pages = [out]
    else:
        pages = [out.with_name(f"{out.stem}-{stem}{out.suffix}") for stem in stems]
    given = {Path(name).absolute() for name in names}
    for page in pages:
        for written in (page, *(page.with_suffix(f".{name}") for name in formats)):
            if written.absolute() in given:
                raise ConfigError(f"{written} would be written over itself; give another --out")
    return pages


def _stems(names: list[str | Path]) -> Iterator[str]:
    """The pictures' names without folder and ending, numbered where one comes again."""
    seen: dict[str, int] = {}
    for name in names:
        stem = "stdin" if name == "-" else Path(name).stem
        seen[stem] = seen.get(stem, 0) + 1
        yield stem if seen[stem] == 1 else f"{stem}-{seen[stem]}"


def _print_row(row: dict[str, Any], json: bool) -> None:
    import json as writer

    from clearhead.cli.output import print_facts, print_line

    if json:
        print_line(writer.dumps(row, ensure_ascii=False, allow_nan=False))
    elif "error" not in row:
        print_facts(row["image"], _facts(row))


def _facts(row: dict[str, Any]) -> list[tuple[str, str]]:
    from clearhead.cli.output import percent

    answer = "none"
    if row["label"] is not None:
        answer = f"{row['label']}, {percent(row['probability'])} %"
    if row["runner_up"]:
        answer += f"; then {row['runner_up']}, {percent(row['runner_up_probability'])} %"
    facts = [("answer", answer)]
    facts += [("remark", warning) for warning in row["warnings"]]
    return facts + [("wrote", path) for path in row["files"]]
