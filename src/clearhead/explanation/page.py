"""Explanations as one HTML file: the data that the page's script shows."""

from base64 import b64encode
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clearhead.explanation._images import image_uri
from clearhead.explanation.html import render_page
from clearhead.explanation.influence import Influence, rounded
from clearhead.explanation.pictures import Explanation, first_view
from clearhead.explanation.tables import (
    VERIFICATION_FIELDS,
    model_name,
    percent,
    picture_name,
    rank_correlations,
)
from clearhead.explanation.texts import TextExplanation
from clearhead.insight import Foreground

ONE = 65535  # stands for a weight of 1, so that rounding moves a weight by at most 0.0008 %
NO_PREDICTION = "no prediction"
MAX_CLASSES = 10


def picture_page(explanation: Explanation) -> str:
    """The page of a picture: prediction, attention, influence, verification."""
    prediction = explanation.prediction
    sure = f", {percent(prediction.probability, 2)}" if prediction.label is not None else ""
    return _page(
        picture_data(explanation),
        title=f"{picture_name(explanation)}: {prediction.label or NO_PREDICTION}",
        summary=f"{prediction.label or NO_PREDICTION}{sure} ({model_name(explanation.model)})",
        picture=image_uri(explanation.pixels),
        # layer after layer, as little-endian 16-bit numbers
        weights=_base64(b"".join(_sixteen_bits(layer.weights) for layer in explanation.layers)),
    )


def text_page(explanation: TextExplanation) -> str:
    """The page of a text: words, a matrix for each layer or head, and its table."""
    predicted = explanation.prediction.words[0][0] if explanation.prediction else NO_PREDICTION
    return _page(
        text_data(explanation),
        title=explanation.text,
        summary=f"{predicted} ({model_name(explanation.model)})",
    )


def _page(
    data: dict[str, Any], *, title: str, summary: str, picture: str = "", weights: str = ""
) -> str:
    return render_page(
        "explanation.html",
        styles=("explanation.css",),
        scripts=("explanation.js",),
        title=title,
        summary=summary,
        picture=picture,
        data=data,
        weights=weights,
    )


def picture_data(explanation: Explanation) -> dict[str, Any]:
    """What the page shows of a picture besides weights; the type is in web/src/explain/data.ts."""
    prediction, pixels, original = explanation.prediction, explanation.pixels, explanation.original
    return facts(explanation) | {
        "kind": "picture",
        "name": picture_name(explanation),
        "model": model_name(explanation.model),
        "original": ""
        if original is None or _is_same(original, pixels)
        else image_uri(original, "jpeg"),
        "ink": _base64(pixels.numpy().tobytes()) if explanation.is_ink else "",
        "channels": len(pixels),
        "status": prediction.status,
        "warnings": prediction.warnings,
        "classes": _likeliest(explanation),
        "numClasses": len(prediction.probabilities),
        "omissions": omissions(explanation),
        "reasons": {name: x.reason for name, x in explanation.influences.items()},
        "correlations": [(*pair, x) for pair, x in rank_correlations(explanation).items()],
        "verifications": [
            (verification.name, *(getattr(verification, field) for field in VERIFICATION_FIELDS))
            for verification in explanation.verifications
        ],
    }


def text_data(explanation: TextExplanation) -> dict[str, Any]:
    """What the page shows of a text; the type is in web/src/explain/data.ts."""
    prediction = explanation.prediction
    return {
        "kind": "text",
        "text": explanation.text,
        "model": model_name(explanation.model),
        "description": explanation.description,
        "tokens": explanation.tokens,
        "queries": explanation.queries,
        "attention": [
            {
                "label": part.label,
                "layer": part.label.partition(" ")[0],
                "head": part.label.partition(" ")[2],
                "weights": rounded(part.weights),
                "visible": part.visible.tolist(),
            }
            for part in explanation.attention
        ],
        "heads": explanation.heads_label,
        "verified": explanation.num_verified,
        "warnings": explanation.warnings,
        "prediction": prediction and {"question": prediction.question, "words": prediction.words},
    }


def facts(explanation: Explanation) -> dict[str, Any]:
    """The prediction, the arrangement of the weights, and the measures."""
    _, height, width = explanation.pixels.shape
    grid, prediction = explanation.grid, explanation.prediction
    blank: list[bool] = []
    if grid is not None and explanation.is_ink:
        blank = Foreground.of(explanation.pixels[None], grid).background[0].tolist()
    layers, offset = [], 0
    for layer in explanation.layers:
        layers.append(layer.shape_dict() | {"offset": offset})
        offset += layer.weights.numel()
    return {
        "prediction": {"label": prediction.label, "probability": prediction.probability},
        "picture": {"width": width, "height": height, "ink": explanation.is_ink, "blank": blank},
        "grid": explanation.grid_dict(),
        "names": explanation.layer_names,
        "layers": layers,
        "start": first_view(explanation),
        "influence": {name: _influence(x) for name, x in explanation.displayed.items()},
    }


def omissions(explanation: Explanation) -> str:
    """What the page does not hold, and how to get it; empty if it holds everything."""
    parts = []
    kept, every = len(explanation.layers), len(explanation.layer_names)
    if kept < every:
        parts.append(
            f"{kept} of {every} layers {'is' if kept == 1 else 'are'} in this file; --layers picks "
            "others, by number from 1 or by the names listed under Verification"
        )
    thinned = [layer for layer in explanation.layers if len(layer.queries) < layer.num_queries]
    if thinned:
        kept, every = len(thinned[0].queries), thinned[0].num_queries
        parts.append(
            f"in {len(thinned)} of them, only {kept} of {every} queries are kept, "
            "evenly spread over the picture; a click selects the nearest one"
        )
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _is_same(original: Tensor, pixels: Tensor) -> bool:
    is_as_large = original.shape[1:] == pixels.shape[1:]
    return is_as_large and torch.equal(original, pixels.expand_as(original))


def _likeliest(explanation: Explanation) -> list[tuple[str, float]]:
    """All classes where they are few, else the most probable ones."""
    prediction = explanation.prediction
    pairs = list(zip(prediction.class_names, prediction.probabilities, strict=False))
    if len(pairs) <= MAX_CLASSES:
        return pairs
    return sorted(pairs, key=lambda pair: -pair[1])[: MAX_CLASSES // 2]


def _influence(influence: Influence) -> dict[str, Any]:
    if influence.values is None:
        return {"values": None, "max": 0}
    return {
        "values": [round(value, 9) for value in influence.values.tolist()],
        "max": float(influence.values.abs().max()),
    }


def _sixteen_bits(weights: Tensor) -> bytes:
    numbers: np.ndarray = np.rint(weights.clamp(0, 1).numpy() * ONE)
    return numbers.astype("<u2").tobytes()


def _base64(content: bytes) -> str:
    return b64encode(content).decode("ascii")
