"""`clearhead explain`: predictions for pictures, one page each, and attention in texts."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from clearhead._paths import exists, is_folder
from clearhead.cli.options import ClassifierSource, ImageColumn, Images, check_given
from clearhead.cli.output import (
    percent,
    print_facts,
    print_json,
    print_line,
    print_remark,
    print_table,
)
from clearhead.errors import ConfigError

if TYPE_CHECKING:
    from clearhead.explanation import ImageClassifier, TextExplanation, TextModel
    from clearhead.explanation.texts import Heads


OUT_HINT = (
    "(default: NAME-explained.html here; for a text none, or text-explained.html with a format)"
)
LAYERS_HELP = (
    'layers to show: numbers from 1 (-1 is the last), names, or patterns ("blocks.*"); for a text, '
    "their single heads"
)
LAYERS_HINT = (
    "(default: as many as fit into the page; for a text the mean over the heads of every layer)"
)
WORD_HINT = "(default: the pronoun, or every word)"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that `explain` and `attend` have in common."""

    out: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint=OUT_HINT)] = None
    """the HTML page; for several inputs a folder, or PAGE.html for PAGE-NAME.html"""
    layers: Annotated[
        tuple[str, ...],
        arg(metavar="LAYER [LAYER ...]", help=LAYERS_HELP, help_behavior_hint=LAYERS_HINT),
    ] = ()
    word: Annotated[str | None, arg(metavar="WORD", help_behavior_hint=WORD_HINT)] = None
    """texts: the query word"""
    head: Annotated[int | None, arg(help_behavior_hint="(default: the mean)")] = None
    """texts: one head, from 1"""
    png: bool = False
    """write a figure as PNG too"""
    svg: bool = False
    """write a figure as SVG too"""
    json: bool = False
    """print JSON; for images a line each, and the data beside the page"""
    csv: bool = False
    """write the data as CSV too"""

    def formats(self, *names: str) -> list[str]:
        """Those of the named file formats that are chosen."""
        return [name for name in names if getattr(self, name)]

    def layer_choice(self) -> list[str | int] | None:
        """Names and patterns, and indices from 0 for numbers; commas separate like spaces."""
        chosen: list[str | int] = []
        for part in filter(None, ",".join(self.layers).split(",")):
            number = int(part) if re.fullmatch(r"-?[0-9]{1,9}", part) else None
            if number == 0:
                raise ConfigError("--layers counts from 1, got 0")
            chosen.append(part if number is None else number - (number > 0))
        return chosen or None


DEFAULTS = Options()
DIGIT_SUFFIX = re.compile(r"(?<=.)-digit-[0-9]+$")  # of files for one of several digits


def explain(
    images: Images,
    *,
    model: ClassifierSource = "digits",
    image_column: ImageColumn = None,
    options: Options = DEFAULTS,
) -> int:
    """Explain predictions: one HTML page for each picture.

    For a picture of several digits there is a page for each: NAME-explained-digit-1.html and so on.
    The page shows the model input, the prediction, the attention weights of every layer and head,
    the effect of masking each patch, and a check that the weights are those of the forward pass.
    Files in other formats have the page's name with their own suffix. A picture that cannot be
    decoded is reported, the others are explained all the same, and the exit code is 1.

    With a text model the arguments are a text; see `clearhead attend`.
    """
    from clearhead.explanation import TextModel

    check_given(images, "explain")
    classifier = open_model(model)
    if isinstance(classifier, TextModel):
        if image_column is not None:
            raise ConfigError("--image-column is for pictures, and this is a text; leave it out")
        return explain_text(classifier, images, options)
    if options.word is not None or options.head is not None:
        raise ConfigError("--word and --head are for texts; give a text model with --model")
    return _explain_pictures(classifier, images, image_column, options)


def open_model(name: str) -> "ImageClassifier | TextModel":
    """The classifier with this name; a spinner on stderr shows that it is being loaded."""
    from rich.console import Console
    from rich.text import Text

    from clearhead.explanation import open_classifier

    with Console(stderr=True).status(Text(f"loading {name}")):
        return open_classifier(name)


def explain_text(model: "TextModel", words: Sequence[str], options: Options) -> int:
    """Explain a text, print tables or JSON, and write files if the options name any."""
    from clearhead.explanation import explain as explain_any
    from clearhead.explanation import write_report

    if file := next(filter(os.path.isfile, words), None):  # False for a text too long for a name
        raise ConfigError(
            f"{file} is a file, expected a text; for pictures give an image model with --model"
        )
    layers, head = options.layer_choice(), options.head
    if head is not None and head < 1:
        raise ConfigError(f"--head counts from 1, got {head}")
    formats = options.formats("png", "svg", "csv")
    pages = _pages(["text"], options.out, []) if options.out is not None or formats else []
    heads: Heads = head - 1 if head is not None else "mean" if layers is None else "each"
    explanation = explain_any(model, " ".join(words), layers=layers, heads=heads, word=options.word)
    for warning in explanation.warnings:
        print_remark(warning)
    if options.json:
        print_json(explanation.to_dict())
    else:
        _print_text(explanation)
    for page in pages:
        for path in write_report(explanation, page, formats=formats):
            print_remark(f"wrote {path}")
    return 0


def _print_text(explanation: "TextExplanation") -> None:
    from clearhead.explanation.texts import number, text_tables, uniform_weight

    print_line(f"{explanation.model}, {explanation.description}")
    for table in text_tables(explanation):
        print_line()
        print_table(table.caption, table.head, table.rows)
    print_line(
        f"\n{uniform_weight(explanation)}; verified: the weights of all {explanation.num_verified} "
        "layers are what the model computed"
    )
    print_line("layers (L), heads (H) and words are counted from 1")
    if explanation.prediction is not None:
        question, words = explanation.prediction.question, explanation.prediction.words
        predicted = ", ".join(f"{word} {number(probability)}" for word, probability in words)
        print_line(f"predicted after the text and “{question}”, in per cent: {predicted}")


def _explain_pictures(
    classifier: "ImageClassifier",
    images: tuple[str, ...],
    image_column: str | None,
    options: Options,
) -> int:
    from clearhead.cli.options import STDIN, list_inputs, picture_reader
    from clearhead.errors import ImageError
    from clearhead.explanation import explain as explain_any
    from clearhead.explanation import write_report

    layers, formats = options.layer_choice(), options.formats("png", "svg", "json", "csv")
    refs = [ref for ref in list_inputs(images, image_column) if not _is_written(ref.name, images)]
    pages = _pages([ref.name for ref in refs], options.out, formats)
    read, failed = picture_reader(image_column), False
    for ref, page in zip(refs, pages, strict=True):
        name = ref.name
        title = "stdin" if name == STDIN else name
        row: dict[str, Any] = {"image": name}
        try:
            explanation = explain_any(classifier, read(ref), layers=layers, name=title)
            files = write_report(explanation, page, formats=formats)
            row |= {"model": explanation.model} | explanation.prediction.to_dict()
            row["files"] = [str(file) for file in files]
        except ImageError as error:
            failed = True
            row["error"] = str(error).removeprefix(f"{name}: ")
            if not exists(name) and not re.search(r"[/\\]|\.\w+$", name):
                row["error"] += "; for a text use `clearhead attend`, or give --model sentences"
            print_remark(f"{name}: {row['error']}")
        if options.json:
            print_json(row, indent=None)
        elif "error" not in row:
            _print_prediction(row)
    return int(failed)


def _is_written(name: str, images: tuple[str, ...]) -> bool:
    """Whether a picture found in a folder is a figure that an earlier call has written."""
    stem = DIGIT_SUFFIX.sub("", Path(name).stem)
    return stem.endswith("-explained") and name not in images


def _pages(names: Sequence[str], out: Path | None, formats: list[str]) -> list[Path]:
    """A page for each picture, no two the same, none of them (or their figures) a picture."""
    stems = list(_stems(names))
    if out is None or is_folder(out) or not out.suffix:
        pages = [(out or Path()) / f"{stem}-explained.html" for stem in stems]
    elif out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out names an HTML file or a folder, got {str(out)!r}")
    elif len(names) == 1:
        pages = [out]
    else:
        pages = [out.with_name(f"{out.stem}-{stem}{out.suffix}") for stem in stems]
    suffixes = [f".{name}" for name in formats]
    written = {page.with_suffix(x).absolute() for page in pages for x in (page.suffix, *suffixes)}
    given = [Path(name).absolute() for name in names]
    of_digits = {
        path: path.with_stem(DIGIT_SUFFIX.sub("", path.stem))
        for path in (*given, *(page.absolute() for page in pages))
        if DIGIT_SUFFIX.search(path.stem)
    }
    clashes = written.intersection(given) | {x for x, page in of_digits.items() if page in written}
    if clashes:
        raise ConfigError(f"{min(clashes)} would be overwritten; give another --out")
    return pages


def _stems(names: Sequence[str]) -> Iterator[str]:
    """The pictures' names without folder and suffix, numbered where one comes again."""
    counts: dict[str, int] = {}
    for name in names:
        stem = "stdin" if name == "-" else Path(name).stem
        counts[stem] = counts.get(stem, 0) + 1
        yield stem if counts[stem] == 1 else f"{stem}-{counts[stem]}"


def _print_prediction(row: dict[str, Any]) -> None:
    prediction = "none"
    if row["label"] is not None:
        prediction = f"{row['label']}, {percent(row['probability'])} %, {row['status']}"
    if row["runner_up"] is not None:
        prediction += f"; then {row['runner_up']}, {percent(row['runner_up_probability'])} %"
    facts = [("prediction", prediction)]
    facts += [("warning", warning) for warning in row["warnings"]]
    print_facts(row["image"], facts + [("wrote", path) for path in row["files"]])
