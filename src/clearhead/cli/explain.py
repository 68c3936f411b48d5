"""`clearhead explain`: predictions for pictures, one page each, and attention in texts."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from clearhead.cli.options import ClassifierSource, Images

if TYPE_CHECKING:
    from clearhead.explanation import ImageClassifier, TextExplanation, TextModel
    from clearhead.explanation.texts import Heads

OUT_HELP = "the page; for several pictures a folder, or a name that each picture's is added to"
LAYERS_HELP = (
    'layers to keep: numbers from 1 (-1 is the last), names, or patterns ("blocks.*"); of texts '
    "their single heads"
)
JSON_HELP = "print JSON; for pictures one line each, and the data beside the page"
WORD_HELP = "texts: the query word"
HEAD_HELP = "texts: one head, from 1"

Out = Annotated[
    Path | None,
    arg(metavar="PATH", help=OUT_HELP, help_behavior_hint="(default: NAME-explained.html here)"),
]
Layers = Annotated[
    tuple[str, ...],
    arg(metavar="LAYER [LAYER ...]", help=LAYERS_HELP, help_behavior_hint="(default: as fits)"),
]
Word = Annotated[
    str | None,
    arg(metavar="STR", help=WORD_HELP, help_behavior_hint="(default: the pronoun, or every word)"),
]
Head = Annotated[
    int | None, arg(metavar="INT", help=HEAD_HELP, help_behavior_hint="(default: the mean)")
]
Png = Annotated[bool, arg(help="write a figure as PNG too", help_behavior_hint="")]
Svg = Annotated[bool, arg(help="write a figure as SVG too", help_behavior_hint="")]
Json = Annotated[bool, arg(help=JSON_HELP, help_behavior_hint="")]
Csv = Annotated[bool, arg(help="write the data as CSV too", help_behavior_hint="")]


def explain(
    images: Images,
    *,
    model: ClassifierSource = "digits",
    out: Out = None,
    layers: Layers = (),
    word: Word = None,
    head: Head = None,
    png: Png = False,
    svg: Svg = False,
    json: Json = False,
    csv: Csv = False,
) -> int:
    """Explain predictions: one HTML page for each picture.

    The page shows the model input, the prediction, the attention weights of every layer and head,
    what the prediction depends on, and a proof that the weights are what the model computed. Other
    formats get the page's name with their own suffix. A picture that cannot be decoded is
    reported, the others are explained all the same, and the exit code is 1.

    With a text model the arguments are a text; see `clearhead attend`.
    """
    from clearhead.cli.output import usage_error
    from clearhead.errors import ConfigError
    from clearhead.explanation import TextModel

    if not images:
        return usage_error("a picture's file, a folder, or - for stdin", "explain")
    formats = [name for name, on in {"png": png, "svg": svg, "csv": csv}.items() if on]
    classifier = open_model(model)
    chosen = layer_choice(layers)
    if isinstance(classifier, TextModel):
        return explain_text(
            classifier, images, layers=chosen, word=word, head=head, out=out, formats=formats,
            json=json,
        )  # fmt: skip
    if word is not None or head is not None:
        raise ConfigError("--word and --head are for texts; give a text model with --model")
    return _explain_pictures(
        classifier, images, chosen, out, [*formats, *(["json"] if json else [])]
    )


def open_model(name: str) -> "ImageClassifier | TextModel":
    """The classifier with this name; a spinner on stderr shows that it is being loaded."""
    from rich.console import Console
    from rich.text import Text

    from clearhead.explanation import open_classifier

    with Console(stderr=True).status(Text(f"loading {name}")):
        return open_classifier(name)


def layer_choice(layers: Sequence[str]) -> list[str | int] | None:
    """Names and patterns as they are, numbers from 1 as indices; commas separate like spaces."""
    from clearhead.errors import ConfigError

    chosen: list[str | int] = []
    for part in (part for text in layers for part in text.split(",") if part):
        number = int(part) if part.lstrip("-").isdigit() else None
        if number == 0:
            raise ConfigError("--layers counts from 1, got 0")
        if number is None:
            chosen.append(part)
        else:
            chosen.append(number - 1 if number > 0 else number)
    return chosen or None


def explain_text(
    model: "TextModel",
    words: Sequence[str],
    *,
    layers: list[str | int] | None,
    word: str | None,
    head: int | None,
    out: Path | None,
    formats: list[str],
    json: bool,
) -> int:
    """Explain a text, print tables or JSON, and write the files that the options name."""
    from clearhead.cli.output import print_json, print_remark
    from clearhead.errors import ConfigError
    from clearhead.explanation import explain as explain_any
    from clearhead.explanation import write_report

    if head is not None and head < 1:
        raise ConfigError(f"--head counts from 1, got {head}")
    heads: Heads = "mean" if layers is None else "each"
    if head is not None:
        heads = head - 1
    explanation = explain_any(model, " ".join(words), layers=layers, heads=heads, word=word)
    for warning in explanation.warnings:
        print_remark(warning)
    if json:
        print_json(explanation.to_dict())
    else:
        _print_text(explanation)
    if out is not None or formats:
        (page,) = _pages(["text"], out, [])
        for path in write_report(explanation, page, formats=formats):
            print_remark(f"wrote {path}")
    return 0


def _print_text(explanation: "TextExplanation") -> None:
    from clearhead.cli.output import print_line, print_table
    from clearhead.explanation.tables import even_share, number, text_tables

    print_line(f"{explanation.model}: {explanation.description}")
    for table in text_tables(explanation):
        print_line()
        print_table(table.caption, table.head, table.rows)
    print_line(
        f"\n{even_share(explanation)}; verified: the weights of all {explanation.num_verified} "
        "layers are what the model computed"
    )
    print_line("layers (L), heads (H) and words are counted from 1")
    if explanation.prediction is not None:
        question, words = explanation.prediction.question, explanation.prediction.words
        predicted = ", ".join(f"{word} {number(probability)}" for word, probability in words)
        print_line(f"predicted after “{question}”, in per cent: {predicted}")


def _explain_pictures(
    classifier: "ImageClassifier",
    images: tuple[str, ...],
    layers: list[str | int] | None,
    out: Path | None,
    formats: list[str],
) -> int:
    from clearhead.cli.output import print_remark
    from clearhead.cli.pictures import STDIN, named_pictures, read_picture
    from clearhead.errors import ImageError
    from clearhead.explanation import explain as explain_any
    from clearhead.explanation import write_report

    names = [name for name in named_pictures(images) if not _is_written(name, images)]
    failed = False
    for name, page in zip(names, _pages(names, out, formats), strict=True):
        title = "stdin" if name == STDIN else str(name)
        row: dict[str, Any]
        try:
            explanation = explain_any(classifier, read_picture(name), layers=layers, name=title)
            files = write_report(explanation, page, formats=formats)
            row = {
                "image": str(name),
                "model": explanation.model,
                **explanation.prediction.to_dict(),
            }
            row["files"] = [str(file) for file in files]
        except ImageError as error:
            failed = True
            row = {"image": str(name), "error": str(error).removeprefix(f"{name}: ")}
            print_remark(f"{name}: {row['error']}")
        _print_row(row, json="json" in formats)
    return int(failed)


def _is_written(name: str | Path, images: tuple[str, ...]) -> bool:
    """Whether a picture found in a folder is a figure that an earlier call has written."""
    return Path(name).stem.endswith("-explained") and str(name) not in images


def _pages(names: Sequence[str | Path], out: Path | None, formats: list[str]) -> list[Path]:
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


def _stems(names: Sequence[str | Path]) -> Iterator[str]:
    """The pictures' names without folder and suffix, numbered where one comes again."""
    counts: dict[str, int] = {}
    for name in names:
        stem = "stdin" if name == "-" else Path(name).stem
        counts[stem] = counts.get(stem, 0) + 1
        yield stem if counts[stem] == 1 else f"{stem}-{counts[stem]}"


def _print_row(row: dict[str, Any], *, json: bool) -> None:
    import json as writer

    from clearhead.cli.output import percent, print_facts, print_line

    if json:
        print_line(writer.dumps(row, ensure_ascii=False, allow_nan=False))
    elif "error" not in row:
        prediction = "none"
        if row["label"] is not None:
            prediction = f"{row['label']}, {percent(row['probability'])} %"
        if row["runner_up"] is not None:
            prediction += f"; then {row['runner_up']}, {percent(row['runner_up_probability'])} %"
        facts = [("prediction", prediction)]
        facts += [("warning", warning) for warning in row["warnings"]]
        print_facts(row["image"], facts + [("wrote", path) for path in row["files"]])
