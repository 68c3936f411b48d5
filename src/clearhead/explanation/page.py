"""Explanations as one HTML file: the values that the templates show."""

from base64 import b64encode
from typing import Any

import numpy as np
from torch import Tensor

from clearhead.explanation.figures import png_address, text_figure
from clearhead.explanation.html import data_uri, render_page
from clearhead.explanation.influence import Influence
from clearhead.explanation.pictures import Explanation, first_view
from clearhead.explanation.tables import (
    influence_table,
    model_name,
    percent,
    picture_name,
    proof_table,
    rank_correlations,
    text_tables,
    uniform_weight,
)
from clearhead.explanation.texts import TextExplanation
from clearhead.insight import Foreground
from clearhead.insight.plots import WEIGHT_COLOURS, figure_bytes

# In this order they make one script; each file begins with its purpose.
SCRIPTS = tuple(f"{x}.js" for x in "data colours draw picking tables view start".split())
ONE = 65535  # stands for a weight of 1, so that rounding moves a weight by at most 0.0008 %
NO_PREDICTION = "no prediction"
FEW_HEADS = 4  # these fit beside the map
MAX_CLASSES, MAX_OPEN_PROOFS = 10, 12


def picture_page(explanation: Explanation) -> str:
    """The page of a picture: prediction, attention, influence, proof."""
    picture = picture_name(explanation)
    proofs = proof_table(explanation)
    heads = max(layer.weights.shape[1] for layer in explanation.layers)
    return render_page(
        "picture.html",
        styles=("base.css", "picture.css"),
        scripts=SCRIPTS,
        title=f"{picture}: {explanation.prediction.label or NO_PREDICTION}",
        explanation=explanation,
        picture=picture,
        model=model_name(explanation.model),
        png=png_address(explanation.pixels),
        kind=("ink" if explanation.is_ink else "photo") + (" few" if heads <= FEW_HEADS else ""),
        classes=_likeliest(explanation),
        notes=omissions(explanation),
        influence_table=influence_table(explanation),
        correlations=rank_correlations(explanation),
        proofs=proofs,
        proofs_open=len(proofs.rows) <= MAX_OPEN_PROOFS,
        percent=percent,
        facts=facts(explanation),
        # layer after layer, as little-endian 16-bit numbers
        weights=_base64(b"".join(_sixteen_bits(layer.weights) for layer in explanation.layers)),
        # 256 colours of three bytes each (Nuñez, Anderton & Renslow 2018)
        cividis=_base64(WEIGHT_COLOURS(np.arange(256), bytes=True)[:, :3].tobytes()),
        ink=_base64(explanation.pixels.numpy().tobytes()) if explanation.is_ink else "",
    )


def text_page(explanation: TextExplanation) -> str:
    """The page of a text: a figure and its tables."""
    return render_page(
        "text.html",
        title=explanation.text,
        explanation=explanation,
        model=model_name(explanation.model),
        figure=data_uri(figure_bytes(text_figure(explanation), "svg"), "image/svg+xml"),
        tables=text_tables(explanation),
        uniform_weight=uniform_weight(explanation),
        percent=percent,
    )


def facts(explanation: Explanation) -> dict[str, Any]:
    """What the page's script needs besides weights and pixels."""
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
            "others, by number from 1 or by the names listed under Proof"
        )
    thinned = [layer for layer in explanation.layers if len(layer.queries) < layer.num_queries]
    if thinned:
        kept, every = len(thinned[0].queries), thinned[0].num_queries
        parts.append(
            f"in {len(thinned)} of them, only {kept} of {every} queries are kept, "
            "evenly spread over the picture; a click selects the nearest one"
        )
    return "; ".join(parts)


def _likeliest(explanation: Explanation) -> list[tuple[str, float]]:
    """All classes where they are few, else the most probable ones."""
    names, probabilities = explanation.prediction.class_names, explanation.prediction.probabilities
    pairs = list(zip(names, probabilities, strict=False))
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
