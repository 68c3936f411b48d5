"""Whom the words of a text attend to, in any text model, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from clearhead.errors import ConfigError, InputError
from clearhead.explanation.classifiers.named import HF, TIMM
from clearhead.explanation.text.reader import Answer, TextReader
from clearhead.insight.tables import AttentionTable, TableRow, attention_table
from clearhead.insight.tokens import Words
from clearhead.recording._capture import capture
from clearhead.recording._record import AttentionRecord
from clearhead.recording._recording import Recording

Heads: TypeAlias = Literal["mean", "each"] | int

MOST_ASKING = 64
PRONOUNS = ("it", "he", "she", "they", "him", "her", "them")


@dataclass(frozen=True, kw_only=True)
class Attended:
    """Whom words attend to in one text.

    `asking` are the places of the words whose rows the tables hold, from 0. There is a table for
    each layer and head asked for; a table whose head is None is the mean over the layer's heads.
    `layers` are their places among the model's layers, from 0, `heads` how many heads each has.
    `verified` is the number of attentions whose capture was proved to be what the model computed.
    """

    text: str
    model: str
    about: str
    tokens: tuple[str, ...]
    asking: tuple[int, ...]
    tables: tuple[AttentionTable, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    verified: int
    remarks: tuple[str, ...]
    answer: Answer | None

    def shares(self, table: int, asking: int) -> tuple[float, ...]:
        """What one asking word gives to every token in one table."""
        return tuple(row.weight for row in self.rows(table, asking))

    def visible(self, table: int, asking: int) -> tuple[bool, ...]:
        """Which tokens that word can see: in a causal model itself and those before it."""
        return tuple(row.visible for row in self.rows(table, asking))

    def rows(self, table: int, asking: int) -> tuple[TableRow, ...]:
        """One asking word's rows of one table, a row for every token."""
        start = asking * len(self.tokens)
        return self.tables[table].rows[start : start + len(self.tokens)]

    def can_see(self) -> tuple[int, ...]:
        """To how many tokens the asking words can give something, each number once, ascending.

        One of n is an even share there: 1 / n.
        """
        places = range(len(self.asking))
        counts = {
            sum(self.visible(table, row)) for table in range(len(self.tables)) for row in places
        }
        return tuple(sorted(counts - {0}))


def open_text_reader(source: str | Path = "sentences") -> TextReader:
    """The model with this name, ready to be given a text.

    - "sentences", "sentences-causal", a saved folder, or OWNER/NAME on the hub: one of ours
    - "hf:FOLDER" or "hf:OWNER/NAME": a text model of transformers, with its tokenizer
    """
    name = str(source)
    if name.startswith(TIMM) or name == HF:
        raise ConfigError(f"{name} names no text model; give {HF}FOLDER, such as a BERT or a GPT-2")
    if name.startswith(HF):
        from clearhead.explanation.text.hf import open_hf_text

        return open_hf_text(name.removeprefix(HF))
    from clearhead.explanation.text.own import open_own_text

    return open_own_text(name)


def attend(
    text: str,
    model: str | Path | TextReader = "sentences",
    *,
    word: str | None = None,
    layer: int | None = None,
    head: Heads = "mean",
) -> Attended:
    """Whom a word of `text` attends to, in every layer or in one; captured, and proved.

    `word` asks; by default the pronoun if there is one, else every word. `layer` and `head` count
    from 0. `head` is one of them, or "each" for a table for each, or "mean" for the mean over the
    heads of a layer, which hides what single heads do.

    Raises `InputError` for a text without words, one that is too long, or a word, layer or head
    that is not there.
    """
    reader = model if isinstance(model, TextReader) else open_text_reader(model)
    view = reader.read(text)
    with torch.no_grad(), capture() as seen:
        view.run()
    proofs = seen.verify()
    asking = _asking(view.tokens, word)
    chosen = [
        (record, number) for record in _layers(seen, layer) for number in _numbers(record, head)
    ]
    return Attended(
        text=text,
        model=reader.name,
        about=reader.about,
        tokens=view.tokens,
        asking=asking,
        tables=tuple(_table(record, view.tokens, asking, number) for record, number in chosen),
        layers=tuple(seen.names.index(record.name) for record, _ in chosen),
        heads=tuple(_heads(record) for record, _ in chosen),
        verified=len(proofs),
        remarks=view.remarks,
        answer=None if reader.answer is None else reader.answer(text),
    )


def _asking(tokens: Sequence[str], word: str | None) -> tuple[int, ...]:
    names = [token.lower() for token in tokens]
    if word is not None:
        places = tuple(place for place, name in enumerate(names) if name == word.lower())
        if not places:
            there = ", ".join(dict.fromkeys(tokens))
            raise InputError(f"there is no word {word!r} in this text; there are: {there}")
        return places
    pronouns = tuple(place for place, name in enumerate(names) if name in PRONOUNS)
    if not pronouns and len(tokens) > MOST_ASKING:
        raise InputError(
            f"the text has {len(tokens)} tokens, too many for a table of all; "
            "name the word that asks"
        )
    return pronouns or tuple(range(len(tokens)))


def _layers(seen: Recording, layer: int | None) -> tuple[AttentionRecord, ...]:
    if layer is None:
        return seen.records
    if not 0 <= layer < len(seen):
        raise InputError(f"there are {len(seen)} layers; got number {layer + 1}, counting from 1")
    return (seen[layer],)


def _numbers(record: AttentionRecord, head: Heads) -> tuple[int | None, ...]:
    if head == "mean":
        return (None,)
    if head == "each":
        return tuple(range(_heads(record)))
    if not 0 <= head < _heads(record):
        raise InputError(
            f"its layers have {_heads(record)} heads; got number {head + 1}, counting from 1"
        )
    return (head,)


def _table(
    record: AttentionRecord, tokens: Sequence[str], asking: Sequence[int], head: int | None
) -> AttentionTable:
    words = Words(tuple(tokens))
    parts = [attention_table(record, words, head=head, query=place) for place in asking]
    rows = tuple(row for part in parts for row in part.rows)
    return AttentionTable(layer=record.name, head=head, rows=rows)


def _heads(record: AttentionRecord) -> int:
    return int(record.shape[-3])
