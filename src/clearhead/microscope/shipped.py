"""The page of the model that ships with the package, built without torch.

`shipped/digits.json` keeps what PyTorch computed for it once. `python -m
clearhead.microscope.shipped` writes that file again, and that of the text model (`sentences`):
after new weights or new examples.
"""

import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors.numpy import load as read_tensors

from clearhead._atomic import sha256, write_atomic
from clearhead.errors import CheckpointError
from clearhead.microscope import sentences
from clearhead.microscope.page import assemble
from clearhead.microscope.payload import Accuracy, rounded
from clearhead.models.config import ViTConfig

NAME = "digits"
MODEL = Path(str(resources.files("clearhead.models"))) / "shipped" / NAME
FACTS = Path(str(resources.files("clearhead.microscope"))) / "shipped" / f"{NAME}.json"


def ready_page() -> str:
    """The microscope for the shipped digit reader, as HTML.

    Raises `CheckpointError` if the package's files do not belong together.
    """
    content = (MODEL / "model.safetensors").read_bytes()
    facts = json.loads(FACTS.read_bytes())
    saved = json.loads((MODEL / "config.json").read_bytes())
    if not sha256(content) == facts["sha256"] == saved["sha256"]:
        raise CheckpointError(
            f"{FACTS} does not belong to the weights in {MODEL}; install the package again, or "
            "make the file again: python -m clearhead.microscope.shipped"
        )
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in saved["model"].items()
    }
    return assemble(
        ViTConfig(**settings),
        rounded(read_tensors(content)),
        name=NAME,
        logits=facts["logits"],
        accuracy=Accuracy(**facts["accuracy"]),
    )


def measure() -> dict[str, object]:
    """What is kept: logits of the examples, and accuracy of rounded and full weights on MNIST."""
    from clearhead.data import load_dataset
    from clearhead.inference import evaluate
    from clearhead.microscope.reference import example_logits, rounded_model
    from clearhead.models import load
    from clearhead.models.vit import VisionTransformer

    model = load(NAME, VisionTransformer)
    digits = load_dataset("mnist", "test")
    small = evaluate(rounded_model(model).float(), digits)
    full = evaluate(model, digits)
    return {
        "sha256": sha256((MODEL / "model.safetensors").read_bytes()),
        "accuracy": {"correct": small.correct, "total": small.total, "full": full.correct},
        "logits": example_logits(model),
    }


if __name__ == "__main__":
    for file, facts in ((FACTS, measure()), (sentences.FACTS, sentences.measure_text())):
        write_atomic(file, (json.dumps(facts, separators=(",", ":")) + "\n").encode())
        sys.stdout.write(f"wrote {file}\n")
