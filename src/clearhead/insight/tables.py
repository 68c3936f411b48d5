"""Attention as a table of names and percentages.

patch 2 (row 1, column 2) → patch 3 (row 1, column 3): 41 %
The → cat: 50 %
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clearhead.errors import InputError
from clearhead.insight.tokens import Grid, Tokens, Words, check_tokens
from clearhead.insight.weights import Weights, image_weights, name_of

NOT_VISIBLE = "–"  # a 0 would suggest that the key had taken part in the softmax


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """The weight that one query token gives to one key token.

    Attributes:
        query: Name of the query token.
        key: Name of the key token.
        weight: The weight, from 0 to 1.
        multiple: The weight over the uniform weight, which is the weight of every key in uniform
            attention over all visible keys.
        visible: False where the mask hides the key, such as later words in a causal model.
    """

    query: str
    key: str
    weight: float
    multiple: float
    visible: bool = True

    def __str__(self) -> str:
        return f"{self.query} → {self.key}: {percent(self.weight) if self.visible else NOT_VISIBLE}"


@dataclass(frozen=True, kw_only=True)
class AttentionTable:
    """Weights of one head, or the mean of all heads, by names of tokens.

    Attributes:
        layer: Name of the layer.
        head: The head, from 0; None for the mean of all heads.
        rows: Queries in order, and the keys of each; the last row of a query may be the sum over
            the keys that are not listed, "2 others".
    """

    layer: str
    head: int | None
    rows: tuple[TableRow, ...]

    def __str__(self) -> str:
        head = "mean of all heads" if self.head is None else f"head {self.head + 1}"
        width = max(len(f"{row.query} → {row.key}") for row in self.rows)
        return "\n".join([f"{self.layer}, {head}", *(_line(row, width) for row in self.rows)])

    def __repr__(self) -> str:
        return f"AttentionTable({self.layer}, head {self.head}, {len(self.rows)} rows)"

    def to_dict(self) -> dict[str, Any]:
        """All rows as plain data; the head counts from 0."""
        return asdict(self)


def attention_table(
    attention: Weights,
    tokens: Tokens | Sequence[str],
    *,
    head: int | None,
    image: int = 0,
    query: int | None = None,
    queries: Tokens | Sequence[str] | None = None,
    max_keys: int | None = None,
) -> AttentionTable:
    """Which tokens attend to which, with names and percentages.

    Args:
        attention: A record, or weights of shape (batch, heads, queries, keys).
        tokens: The key tokens.
        head: Which head, from 0; None for the mean of all heads.
        image: Which image (or text) of the batch, from 0.
        query: Index of one query token; by default all.
        queries: The query tokens, where they are not the key tokens.
        max_keys: For each query, list this many keys with the largest weights, largest first, and
            sum the others in one row; by default all keys in the order of the tokens.

    Returns:
        The table; printed, it has one line for each pair of query and key.

    Raises:
        InputError: If the layer has other tokens, or `max_keys` is below 1.
    """
    name, keys = name_of(attention), _named(tokens)
    query_tokens = keys if queries is None else _named(queries)
    by_head, visible = image_weights(attention, image, head=head, query=query)
    weights = by_head.double().mean(dim=0)
    check_tokens(keys, weights.shape[-1], name)
    if query is None:
        check_tokens(query_tokens, weights.shape[-2], f"{name}, queries")
    if max_keys is not None and max_keys < 1:
        raise InputError(f"max_keys must be at least 1, got {max_keys}")
    names = query_tokens.names() if query is None else (query_tokens.names()[query],)
    rows = zip(names, weights.tolist(), visible.any(dim=0).tolist(), strict=True)
    listed = (row for one in rows for row in _rows(*one, keys.names(), max_keys))
    return AttentionTable(layer=name, head=head, rows=tuple(listed))


def percent(weight: float) -> str:
    """A weight from 0 to 1 in per cent, rounded; "<1 %" rather than 0 for a small one."""
    return "<1 %" if 0 < weight < 0.01 else f"{100 * weight:.0f} %"


def _named(tokens: Tokens | Sequence[str]) -> Tokens:
    return tokens if isinstance(tokens, Grid | Words) else Words(tuple(tokens))


def _rows(
    query: str, weights: list[float], visible: list[bool], names: tuple[str, ...], limit: int | None
) -> Iterator[TableRow]:
    """The rows of one query."""
    order = list(range(len(weights)))
    if limit is not None:
        order.sort(key=lambda key: -weights[key])
    others = order[limit:] if limit else []
    groups = [(names[key], [key]) for key in order[:limit]]
    if others:
        groups.append((f"{len(others)} other{'s' if len(others) > 1 else ''}", others))
    for name, group in groups:
        weight, num_visible = sum(weights[key] for key in group), sum(visible[key] for key in group)
        multiple = weight * sum(visible) / (num_visible or 1)
        yield TableRow(
            query=query, key=name, weight=weight, multiple=multiple, visible=num_visible > 0
        )


def _line(row: TableRow, width: int) -> str:
    pair = f"{row.query} → {row.key}"
    if not row.visible:
        return f"{pair:<{width}}  {NOT_VISIBLE:>3}"
    return f"{pair:<{width}}  {percent(row.weight):>5}  {row.multiple:4.1f} × uniform weight"
