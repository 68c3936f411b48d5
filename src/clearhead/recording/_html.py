"""Notebook views of attention records: a table with one thumbnail per head."""

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from clearhead.recording._record import AttentionRecord

MAX_HEADS = 16
MAX_TOKENS = 256
STYLE = "width:64px;image-rendering:pixelated;border:1px solid #888;margin-right:2px"


def records_table(records: Sequence["AttentionRecord"]) -> str:
    """An HTML table: name, shape, and the weights of each head for the first batch entry.

    A thumbnail has one row per query token and one column per key token; black is its largest
    weight.
    """
    rows = "".join(
        f"<tr><td>{html.escape(record.name)}</td><td>{' × '.join(map(str, record.shape))}</td>"
        f"<td>{_thumbnails(record)}</td></tr>"
        for record in records
    )
    head = "<tr><th>layer</th><th>batch × heads × queries × keys</th><th>weights by head</th></tr>"
    return f"<table>{head}{rows}</table>"


def _thumbnails(record: "AttentionRecord") -> str:
    if max(record.shape[-2:]) > MAX_TOKENS or not record.weights.numel():
        return ""
    heads = record.weights.detach().flatten(0, -4)[0, :MAX_HEADS]
    return "".join(
        f'<img alt="head {number}" title="head {number}" style="{STYLE}" '
        f'src="data:image/png;base64,{_png(weights)}">'
        for number, weights in enumerate(heads, start=1)
    )


def _png(weights: "Tensor") -> str:
    from PIL import Image

    shades = 255 - weights / weights.amax().clamp_min(1e-12) * 255
    file = io.BytesIO()
    Image.fromarray(shades.round().byte().cpu().numpy()).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
