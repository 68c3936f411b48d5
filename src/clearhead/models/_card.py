"""The model card, README.md, of a saved model: what it is, what was measured, how it is loaded."""

from dataclasses import asdict

from torch import nn

from clearhead.models.config import ImageModelConfig, ModelConfig, TextConfig

CARD = "README.md"
UNMEASURED = "not recorded here"
MARK = "<!-- Clearhead replaces this file when it saves the model; remove this line to keep it. -->"
MAX_LISTED = 16

TEMPLATE = """---
library_name: clearhead
tags: [{tag}]
---

{mark}

# {architecture}

- **What it is**: {what}; {parameters:,} parameters.
- **Settings**: {settings}; also in `config.json`, with the SHA-256 of the weights.
- **Accuracy**: {measured}.

To use it with Clearhead, where FOLDER is the folder of this file:

```python
import clearhead

model = clearhead.load("FOLDER")
```

```sh
{command}
```
"""


def model_card(model: nn.Module, config: ModelConfig, measured: str = UNMEASURED) -> str:
    """The card as Markdown, with the metadata that the Hugging Face hub expects."""
    is_text = isinstance(config, TextConfig)
    return TEMPLATE.format(
        mark=MARK,
        tag="text" if is_text else "image-classification",
        architecture=type(model).__name__,
        what=_description(config),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        settings=", ".join(f"{name} {_shown(value)}" for name, value in asdict(config).items()),
        measured=measured,
        command='clearhead attend "SENTENCE" --model FOLDER'
        if is_text
        else "clearhead predict PICTURE --model FOLDER",
    )


def _description(config: ModelConfig) -> str:
    if isinstance(config, TextConfig):
        context = "earlier words only" if config.causal else "all words"
        return (
            f"a text model for at most {config.context_length} words, with a vocabulary of "
            f"{len(config.vocabulary)}; each word attends to {context}"
        )
    if isinstance(config, ImageModelConfig):
        size = " × ".join(map(str, config.image_shape))
        kind = "grey" if config.in_channels == 1 else f"{config.in_channels}-channel"
        classes = ", ".join(config.labels[:MAX_LISTED])
        more = ", …" if len(config.labels) > MAX_LISTED else ""
        return f"a classifier of {kind} images of {size} pixels; its classes are {classes}{more}"
    return "a model"


def _shown(value: object) -> str:
    """A setting as text; of a long tuple, its length."""
    if not isinstance(value, tuple):
        return str(value)
    if len(value) > MAX_LISTED:
        return f"({len(value)} values)"
    return f"({', '.join(map(str, value))})"
