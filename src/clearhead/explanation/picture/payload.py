"""The data of a page, compact: facts as JSON, weights as 16-bit numbers in base64."""

import json
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib import colormaps
from numpy import ndarray
from PIL import Image
from torch import Tensor

from clearhead.explanation.picture.explanation import Explanation, Layer
from clearhead.explanation.picture.influence import Influence
from clearhead.insight.foreground import Foreground

WHOLE = 65535  # stands for a weight of 1, so that rounding moves a weight by at most 0.0008 %


def facts(explanation: Explanation) -> str:
    """All but weights and pixels as JSON that may stand inside a script element."""
    data = {
        "answer": {"label": explanation.label, "probability": explanation.probability},
        "picture": _picture(explanation),
        "grid": _grid(explanation),
        "names": explanation.names,
        "layers": _layers(explanation.layers),
        "start": start(explanation),
        "influence": {
            "rollout": _influence(explanation.rollout),
            "relevance": _influence(share_of_sum(explanation.relevance)),
            "silencing": _influence(explanation.silencing),
        },
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def weights(explanation: Explanation) -> str:
    """The weights of all layers, one after the other, as little-endian 16-bit numbers."""
    parts = (np.rint(layer.weights.clamp(0, 1).numpy() * WHOLE) for layer in explanation.layers)
    return base64(b"".join(part.astype("<u2").tobytes() for part in parts))


def ink(explanation: Explanation) -> str:
    """How much ink each pixel has; empty for pictures that are no digits."""
    return base64(explanation.pixels.numpy().tobytes()) if explanation.is_ink else ""


def picture(explanation: Explanation) -> str:
    """What the model saw, as a PNG inside an address."""
    content = BytesIO()
    as_image(explanation.pixels).save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64(content.getvalue())}"


def cividis() -> str:
    """The 256 colours of cividis, three bytes each (Nuñez, Anderton & Renslow 2018)."""
    table: ndarray = colormaps["cividis"](np.arange(256), bytes=True)
    return base64(table[:, :3].tobytes())


def base64(content: bytes) -> str:
    """Bytes as text."""
    return b64encode(content).decode("ascii")


def as_image(pixels: UInt8[Tensor, "channels height width"]) -> Image.Image:
    """Grey or colour."""
    return Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).contiguous().numpy())


def share_of_sum(influence: Influence) -> Influence:
    """Relevance has no unit of its own: what each token has of the sum of all."""
    values = influence.values
    if values is None or not float(values.sum()) > 0:
        return influence
    return Influence(values=values / values.sum())


def start(explanation: Explanation) -> dict[str, int]:
    """What is picked first: a query, and the layer and head in which it is the most decided.

    The query is the class token where there is one, else the patch that relevance marks most.
    """
    relevance, grid = explanation.relevance.values, explanation.grid
    query = 0
    if relevance is not None and grid is not None and not grid.num_prefix_tokens:
        query = int(relevance.argmax())
    largest = (-1.0, 0, 0)
    for place, layer in enumerate(explanation.layers):
        nearest = min(range(len(layer.queries)), key=lambda i: abs(layer.queries[i] - query))
        found, head = layer.weights[0, :, nearest].amax(dim=-1).max(dim=0)
        largest = max(largest, (float(found), place, int(head)))
    return {"query": query, "layer": largest[1], "head": largest[2]}


def title(explanation: Explanation) -> str:
    """What the page and its figures are called: the picture's file, without its folders."""
    return Path(explanation.image).name or explanation.image


def model_title(explanation: Explanation) -> str:
    """What the model is called on the page: a folder by its own name, without those above it."""
    maker, colon, name = explanation.model.rpartition(":")
    if name.count("/") > 1 or name.startswith(("/", ".", "~")):
        name = Path(name).name
    return f"{maker}{colon}{name}"


def _picture(explanation: Explanation) -> dict[str, Any]:
    _, height, width = explanation.pixels.shape
    return {
        "width": width,
        "height": height,
        "ink": explanation.is_ink,
        "blank": _blank(explanation),
    }


def _blank(explanation: Explanation) -> list[bool]:
    """Which patches of a digit have no ink."""
    grid = explanation.grid
    if grid is None or not explanation.is_ink:
        return []
    blank: list[bool] = Foreground.of(explanation.pixels[None], grid).background[0].tolist()
    return blank


def _grid(explanation: Explanation) -> dict[str, Any] | None:
    grid = explanation.grid
    if grid is None:
        return None
    prefix = grid.names()[: grid.num_prefix_tokens]
    return {"rows": grid.rows, "columns": grid.columns, "prefix": prefix}


def _layers(layers: tuple[Layer, ...]) -> list[dict[str, Any]]:
    described, offset = [], 0
    for layer in layers:
        windows, heads, _, keys = layer.weights.shape
        described.append(
            {
                "name": layer.name,
                "windows": windows,
                "heads": heads,
                "keys": keys,
                "queries": layer.queries,
                "numQueries": layer.num_queries,
                "onGrid": layer.on_grid,
                "offset": offset,
            }
        )
        offset += layer.weights.numel()
    return described


def _influence(influence: Influence) -> dict[str, Any]:
    if influence.values is None:
        return {"values": None, "most": 0}
    return {
        "values": [round(value, 9) for value in influence.values.tolist()],
        "most": float(influence.values.abs().max()),
    }
