"""The text model that every page carries beside its own, and what PyTorch computed for it once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy import ndarray
from safetensors.numpy import load as read_tensors

from clearhead._atomic import sha256
from clearhead.errors import CheckpointError
from clearhead.microscope.payload import rounded, shapes_of

if TYPE_CHECKING:
    from clearhead.models.text import TextTransformer

NAME = "sentences"
MODEL = Path(str(resources.files("clearhead.models"))) / "shipped" / NAME
FACTS = Path(str(resources.files("clearhead.microscope"))) / "shipped" / f"{NAME}.json"

# Read when the page opens, and compared with what PyTorch made of them.
CHECKED = (
    "The dog chased the ball because it was hungry.",
    "the cat sat",
    "the ball hit the car because it was round . which one ? the [mask] .",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextPart:
    """What goes into the page: settings as JSON has them, weights in half precision."""

    settings: Mapping[str, Any]
    tensors: Mapping[str, ndarray]


def shipped_text() -> TextPart:
    """The shipped text model; `CheckpointError` if the package's files do not belong together."""
    content = (MODEL / "model.safetensors").read_bytes()
    facts = json.loads(FACTS.read_bytes())
    saved = json.loads((MODEL / "config.json").read_bytes())
    if not sha256(content) == facts["sha256"] == saved["sha256"]:
        raise CheckpointError(
            f"{FACTS} does not belong to the weights in {MODEL}; install the package again, or "
            "make the file again: python -m clearhead.microscope.shipped"
        )
    tensors = rounded(read_tensors(content))
    settings = {
        "name": NAME,
        "settings": saved["model"],
        "tensors": shapes_of(tensors),
        "checks": facts["checks"],
    }
    return TextPart(settings=settings, tensors=tensors)


def measure_text() -> dict[str, object]:
    """What is kept: the logits of the last word of some texts, with the rounded weights."""
    import torch

    from clearhead.data import WordTokenizer
    from clearhead.microscope.reference import rounded_model
    from clearhead.models import load

    model: TextTransformer = rounded_model(load(NAME))
    tokenizer = WordTokenizer(model.config.vocabulary)
    checks = []
    for text in CHECKED:
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer.encode(text).ids]))[0, -1]
        checks.append({"text": text, "logits": [round(logit, 10) for logit in logits.tolist()]})
    return {"sha256": sha256((MODEL / "model.safetensors").read_bytes()), "checks": checks}
