"""The attention between the tokens of a text, as plain data and as tables of percentages."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clearhead.errors import ConfigError, InputError, displayed_index
from clearhead.explanation.classifiers import TextInput, TextModel, TextPrediction
from clearhead.explanation.html import render
from clearhead.insight.tables import NOT_VISIBLE, percent
from clearhead.insight.weights import image_weights
from clearhead.recording import AttentionRecord, Layers, capture, select_layers

Heads: TypeAlias = Literal["mean", "each"] | int

MAX_QUERIES = 64
PRONOUNS = ("it", "he", "she", "they", "him", "her", "them")


class Table(NamedTuple):
    """A caption, the headings of the columns, and rows that begin with their heading."""

    caption: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, eq=False)
class TextWeights:
    """The attention weights of one head, or the mean over the heads of a layer.

    Attributes:
        layer: The position among the model's attention layers, from 0.
        name: The module's path, as in `capture`.
        head: From 0; None for the mean.
        num_heads: The number of heads in the layer.
        weights: Of the explained query tokens on all tokens.
        visible: False where the model masks a token (in a causal model those that come later).
    """

    layer: int
    name: str
    head: int | None
    num_heads: int
    weights: Float[Tensor, "queries tokens"] = field(repr=False)
    visible: Bool[Tensor, "queries tokens"] = field(repr=False)

    @property
    def label(self) -> str:
        """Layer and head, counted from 1: "L2 H3"; "L2" for the mean."""
        layer = f"L{self.layer + 1}"
        return layer if self.head is None else f"{layer} H{self.head + 1}"

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON has them, from 0.

        Returns:
            A dictionary for `json.dumps`.
        """
        return {
            "layer": self.name,
            "head": self.head,
            "num_heads": self.num_heads,
            "weights": self.weights.tolist(),
            "visible": self.visible.tolist(),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class TextExplanation:
    """Which tokens the words of a text attend to.

    Attributes:
        text: The text.
        model: What the model is called.
        description: The model's size, in one line.
        tokens: The tokens of the text.
        queries: The positions of the query tokens that are explained, from 0.
        attention: Their weights, layer by layer.
        num_verified: The number of attention layers whose recorded weights were verified.
        warnings: Remarks on the text.
        prediction: What the pronoun refers to, by the model; None where that is not predicted.
    """

    text: str
    model: str
    description: str
    tokens: tuple[str, ...]
    queries: tuple[int, ...]
    attention: tuple[TextWeights, ...]
    num_verified: int
    warnings: tuple[str, ...]
    prediction: TextPrediction | None

    @property
    def heads_label(self) -> str:
        """Which heads the weights are of: "single heads", or "mean of 4 heads in each layer"."""
        if self.attention[0].head is not None:
            return "single heads"
        counts = sorted({weights.num_heads for weights in self.attention})
        return f"mean of {' or '.join(map(str, counts))} heads in each layer"

    def num_visible(self) -> tuple[int, ...]:
        """How many tokens the query tokens can attend to, each number once, ascending.

        The uniform weight is 1 over that number.

        Returns:
            Such as (4,), or (1, 2, 3, 4) for all words of a causal model.
        """
        counts = {int(n) for weights in self.attention for n in weights.visible.sum(dim=-1)}
        return tuple(sorted(counts - {0}))

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it; layers, heads and positions count from 0.

        Returns:
            A dictionary for `json.dumps`.
        """
        words = [
            {"word": word, "probability": probability}
            for word, probability in (self.prediction.words if self.prediction else ())
        ]
        return {
            "text": self.text,
            "model": self.model,
            "counted_from": 0,
            "description": self.description,
            "tokens": list(self.tokens),
            "queries": [{"position": x, "token": self.tokens[x]} for x in self.queries],
            "attention": [weights.to_dict() for weights in self.attention],
            "num_verified": self.num_verified,
            "warnings": list(self.warnings),
            "prediction": self.prediction
            and {"question": self.prediction.question, "words": words},
        }

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 40 else f"{self.text[:39]}…"
        return (
            f"TextExplanation({text!r}, model={self.model!r}, {len(self.queries)} of "
            f"{len(self.tokens)} tokens as queries, {len(self.attention)} weight matrices)"
        )

    def _repr_html_(self) -> str:
        return render("notebook_text.html", explanation=self, tables=text_tables(self))


def explain_text(
    model: TextModel, text: str, *, layers: Layers = None, heads: Heads = "mean", word: str | None
) -> TextExplanation:
    """Run the model on a text under a capture, verify the weights, and keep some of them."""
    model_input = model.tokenize(text)
    with torch.no_grad(), capture() as recording:
        model_input.run()
    verifications = recording.verify()
    queries = _queries(model_input, text, word)
    attention = []
    for name in select_layers(recording.names, layers):
        layer, record = recording.names.index(name), recording[name]
        attention += [
            _weights(record, layer, head, queries) for head in _chosen_heads(record, heads)
        ]
    return TextExplanation(
        text=text,
        model=model.name,
        description=model.description,
        tokens=model_input.tokens,
        queries=queries,
        attention=tuple(attention),
        num_verified=len(verifications),
        warnings=model_input.warnings,
        prediction=model.predict(text),
    )


def _queries(model_input: TextInput, text: str, word: str | None) -> tuple[int, ...]:
    tokens = model_input.tokens
    lower = [token.lower() for token in tokens]
    if word is not None and not isinstance(word, str):
        raise ConfigError(f"word is the query word, a string, got {word!r}")
    if word is not None:
        found = tuple(place for place, token in enumerate(lower) if token == word.lower())
        found = found or _pieces(model_input, text, word)
        if not found:
            known = ", ".join(dict.fromkeys(tokens))
            raise InputError(f"there is no word {word!r} in this text; there are: {known}")
        return found
    pronouns = tuple(place for place, token in enumerate(lower) if token in PRONOUNS)
    if not pronouns and len(tokens) > MAX_QUERIES:
        raise InputError(
            f"the text has {len(tokens)} tokens, too many for a table of all (at most "
            f"{MAX_QUERIES}); name a word to explain"
        )
    return pronouns or tuple(range(len(tokens)))


def _pieces(model_input: TextInput, text: str, word: str) -> tuple[int, ...]:
    """The tokens of every occurrence of a word in several pieces, or in pieces of characters."""
    found: list[int] = []
    for match in re.finditer(re.escape(word.strip()), text, re.IGNORECASE):
        start, end = match.span()
        inside = [
            (place, span)
            for place, span in enumerate(model_input.spans)
            if span[0] < end and start < span[1]
        ]
        # a piece may also hold the first byte of what follows
        within = (span for _, span in inside if start <= span[0] and span[1] <= end)
        covered = {x for span in within for x in range(*span)}
        if covered and covered == set(range(start, end)) - _white_space(text, start, end):
            found += [place for place, _ in inside]
    return tuple(sorted(set(found)))


def _white_space(text: str, start: int, end: int) -> set[int]:
    return {place for place in range(start, end) if text[place].isspace()}


def _chosen_heads(record: AttentionRecord, heads: Heads) -> Sequence[int | None]:
    num_heads = int(record.shape[-3])
    if heads == "mean":
        return [None]
    if heads == "each":
        return range(num_heads)
    if not isinstance(heads, int):
        raise ConfigError(f'heads must be "mean", "each" or the index of a head, got {heads!r}')
    if not 0 <= heads < num_heads:
        raise InputError(
            f"{record.name} has {num_heads} heads, numbered {displayed_index(0)} … "
            f"{displayed_index(num_heads - 1)}; got {displayed_index(heads)}"
        )
    return [heads]


def _weights(
    record: AttentionRecord, layer: int, head: int | None, queries: Sequence[int]
) -> TextWeights:
    weights, visible = image_weights(record, 0, head=head)
    return TextWeights(
        layer=layer,
        name=record.name,
        head=head,
        num_heads=int(record.shape[-3]),
        weights=weights[:, list(queries)].double().mean(dim=0),
        visible=visible[:, list(queries)].any(dim=0),
    )


def text_tables(explanation: TextExplanation) -> list[Table]:
    """A table for each query word; if all words are queries, one for each layer."""
    unit = f"attention weights in per cent, {explanation.heads_label}"
    tokens = explanation.tokens
    if len(explanation.queries) == len(tokens):
        return [
            Table(
                f"{part.label}: {unit}; a row for each query token",
                ("query", *tokens),
                [(token, *_cells(part, row)) for row, token in enumerate(tokens)],
            )
            for part in explanation.attention
        ]
    labels = [part.label for part in explanation.attention]
    return [
        Table(
            f"“{tokens[query]}” (word {query + 1}): {unit}",
            ("token", *labels),
            list(zip(tokens, *(_cells(x, row) for x in explanation.attention), strict=True)),
        )
        for row, query in enumerate(explanation.queries)
    ]


def uniform_weight(explanation: TextExplanation) -> str:
    """The uniform weight, 1 over the number of visible tokens, in words."""
    counts = explanation.num_visible()
    if not counts:
        return "no token is visible to any other"
    if counts == (len(explanation.tokens),):
        return f"uniform weight: {number(1 / counts[0])}"
    masked = f"; {NOT_VISIBLE} masked"
    if len(counts) == 1:
        return f"uniform weight: {number(1 / counts[0])}, of {counts[0]} visible tokens{masked}"
    return (
        f"uniform weight: {number(1 / counts[-1])} to {number(1 / counts[0])}, of {counts[-1]} to "
        f"{counts[0]} visible tokens{masked}"
    )


def number(share: float) -> str:
    """A share in per cent, rounded to a whole number, without the per cent sign."""
    return percent(share).removesuffix(" %")


def _cells(part: TextWeights, row: int) -> Iterator[str]:
    for weight, visible in zip(part.weights[row].tolist(), part.visible[row].tolist(), strict=True):
        yield number(weight) if visible else NOT_VISIBLE
