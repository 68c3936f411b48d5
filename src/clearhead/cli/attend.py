"""`clearhead attend`: the attention between the words of a text; `clearhead explain` for texts."""

from typing import Annotated

from tyro.conf import Positional, arg

from clearhead.cli.explain import DEFAULTS, Options
from clearhead.errors import ConfigError

MODEL_HELP = (
    '"sentences" (bidirectional), "sentences-causal", a folder with a saved text model, or '
    '"hf:FOLDER" for a BERT, a GPT-2 or another text model of transformers'
)
TEXT_HELP = "a sentence; in quotes where the shell would interpret its punctuation"


Text = Positional[Annotated[tuple[str, ...], arg(metavar="TEXT ...", help=TEXT_HELP)]]


def attend(
    text: Text,
    *,
    model: Annotated[str, arg(metavar="MODEL", help=MODEL_HELP)] = "sentences",
    options: Options = DEFAULTS,
) -> int:
    """Show which tokens the words of a text attend to, in per cent.

    The weights are recorded in the forward pass, and verified. By default a table shows the weights
    of the pronoun in every layer; in a text without a pronoun, a table for each layer shows those
    of every word. With --out, --png, --svg or --csv an HTML page is written, and the other formats
    beside it.
    """
    from clearhead.cli.explain import explain_text, open_model
    from clearhead.explanation import TextModel

    if not text:
        raise ConfigError("expected a sentence; run `clearhead attend --help` for help")
    classifier = open_model(model)
    if not isinstance(classifier, TextModel):
        raise ConfigError(
            f"{model} is an image classifier, expected a text model; explain its predictions with "
            f"`clearhead explain PICTURE --model {model}`"
        )
    return explain_text(classifier, text, options)
