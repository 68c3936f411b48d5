"""`clearhead attend`: the attention between the words of a text; `clearhead explain` for texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from clearhead.cli.explain import Options
from clearhead.cli.parsing import UsageError

MODEL_HELP = (
    '"sentences" (bidirectional), "sentences-causal", a folder with a saved text model, or '
    '"hf:FOLDER" for a BERT, a GPT-2 or another text model of transformers'
)
TEXT_HELP = "a sentence; in quotes where the shell would interpret its punctuation"


@dataclass(frozen=True, kw_only=True)
class TextOptions(Options):
    """The options of `explain`, described for texts."""

    out: Annotated[
        Path | None,
        arg(
            metavar="PATH",
            help="write an HTML page: a file, or a folder",
            help_behavior_hint="(default: none, or text-explained.html with a format)",
        ),
    ] = None
    layers: Annotated[
        tuple[str, ...],
        arg(
            metavar="LAYER [LAYER ...]",
            help="layers whose single heads are shown: numbers from 1 (-1 is the last), names, or "
            'patterns ("blocks.*")',
            help_behavior_hint="(default: the mean over the heads of every layer)",
        ),
    ] = ()
    word: Annotated[
        str | None,
        arg(
            metavar="WORD",
            help="the query word",
            help_behavior_hint="(default: the pronoun, or every word)",
        ),
    ] = None
    head: Annotated[
        int | None,
        arg(metavar="INT", help="one head, from 1", help_behavior_hint="(default: the mean)"),
    ] = None
    json: Annotated[bool, arg(help="print JSON")] = False


TEXT_DEFAULTS = TextOptions()
Text = Positional[Annotated[tuple[str, ...], arg(metavar="TEXT ...", help=TEXT_HELP)]]


def attend(
    text: Text,
    *,
    model: Annotated[str, arg(metavar="MODEL", help=MODEL_HELP)] = "sentences",
    options: TextOptions = TEXT_DEFAULTS,
) -> int:
    """Show which tokens the words of a text attend to, in per cent.

    The weights are recorded in the forward pass, and verified. By default a table shows the weights
    of the pronoun in every layer; in a text without a pronoun, a table for each layer shows those
    of every word. With --out, --png, --svg or --csv an HTML page is written, and the other formats
    beside it.
    """
    from clearhead.cli.explain import explain_text, open_model
    from clearhead.errors import ConfigError
    from clearhead.explanation import TextModel

    if not text:
        raise UsageError("expected a sentence; run `clearhead attend --help` for help")
    classifier = open_model(model)
    if not isinstance(classifier, TextModel):
        raise ConfigError(
            f"{model} is an image classifier, expected a text model; explain its predictions with "
            f"`clearhead explain PICTURE --model {model}`"
        )
    return explain_text(classifier, text, options)
