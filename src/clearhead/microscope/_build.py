"""Builds the page: one HTML file with style, script, settings and weights that makes no requests.

Script and style are built from `web/` at the root of the repository, by `npm run build`, into
`assets/`, which the package ships.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from numpy import ndarray

from clearhead.errors import ConfigError
from clearhead.explanation.html import render_page
from clearhead.microscope._payload import PageModel, check_config, payload, rounded
from clearhead.microscope.shipped import DIGITS, SENTENCES, read_shipped

if TYPE_CHECKING:
    from clearhead.data import ImageSource
    from clearhead.models.pretrained import ImageModel

MAX_PICTURES = 20


def build_page(
    model: "ImageModel",
    *,
    name: str = "model",
    pictures: "Mapping[str, ImageSource] | None" = None,
) -> str:
    """Build the microscope for a Vision Transformer.

    Args:
        model: A `VisionTransformer` of at most 65 tokens, 40 classes, 16 layers, 16 heads per layer
            and 4,000,000 weights. It computes the reference logits for the page's self-check.
        name: The name that the page shows.
        pictures: Example pictures by their labels, at most 20, for a model that does not read
            digits: its page has no drawing pad, only pictures.

    Returns:
        One HTML document that opens from disk.

    Raises:
        ConfigError: If the model is of another class or too large, or its weights exceed the range
            of half precision, if there are more than 20 pictures, or pictures for a digit
            classifier.
        ImageError: If a picture cannot be read.
    """
    from clearhead.inference import prepare, uses_digit_preprocessing
    from clearhead.microscope._reference import example_logits
    from clearhead.models.vit import VisionTransformer

    if not isinstance(model, VisionTransformer):
        raise ConfigError(
            "the microscope shows clearhead's own VisionTransformer, got "
            f"{type(model).__module__}.{type(model).__name__}"
        )
    check_config(model.config)
    if len(pictures := pictures or {}) > MAX_PICTURES:
        raise ConfigError(f"expected at most {MAX_PICTURES} pictures, got {len(pictures)}")
    if pictures and uses_digit_preprocessing(model.config):
        raise ConfigError("the page of a digit classifier takes drawings; leave out the pictures")
    inputs = {label: prepare(x, model.config).pixels.numpy() for label, x in pictures.items()}
    tensors = {key: tensor.numpy(force=True) for key, tensor in model.state_dict().items()}
    shown = PageModel(
        name=name,
        settings=asdict(model.config),
        tensors=rounded(tensors),
        facts={"logits": example_logits(model)},
    )
    return _page(shown, inputs)


def shipped_page() -> str:
    """Build the microscope for the shipped digit classifier, without importing torch.

    Returns:
        One HTML document that opens from disk.

    Raises:
        CheckpointError: If the package's files do not belong together.
    """
    return _page(read_shipped(DIGITS), {})


def _page(model: PageModel, pictures: Mapping[str, ndarray]) -> str:
    text_model = read_shipped(SENTENCES)
    return render_page(
        "microscope.html",
        package="clearhead.microscope",
        styles=("microscope.css",),
        scripts=("microscope.js",),
        webassembly=True,
        title="Clearhead microscope",
        name=model.name,
        payload=payload(model, text_model, pictures),
        weights=model.weights,
        text_weights=text_model.weights,
    )
