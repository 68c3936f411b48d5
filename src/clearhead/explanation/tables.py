"""Numbers of an explanation in words, and explanations as CSV."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from clearhead.explanation.influence import rounded
from clearhead.explanation.pictures import Explanation, LayerWeights
from clearhead.explanation.texts import TextExplanation

VERIFICATION_FIELDS = ("row_sum_error", "masked_mass", "output_error", "tolerance")
SPACE = "\u00a0"  # never at the end of a line


def percent(share: float, digits: int = 1) -> str:
    """A share in per cent with this many decimals; small ones are "<0.1 %"."""
    smallest = 10**-digits
    if 0 < 100 * share < smallest / 2:
        return f"<{smallest:g}{SPACE}%"
    return f"{100 * share:.{digits}f}{SPACE}%"


def signed(number: float) -> str:
    """A number with its sign and two decimals."""
    text = f"{abs(number):.2f}"
    if float(text) == 0:
        return "0.00"
    return ("−" if number < 0 else "+") + text


def picture_name(explanation: Explanation) -> str:
    """The picture's file name, without its folders."""
    return Path(explanation.image).name or explanation.image


def model_name(name: str) -> str:
    """The model's name; of a folder its own name, without those above it."""
    maker, colon, rest = name.rpartition(":")
    if rest.count("/") > 1 or rest.startswith(("/", ".", "~")):
        rest = Path(rest).name
    return f"{maker}{colon}{rest}"


def rank_correlations(explanation: Explanation) -> dict[tuple[str, str], float]:
    """Spearman's rank correlation over the patches, for each pair of measures that has one."""
    from scipy.stats import spearmanr

    grid = explanation.grid
    if grid is None or grid.num_patches < 3:
        return {}
    measured = {
        name: influence.values[-grid.num_patches :].numpy()
        for name, influence in explanation.influences.items()
        if influence.values is not None
    }
    varied = [name for name, values in measured.items() if np.ptp(values) > 0]
    return {
        (a, b): float(spearmanr(measured[a], measured[b]).statistic)
        for a, b in combinations(varied, 2)
    }


def picture_csv(explanation: Explanation) -> str:
    """A row for each query of each head with a column for each key; then the measures.

    Heads and tokens count from 1; so do windows, where a layer has several.
    """
    rows: list[Sequence[object]] = [
        ("measure", "layer", "window", "head", "query", *_key_names(explanation))
    ]
    for layer in explanation.layers:
        rows += _weight_rows(layer, explanation)
    for measure, influence in explanation.influences.items():
        values = influence.values
        if values is not None and explanation.grid is not None:
            blank = [""] * (explanation.grid.num_tokens - len(values))
            rows.append((measure, "", "", "", "prediction", *blank, *rounded(values)))
    return _csv(rows)


def text_csv(explanation: TextExplanation) -> str:
    """A row for each layer or head, query token and key token; heads and tokens count from 0.

    The weight is empty where the query cannot attend to the key.
    """
    tokens = explanation.tokens
    rows: list[Sequence[object]] = [
        ("layer", "head", "query", "query_token", "key", "key_token", "weight")
    ]
    for part in explanation.attention:
        head = "mean" if part.head is None else part.head
        for row, query in enumerate(explanation.queries):
            pairs = zip(part.weights[row].tolist(), part.visible[row].tolist(), strict=True)
            for key, (weight, visible) in enumerate(pairs):
                shown = weight if visible else ""
                rows.append((part.name, head, query, tokens[query], key, tokens[key], shown))
    return _csv(rows)


def _key_names(explanation: Explanation) -> Sequence[str]:
    if explanation.grid is not None and all(layer.on_grid for layer in explanation.layers):
        return explanation.grid.names()
    num_keys = max(layer.weights.shape[-1] for layer in explanation.layers)
    return [f"token {place + 1}" for place in range(num_keys)]


def _weight_rows(layer: LayerWeights, explanation: Explanation) -> Iterator[list[Any]]:
    grid = explanation.grid
    is_square = layer.num_queries == layer.weights.shape[-1]
    kind = "token" if is_square else "query"
    names = [f"{kind} {query + 1}" for query in layer.queries]
    if layer.on_grid and is_square and grid is not None:
        names = [grid.names()[query] for query in layer.queries]
    for window, heads in enumerate(layer.weights):
        window_number = window + 1 if len(layer.weights) > 1 else ""
        for head, matrix in enumerate(heads):
            for name, row in zip(names, rounded(matrix), strict=True):
                yield ["weights", layer.name, window_number, head + 1, name, *row]


def _csv(rows: Iterable[Sequence[object]]) -> str:
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows(rows)
    return content.getvalue()
