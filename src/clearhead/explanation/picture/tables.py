"""An explanation as data for other programs: JSON, and CSV with one row for each query."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from clearhead.explanation.picture.explanation import Explanation, Layer
from clearhead.explanation.picture.influence import Influence

DECIMALS = 8
COLUMNS = ("measure", "layer", "window", "head", "query")


def summary(explanation: Explanation) -> dict[str, Any]:
    """The answer and what speaks against it, without any map."""
    return {
        "image": explanation.image,
        "model": explanation.model,
        "label": explanation.label,
        "probability": explanation.probability,
        "runner_up": explanation.runner_up,
        "runner_up_probability": explanation.runner_up_probability,
        "warnings": list(explanation.warnings),
    }


def to_json(explanation: Explanation) -> str:
    """Everything as one JSON document; heads, windows, queries and tokens count from 0."""
    grid = explanation.grid
    data = summary(explanation) | {
        "classes": list(explanation.class_names),
        "probabilities": list(explanation.probabilities),
        "grid": None
        if grid is None
        else {
            "rows": grid.rows,
            "columns": grid.columns,
            "prefix": list(grid.names()[: grid.num_prefix_tokens]),
        },
        "layers": [_layer(layer) for layer in explanation.layers],
        "left_out": list(explanation.left_out),
        "rollout": _influence(explanation.rollout),
        "relevance": _influence(explanation.relevance),
        "silencing": _influence(explanation.silencing),
        "proofs": [asdict(proof) for proof in explanation.proofs],
    }
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(explanation: Explanation) -> str:
    """One row for each query of each head, one column for each key; then what the answer rests on.

    Names count from 1, as on the page. Windows are numbered where a layer has several.
    """
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow([*COLUMNS, *_key_names(explanation)])
    for layer in explanation.layers:
        writer.writerows(_rows(layer, explanation))
    for measure in ("rollout", "relevance", "silencing"):
        values = getattr(explanation, measure).values
        if values is not None and explanation.grid is not None:
            blank = [""] * (explanation.grid.num_tokens - len(values))
            writer.writerow([measure, "", "", "", "the answer", *blank, *_rounded(values)])
    return content.getvalue()


def _layer(layer: Layer) -> dict[str, Any]:
    windows, heads, _, keys = layer.weights.shape
    return {
        "name": layer.name,
        "windows": windows,
        "heads": heads,
        "keys": keys,
        "num_queries": layer.num_queries,
        "queries": list(layer.queries),
        "on_grid": layer.on_grid,
        "weights": _rounded(layer.weights),
    }


def _influence(influence: Influence) -> dict[str, Any]:
    if influence.values is None:
        return {"values": None, "missing": influence.missing}
    return {"values": _rounded(influence.values)}


def _key_names(explanation: Explanation) -> list[str]:
    if explanation.grid is not None and all(layer.on_grid for layer in explanation.layers):
        return list(explanation.grid.names())
    most = max(layer.weights.shape[-1] for layer in explanation.layers)
    return [f"token {place + 1}" for place in range(most)]


def _rows(layer: Layer, explanation: Explanation) -> Iterator[list[Any]]:
    names = _query_names(layer, explanation)
    windows = len(layer.weights)
    for window, heads in enumerate(layer.weights):
        number = window + 1 if windows > 1 else ""
        for head, rows in enumerate(heads):
            for name, row in zip(names, _rounded(rows), strict=True):
                yield ["weights", layer.name, number, head + 1, name, *row]


def _query_names(layer: Layer, explanation: Explanation) -> list[str]:
    grid = explanation.grid
    square = layer.num_queries == layer.weights.shape[-1]
    if layer.on_grid and square and grid is not None:
        return [grid.names()[query] for query in layer.queries]
    return [f"{'token' if square else 'query'} {query + 1}" for query in layer.queries]


def _rounded(values: Tensor) -> list[Any]:
    numbers: list[Any] = np.round(values.double().numpy(), DECIMALS).tolist()
    return numbers
