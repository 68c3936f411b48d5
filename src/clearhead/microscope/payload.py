"""What the page carries beside its script: settings, drawings, and weights in half precision.

IEEE 754 binary16 halves the file; the rounded weights are the page's model, and everything that is
said about it (`reference`, accuracy) is said about them.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from clearhead.data.preprocessing.strokes import Stroke
from clearhead.errors import ConfigError
from clearhead.models.config import ViTConfig

MOST_TOKENS, MOST_CLASSES, MOST_LAYERS, MOST_HEADS = 65, 40, 16, 16
MOST_NUMBERS = 4_000_000  # weights: about 11 MB as a page


@dataclass(frozen=True, kw_only=True)
class Example:
    """A drawing that comes with the page."""

    label: str
    strokes: Sequence[Stroke]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How many digits of a test set the rounded weights read, and how many the full ones."""

    correct: int
    total: int
    full: int


def examples() -> tuple[Example, ...]:
    """Two drawings of each digit, for a first look and for the page's check of itself."""
    return tuple(Example(**example) for example in json.loads(_shipped("examples.json")))


def check_config(config: ViTConfig) -> None:
    """Raise `ConfigError` unless the page can show a model with these settings."""
    sizes = {
        "tokens": (config.num_prefix_tokens + config.grid[0] * config.grid[1], MOST_TOKENS),
        "classes": (config.num_classes, MOST_CLASSES),
        "layers": (config.depth, MOST_LAYERS),
        "heads a layer": (config.num_heads, MOST_HEADS),
    }
    for name, (found, most) in sizes.items():
        if found > most:
            raise ConfigError(
                f"the microscope shows models of at most {most} {name}, this one has {found}; "
                "choose a smaller model"
            )


def rounded(tensors: Mapping[str, ndarray]) -> dict[str, ndarray]:
    """The weights in half precision, by name; `ConfigError` if they do not fit into it."""
    count = sum(tensor.size for tensor in tensors.values())
    if count > MOST_NUMBERS:
        raise ConfigError(
            f"the microscope carries at most {MOST_NUMBERS:,} weights, this model has {count:,}; "
            "choose a smaller model"
        )
    with np.errstate(over="ignore"):
        halves = {name: np.asarray(tensors[name], np.float16) for name in sorted(tensors)}
    for name, tensor in halves.items():
        if not np.isfinite(tensor).all():
            raise ConfigError(f"{name} holds numbers beyond ±65,504, which half precision lacks")
    return halves


def settings_block(
    config: ViTConfig,
    tensors: Mapping[str, ndarray],
    *,
    name: str,
    logits: Sequence[Sequence[float]],
    accuracy: Accuracy | None,
    text: Mapping[str, Any],
) -> str:
    """Everything but the weights, as JSON that may stand in HTML."""
    carried: dict[str, Any] = {
        "name": name,
        "version": version("clearhead"),
        "settings": asdict(config),
        "tensors": shapes_of(tensors),
        "examples": [asdict(example) for example in examples()],
        "logits": logits,
        "accuracy": accuracy and asdict(accuracy),
        "text": text,
    }
    written = json.dumps(carried, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return written.replace("<", "\\u003c")


def shapes_of(tensors: Mapping[str, ndarray]) -> list[dict[str, Any]]:
    """Names and shapes, in the order of the weights."""
    return [{"name": name, "shape": tensor.shape} for name, tensor in tensors.items()]


def weights_block(tensors: Mapping[str, ndarray]) -> str:
    """The weights, little-endian, one tensor after the other, in base64."""
    return base64.b64encode(
        b"".join(tensor.astype("<f2").tobytes() for tensor in tensors.values())
    ).decode("ascii")


def _shipped(name: str) -> str:
    return (Path(str(resources.files("clearhead.microscope"))) / "shipped" / name).read_text(
        "utf-8"
    )
