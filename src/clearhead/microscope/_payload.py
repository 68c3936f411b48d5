"""The page's data: settings, example drawings, and weights in half precision.

Half precision (IEEE 754 binary16) halves the file. Logits and accuracy on the page are those
of the rounded weights.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from typing import Any, TypedDict

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from clearhead.data.preprocessing.strokes import Stroke
from clearhead.errors import ConfigError
from clearhead.models.config import ViTConfig

MAX_TOKENS, MAX_CLASSES, MAX_LAYERS, MAX_HEADS = 65, 40, 16, 16
MAX_WEIGHTS = 4_000_000  # a page of about 11 MB


@dataclass(frozen=True, kw_only=True, eq=False)
class PageModel:
    """A model in the form in which the page stores it.

    Attributes:
        name: The name that the page shows.
        settings: The configuration.
        tensors: The weights in half precision, sorted by name.
        facts: PyTorch's results with these weights: `logits` of the examples, or `checks` of a text
            model. The shipped classifier also has the `accuracy` on the test set, with these and
            with full weights, and the `roles` of its heads.
    """

    name: str
    settings: Mapping[str, Any]
    tensors: Mapping[str, ndarray]
    facts: Mapping[str, Any]

    @property
    def shapes(self) -> list[dict[str, Any]]:
        """Names and shapes of the tensors, in the order of `weights`."""
        return [{"name": name, "shape": tensor.shape} for name, tensor in self.tensors.items()]

    @property
    def weights(self) -> str:
        """All tensors, little-endian, concatenated, in base64."""
        content = b"".join(tensor.astype("<f2").tobytes() for tensor in self.tensors.values())
        return base64.b64encode(content).decode("ascii")


class Example(TypedDict):
    """An example drawing of the page."""

    label: str
    strokes: list[Stroke]


def examples() -> list[Example]:
    """Two drawings of each digit, as examples and for the page's self-check."""
    file = resources.files("clearhead.microscope") / "shipped" / "examples.json"
    drawings: list[Example] = json.loads(file.read_text("utf-8"))
    return drawings


def check_config(config: ViTConfig) -> None:
    """Raise `ConfigError` if a model with this configuration is too large for the page, or other.

    The page computes patches that do not overlap, and has no registers.
    """
    for name in ("stem_channels", "patch_overlap", "num_registers"):
        if value := getattr(config, name):
            raise ConfigError(
                f"the microscope shows models with {name} 0, this one has {value}; choose another "
                "model, or use `clearhead explain`"
            )
    sizes = {
        "tokens": (config.num_prefix_tokens + config.grid[0] * config.grid[1], MAX_TOKENS),
        "classes": (config.num_classes, MAX_CLASSES),
        "layers": (config.depth, MAX_LAYERS),
        "heads per layer": (config.num_heads, MAX_HEADS),
    }
    for name, (found, limit) in sizes.items():
        if found > limit:
            raise ConfigError(
                f"the microscope shows models of at most {limit} {name}, this one has {found}; "
                "choose a smaller model"
            )


def rounded(tensors: Mapping[str, ndarray]) -> dict[str, ndarray]:
    """The weights in half precision, sorted by name; `ConfigError` if too many or too large."""
    count = sum(tensor.size for tensor in tensors.values())
    if count > MAX_WEIGHTS:
        raise ConfigError(
            f"the microscope supports at most {MAX_WEIGHTS:,} weights, this model has {count:,}; "
            "choose a smaller model"
        )
    with np.errstate(over="ignore"):
        halves = {name: np.asarray(tensors[name], np.float16) for name in sorted(tensors)}
    for name, tensor in halves.items():
        if not np.isfinite(tensor).all():
            raise ConfigError(f"{name} holds numbers beyond ±65,504, the range of half precision")
    return halves


def payload(
    model: PageModel,
    text_model: PageModel,
    pictures: Mapping[str, UInt8[ndarray, "channels height width"]],
) -> dict[str, Any]:
    """Everything but the weights, in types of JSON."""
    return {
        "name": model.name,
        "version": version("clearhead"),
        "settings": model.settings,
        "tensors": model.shapes,
        "examples": examples(),
        "logits": model.facts["logits"],
        "accuracy": model.facts.get("accuracy"),
        "roles": model.facts.get("roles"),
        "pictures": [
            {"label": label, "image": base64.b64encode(pixels.tobytes()).decode()}
            for label, pixels in pictures.items()
        ],
        "text": {
            "name": text_model.name,
            "settings": text_model.settings,
            "tensors": text_model.shapes,
            "checks": text_model.facts["checks"],
        },
    }
