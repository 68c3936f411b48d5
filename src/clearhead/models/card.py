"""The README.md of a saved model: what it is, what was measured, how it is loaded.

Nothing stands in it that the folder does not bear out, whether it stays here or goes to the hub.
"""

from dataclasses import asdict
from pathlib import Path

from torch import nn

from clearhead._atomic import write_atomic
from clearhead.models.config import ImageModelConfig, ModelConfig, TextConfig

CARD = "README.md"
UNMEASURED = "not recorded here"
MARK = "<!-- Clearhead writes this file again with the model; without this line, it does not. -->"
FEW = 16

TEMPLATE = """---
library_name: clearhead
tags: [{tag}]
---

{mark}

# {architecture}

- **What it is**: {what}; {parameters:,} parameters.
- **Settings**: {settings}. `config.json` has them too, with the SHA-256 of the weights.
- **Accuracy**: {measured}.

To use it with Clearhead, where FOLDER is the folder that this file lies in:

```python
import clearhead

model = clearhead.{load}("FOLDER")
```

```sh
{command}
```
"""


def model_card(model: nn.Module, config: ModelConfig, measured: str = UNMEASURED) -> str:
    """The card as Markdown, with the head that the Hugging Face hub reads."""
    reads_text = isinstance(config, TextConfig)
    return TEMPLATE.format(
        mark=MARK,
        tag="text" if reads_text else "image-classification",
        architecture=type(model).__name__,
        what=_what(config),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        settings=", ".join(f"{name} {_shown(value)}" for name, value in asdict(config).items()),
        measured=measured,
        load="load_text" if reads_text else "load",
        command='clearhead attend "SENTENCE" --model FOLDER'
        if reads_text
        else "clearhead predict PICTURE --model FOLDER",
    )


def write_card(
    folder: Path, model: nn.Module, config: ModelConfig, measured: str = UNMEASURED
) -> None:
    """Write our card, unless there is one that somebody else has written."""
    path = folder / CARD
    if not path.exists() or MARK in path.read_text(encoding="utf-8", errors="replace"):
        write_atomic(path, model_card(model, config, measured).encode())


def _what(config: ModelConfig) -> str:
    if isinstance(config, TextConfig):
        sees = "the words before it alone" if config.causal else "all words"
        words = f"{config.context_length} words, of {len(config.vocabulary)} that it knows"
        return f"it reads texts of at most {words}, and each word sees {sees}"
    if isinstance(config, ImageModelConfig):
        size = " × ".join(map(str, config.image_shape))
        kind = "grey" if config.in_channels == 1 else f"{config.in_channels}-channel"
        answers = ", ".join(config.answers[:FEW])
        more = ", …" if len(config.answers) > FEW else ""
        return f"it reads {kind} images of {size} pixels, and answers with {answers}{more}"
    return "a model"


def _shown(value: object) -> str:
    """A setting in a few words: of many, how many."""
    if isinstance(value, tuple):
        return f"({len(value)} of them)" if len(value) > FEW else f"({', '.join(map(str, value))})"
    return str(value)
