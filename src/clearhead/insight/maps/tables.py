"""Attention as a table of names and percentages, as a textbook shows it.

patch at row 1, column 2 → patch at row 1, column 3: 41 %
The → cat: 50 %
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clearhead.errors import InputError
from clearhead.insight.maps.weights import (
    Weights,
    name_of,
    tokens_called,
    visible_of,
    weights_of,
)
from clearhead.insight.tokens import Tokens, check_tokens

UNSEEN = "–"  # instead of a 0 that nobody measured


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one query gives to one key: a weight from 0 to 1, and how many even shares that is.

    An even share is what each key would get if all that the query can see got the same. A key that
    it cannot see (later words, in a causal model) is not `visible`.
    """

    query: str
    key: str
    weight: float
    multiple: float
    visible: bool = True

    def __str__(self) -> str:
        return f"{self.query} → {self.key}: {percent(self.weight) if self.visible else UNSEEN}"


@dataclass(frozen=True, kw_only=True)
class AttentionTable:
    """One head's shares (or the mean of all heads), the queries in order.

    `left_out` says, for each query, what went to keys that are not listed.
    """

    layer: str
    head: int | None
    rows: tuple[Share, ...]
    left_out: tuple[Share, ...] = ()

    def __str__(self) -> str:
        head = "mean of all heads" if self.head is None else f"head {self.head + 1}"
        return "\n".join([f"{self.layer}, {head}", *self._lines()])

    def _lines(self) -> Iterable[str]:
        rest = {share.query: share for share in self.left_out}
        width = max(len(f"{row.query} → {row.key}") for row in (*self.rows, *self.left_out))
        for place, row in enumerate(self.rows):
            yield _line(row, width)
            last = place + 1 == len(self.rows) or self.rows[place + 1].query != row.query
            if last and row.query in rest:
                yield _line(rest[row.query], width)


def attention_table(
    attention: Weights,
    tokens: Tokens | Sequence[str],
    *,
    head: int | None,
    image: int = 0,
    query: int | None = None,
    queries: Tokens | Sequence[str] | None = None,
    most: int | None = None,
) -> AttentionTable:
    """Who asked whom, in names and shares.

    `head` counts from 0; None, to be asked for by name, is the mean of all heads. One `query`, or
    every one. With `most`, only the keys with the largest shares, the largest first, and the sum of
    the others in `left_out`; else all keys in the order of the tokens.
    """
    keys = tokens_called(tokens)
    asking = tokens_called(queries) if queries is not None else keys
    weights = weights_of(attention, images=image, heads=head, queries=query)
    weights = weights.reshape(-1, *weights.shape[-2:])
    check_tokens(keys, weights.shape[-1], name_of(attention))
    if query is None:
        check_tokens(asking, weights.shape[-2], f"{name_of(attention)}, queries")
    if most is not None and most < 1:
        raise InputError(f"most must be at least 1, got {most}")
    names = asking.names() if query is None else (asking.names()[query],)
    matrix = weights.double().mean(dim=0).tolist()
    seen = visible_of(attention, images=image, heads=head, queries=query)
    visible = seen.reshape(-1, *seen.shape[-2:]).any(dim=0).tolist()
    rows: list[Share] = []
    left_out: list[Share] = []
    for name, row, can_see in zip(names, matrix, visible, strict=True):
        listed, rest = _shares(name, keys.names(), row, can_see, most)
        rows += listed
        left_out += rest
    return AttentionTable(
        layer=name_of(attention), head=head, rows=tuple(rows), left_out=tuple(left_out)
    )


def shown(share: Share) -> str:
    """A share in per cent, without the sign; a dash where the query cannot see the key."""
    return percent(share.weight).removesuffix(" %") if share.visible else UNSEEN


def percent(weight: float) -> str:
    """A weight from 0 to 1 in per cent: whole numbers, and "<1 %" where that would read 0."""
    if 0 < weight < 0.01:
        return "<1 %"
    return f"{100 * weight:.0f} %"


def _shares(
    query: str, keys: tuple[str, ...], row: list[float], can_see: list[bool], most: int | None
) -> tuple[list[Share], list[Share]]:
    count, places = sum(can_see), range(len(row))
    order = places if most is None else sorted(places, key=lambda key: -row[key])[:most]
    listed = [
        Share(
            query=query,
            key=keys[key],
            weight=row[key],
            multiple=row[key] * count,
            visible=can_see[key],
        )
        for key in order
    ]
    others = len(row) - len(listed)
    if not others:
        return listed, []
    weight = sum(row) - sum(share.weight for share in listed)
    seen = count - sum(share.visible for share in listed)
    name = f"{others} other{'s' if others > 1 else ''}"
    multiple = weight * count / seen if seen else 0.0
    rest = Share(query=query, key=name, weight=weight, multiple=multiple, visible=seen > 0)
    return listed, [rest]


def _line(share: Share, width: int) -> str:
    pair = f"{share.query} → {share.key}"
    if not share.visible:
        return f"{pair:<{width}}  {UNSEEN:>3}"
    return f"{pair:<{width}}  {percent(share.weight):>5}  {share.multiple:4.1f} × even share"
