"""The page: one HTML file that holds style, script, settings and weights, and asks for nothing."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from numpy import ndarray

from clearhead.errors import ConfigError
from clearhead.microscope.modules import join_modules
from clearhead.microscope.payload import (
    Accuracy,
    check_config,
    rounded,
    settings_block,
    weights_block,
)
from clearhead.microscope.sentences import shipped_text
from clearhead.models.config import ViTConfig

if TYPE_CHECKING:
    from clearhead.models.pretrained import ImageModel

# Nothing may be fetched. Style and script run only if they are the very ones that were built in.
_POLICY = (
    "default-src 'none'; connect-src 'none'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'; script-src '{script}'; style-src '{style}'"
)


def build_page(model: "ImageModel", *, name: str = "model") -> str:
    """The microscope for a Vision Transformer, as HTML.

    Raises `ConfigError` if the model is another one, or has more tokens, classes, layers, heads or
    weights than a page can show.
    """
    from clearhead.microscope.reference import example_logits
    from clearhead.models.vit import VisionTransformer

    if not isinstance(model, VisionTransformer):
        raise ConfigError(
            "the microscope shows clearhead's own VisionTransformer, got "
            f"{type(model).__module__}.{type(model).__name__}"
        )
    check_config(model.config)
    tensors = {key: tensor.numpy(force=True) for key, tensor in model.state_dict().items()}
    return assemble(model.config, rounded(tensors), name=name, logits=example_logits(model))


def assemble(
    config: ViTConfig,
    tensors: Mapping[str, ndarray],
    *,
    name: str,
    logits: Sequence[Sequence[float]],
    accuracy: Accuracy | None = None,
) -> str:
    """The parts put together; `tensors` are rounded, `logits` are those of the examples."""
    room = Path(str(resources.files("clearhead.microscope")))
    script = join_modules(room / "script")
    style = "\n".join(path.read_text("utf-8") for path in sorted((room / "style").glob("*.css")))
    if "</script" in script or "</style" in style:
        raise ConfigError("a script that holds </script, or a style </style, cannot be built in")
    words = shipped_text()
    parts = {
        "policy": _POLICY.format(script=_digest(script), style=_digest(style)),
        "name": escape(name),
        "style": style,
        "payload": settings_block(
            config, tensors, name=name, logits=logits, accuracy=accuracy, text=words.settings
        ),
        "weights": weights_block(tensors),
        "text_weights": weights_block(words.tensors),
        "script": script,
    }
    page = (room / "microscope.html").read_text("utf-8")
    head, *rest = page.split("{{")
    pieces = [head]
    for piece in rest:
        part, text = piece.split("}}", 1)
        pieces += [parts[part], text]
    return "".join(pieces)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
