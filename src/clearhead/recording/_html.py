"""Attention in notebooks: a table with a thumbnail of each head's weights."""

import base64
import html
import io
from collections.abc import Iterable
from typing import NamedTuple

from torch import Size, Tensor

MAX_HEADS = 16
MAX_TOKENS = 256
STYLE = "width:64px;image-rendering:pixelated;border:1px solid #888;margin-right:2px"


class Row(NamedTuple):
    """Name, shape and weights of a record; None for meta tensors and for too many tokens."""

    name: str
    shape: Size
    weights: Tensor | None


def weights_table(rows: Iterable[Row]) -> str:
    """An HTML table: name, shape, and the weights of each head for the first batch entry.

    A thumbnail has one row per query token and one column per key token; black is its largest
    weight.
    """
    cells = "".join(
        f"<tr><td>{html.escape(row.name)}</td><td>{' × '.join(map(str, row.shape))}</td>"
        f"<td>{'' if row.weights is None else _thumbnails(row.weights)}</td></tr>"
        for row in rows
    )
    head = "<tr><th>layer</th><th>batch × heads × queries × keys</th><th>weights by head</th></tr>"
    return f"<table>{head}{cells}</table>"


def _thumbnails(weights: Tensor) -> str:
    heads = weights.detach().flatten(0, -4)[0, :MAX_HEADS]
    return "".join(
        f'<img alt="head {number}" title="head {number}" style="{STYLE}" '
        f'src="data:image/png;base64,{_png(head)}">'
        for number, head in enumerate(heads, start=1)
    )


def _png(weights: Tensor) -> str:
    from PIL import Image

    shades = 255 - weights / weights.amax().clamp_min(1e-12) * 255
    file = io.BytesIO()
    Image.fromarray(shades.round().byte().cpu().numpy()).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
