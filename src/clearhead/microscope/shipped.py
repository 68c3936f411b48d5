"""The shipped models as the page contains them, read without torch, with PyTorch's results.

`shipped/digits.json` and `shipped/sentences.json` hold PyTorch's results with the rounded weights.
Write them again after a change of weights or examples: `python -m clearhead.microscope.shipped`.
"""

import json
import sys
from importlib import resources
from pathlib import Path

from safetensors.numpy import load as read_tensors

from clearhead._atomic import sha256, write_atomic
from clearhead.errors import CheckpointError
from clearhead.microscope._payload import PageModel, rounded

DIGITS, SENTENCES = "digits", "sentences"
MODELS = Path(str(resources.files("clearhead.models"))) / "shipped"
FACTS = Path(str(resources.files("clearhead.microscope"))) / "shipped"

ROLE_IMAGES = 300  # on which the roles of heads are measured

# The page computes these when it opens, and compares the logits with PyTorch's.
CHECKED_TEXTS = (
    "The dog chased the ball because it was hungry.",
    "the cat sat",
    "the ball hit the car because it was round . which one ? the [mask] .",
)


def read_shipped(name: str) -> PageModel:
    """Read a shipped model and its results; raises `CheckpointError` if they do not match."""
    folder, facts_file = MODELS / name, FACTS / f"{name}.json"
    content = (folder / "model.safetensors").read_bytes()
    facts = json.loads(facts_file.read_bytes())
    saved = json.loads((folder / "config.json").read_bytes())
    if not sha256(content) == facts["sha256"] == saved["sha256"]:
        raise CheckpointError(
            f"{facts_file} does not belong to the weights in {folder}; install the package again, "
            "or write the file again: python -m clearhead.microscope.shipped"
        )
    return PageModel(
        name=name, settings=saved["model"], tensors=rounded(read_tensors(content)), facts=facts
    )


def measure_digits() -> dict[str, object]:
    """Logits of the examples, accuracy on the test set, and roles of heads on training digits."""
    from clearhead.data import load_dataset
    from clearhead.inference import evaluate
    from clearhead.insight import head_roles
    from clearhead.microscope._reference import example_logits, rounded_model
    from clearhead.models import load

    model = load(DIGITS)
    digits, training = (load_dataset("mnist", split) for split in ("test", "train"))
    half = evaluate(rounded_model(model).float(), digits)
    full = evaluate(model, digits)
    return {
        "sha256": _weights_digest(DIGITS),
        "accuracy": {"correct": half.correct, "total": half.total, "full": full.correct},
        "logits": example_logits(model),
        "roles": [role.label for role in head_roles(model, training.images[-ROLE_IMAGES:])],
    }


def measure_sentences() -> dict[str, object]:
    """Logits of the last word of some texts, with the rounded weights."""
    import torch

    from clearhead.data import WordTokenizer
    from clearhead.microscope._reference import rounded_model
    from clearhead.models import load

    model = rounded_model(load(SENTENCES))
    tokenizer = WordTokenizer(model.config.vocabulary)
    checks = []
    for text in CHECKED_TEXTS:
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer.encode(text).ids]))[0, -1]
        checks.append({"text": text, "logits": [round(logit, 10) for logit in logits.tolist()]})
    return {"sha256": _weights_digest(SENTENCES), "checks": checks}


def _weights_digest(name: str) -> str:
    return sha256((MODELS / name / "model.safetensors").read_bytes())


if __name__ == "__main__":
    for name, facts in ((DIGITS, measure_digits()), (SENTENCES, measure_sentences())):
        file = FACTS / f"{name}.json"
        write_atomic(file, (json.dumps(facts, separators=(",", ":")) + "\n").encode())
        sys.stdout.write(f"wrote {file}\n")
