"""`clearhead attend`: whom the words of a text attend to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from clearhead.explanation.text.attend import Attended, Heads

MODEL_HELP = (
    '"sentences" (sees both directions), "sentences-causal" (sees the words before alone), a '
    'folder with a saved text model, or "hf:FOLDER" for a BERT, a GPT-2 or another one of '
    "transformers"
)
TEXT_HELP = "a sentence; in quotes where it has signs that the shell reads"
WORD_HELP = "the word that asks"
LAYER_HELP = "one layer with all its heads; layers are counted from 1, as on the page"
HEAD_HELP = "one head, from 1 too, instead of the mean over all heads of a layer"
JSON_HELP = "print the same as JSON; there layers, heads and places count from 0, as in Python"
CSV_HELP = "write the same as CSV; there too they count from 0"

File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]


def attend(
    text: Positional[
        Annotated[tuple[str, ...], arg(metavar="TEXT ...", help=TEXT_HELP, help_behavior_hint="")]
    ],
    *,
    model: Annotated[str, arg(metavar="MODEL", help=MODEL_HELP)] = "sentences",
    word: Annotated[
        str | None,
        arg(
            metavar="STR",
            help=WORD_HELP,
            help_behavior_hint="(optional; default: the pronoun, or else every word)",
        ),
    ] = None,
    layer: Annotated[
        int | None,
        arg(metavar="INT", help=LAYER_HELP, help_behavior_hint="(optional; default: every layer)"),
    ] = None,
    head: Annotated[
        int | None,
        arg(metavar="INT", help=HEAD_HELP, help_behavior_hint="(optional; default: the mean)"),
    ] = None,
    json: Annotated[bool, arg(help=JSON_HELP, help_behavior_hint="")] = False,
    csv: Annotated[File, arg(help=CSV_HELP)] = None,
    png: Annotated[File, arg(help="draw it as PNG")] = None,
    svg: Annotated[File, arg(help="draw it as SVG")] = None,
) -> int:
    """Show whom the words of a text attend to, in per cent.

    The weights are captured while the model reads the text, and proved to be what it computed. One
    word's row in every layer, by default the pronoun's; without a pronoun a table for each layer.
    """
    from clearhead.cli.output import print_json, print_remark, usage_error
    from clearhead.explanation.text.attend import attend as attend_to
    from clearhead.explanation.text.files import attended_dict

    if not text:
        return usage_error("a sentence", "attend")
    _check_names(csv=csv, png=png, svg=svg)
    one_layer, one_head = _from_zero(layer, "layer"), _from_zero(head, "head")
    heads: Heads = "mean" if layer is None else "each"
    found = attend_to(
        " ".join(text),
        model,
        word=word,
        layer=one_layer,
        head=heads if one_head is None else one_head,
    )
    for remark in found.remarks:
        print_remark(remark)
    if json:
        print_json(attended_dict(found))
    else:
        _print_attended(found)
    _write_files(found, csv, [path for path in (png, svg) if path is not None])
    return 0


def _check_names(**files: Path | None) -> None:
    from clearhead.errors import ConfigError

    for kind, path in files.items():
        if path is not None and path.suffix.lower() != f".{kind}":
            raise ConfigError(
                f"--{kind} writes a .{kind} file; name it {path.with_suffix('.' + kind)}"
            )


def _from_zero(number: int | None, what: str) -> int | None:
    from clearhead.errors import ConfigError

    if number is not None and number < 1:
        raise ConfigError(f"{what}s are counted from 1 here, got {number}")
    return None if number is None else number - 1


def _print_attended(found: "Attended") -> None:
    from clearhead.cli.output import print_line, print_table
    from clearhead.explanation.text.files import column_name, heads_said
    from clearhead.insight.tables import cell_text

    print_line(f"{found.model}: {found.about}")
    names = [column_name(found, number) for number in range(len(found.tables))]
    tables = range(len(names))
    if len(found.asking) < len(found.tokens):
        for row, place in enumerate(found.asking):
            asking = f"“{found.tokens[place]}” (word {place + 1})"
            print_line()
            print_table(
                f"Whom {asking} asks, in per cent: {heads_said(found)}",
                ("word", *names),
                zip(
                    found.tokens, *(map(cell_text, found.rows(t, row)) for t in tables), strict=True
                ),
            )
    else:
        for number, name in enumerate(names):
            print_line()
            print_table(
                f"{name}: whom each word asks, a row a word, in per cent: {heads_said(found)}",
                ("asks", *found.tokens),
                (
                    (token, *map(cell_text, found.rows(number, row)))
                    for row, token in enumerate(found.tokens)
                ),
            )
    print_line(f"\n{_even_share(found)}; proved: {_proved(found)}")
    print_line("layers, heads and words are counted from 1, as on the page")
    _print_answer(found)


def _even_share(found: "Attended") -> str:
    """What each word would get if all that can be seen got the same."""
    counts = found.can_see()
    if not counts:
        return "no word can see any"
    if counts == (len(found.tokens),):
        return f"an even share is {_cell(1 / counts[0])}"
    if len(counts) == 1:
        return (
            f"an even share is {_cell(1 / counts[0])}, of the {counts[0]} words that it can see; "
            "– cannot be seen"
        )
    return (
        f"an even share is {_cell(1 / counts[-1])} to {_cell(1 / counts[0])}, as each word can see "
        f"{counts[-1]} to {counts[0]}; – cannot be seen"
    )


def _print_answer(found: "Attended") -> None:
    from clearhead.cli.output import print_line

    if found.answer is not None:
        words = ", ".join(f"{word} {_cell(share)}" for word, share in found.answer.words)
        print_line(f"asked “{found.answer.question}” it answers, in per cent: {words}")


def _proved(found: "Attended") -> str:
    return f"the weights of all {found.verified} layers are what the model computed"


def _cell(weight: float) -> str:
    """A share in per cent, without the sign."""
    from clearhead.insight.tables import percent

    return percent(weight).removesuffix(" %")


def _write_files(found: "Attended", csv: Path | None, pictures: list[Path]) -> None:
    from clearhead._atomic import write_atomic
    from clearhead.cli.output import print_remark
    from clearhead.explanation.text.files import attended_csv, attended_figure

    if csv is not None:
        write_atomic(csv, attended_csv(found).encode())
        print_remark(f"wrote {csv}")
    for path in pictures:
        from clearhead.insight.plots import save_figure

        save_figure(attended_figure(found), path)
        print_remark(f"wrote {path}")
