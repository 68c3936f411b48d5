"""What words attend to, as JSON, as CSV and as a picture."""

import csv
import io
from typing import Any

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from clearhead.explanation.text.attend import Attended
from clearhead.insight.plots import words_figure


def attended_dict(attended: Attended) -> dict[str, Any]:
    """All of it, as JSON has it; layers, heads and places from 0."""
    answer = attended.answer
    return {
        "text": attended.text,
        "model": attended.model,
        "counted_from": 0,
        "about": attended.about,
        "tokens": list(attended.tokens),
        "asking": [{"place": place, "word": attended.tokens[place]} for place in attended.asking],
        "attention": [
            {
                "layer": table.layer,
                "head": table.head,
                "heads": heads,
                "weights": [
                    list(attended.shares(number, row)) for row in range(len(attended.asking))
                ],
                "visible": [
                    list(attended.visible(number, row)) for row in range(len(attended.asking))
                ],
            }
            for number, (table, heads) in enumerate(
                zip(attended.tables, attended.heads, strict=True)
            )
        ],
        "verified": attended.verified,
        "remarks": list(attended.remarks),
        "answer": None
        if answer is None
        else {"question": answer.question, **dict_of(answer.words)},
    }


def attended_csv(attended: Attended) -> str:
    """A line for each layer, asking word and answering word; places from 0.

    Without a weight where the one cannot see the other.
    """
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(("layer", "head", "place", "asks", "key_place", "answers", "weight"))
    for number, table in enumerate(attended.tables):
        head = "mean" if table.head is None else table.head
        for row, place in enumerate(attended.asking):
            for key, share in enumerate(attended.rows(number, row)):
                asks, answers = attended.tokens[place], attended.tokens[key]
                weight = share.weight if share.visible else ""
                writer.writerow((table.layer, head, place, asks, key, answers, weight))
    return content.getvalue()


def attended_figure(attended: Attended) -> Figure:
    """One word asks: a row for each layer. Several: a matrix for each layer."""
    shares = [_matrix(attended, number) for number in range(len(attended.tables))]
    names = [column_name(attended, number) for number in range(len(attended.tables))]
    asking = [attended.tokens[place] for place in attended.asking]
    said = heads_said(attended)
    if any(x.isnan().any() for x in shares):
        said += "; hatched: cannot be seen"
    if len(asking) == 1:
        return words_figure(
            [(attended.model, torch.cat(shares))],
            names,
            attended.tokens,
            title=f"Whom “{asking[0]}” asks: {said}",
        )
    return words_figure(
        list(zip(names, shares, strict=True)),
        asking,
        attended.tokens,
        title=f"Whom each word asks, a row a word: {said}",
    )


def _matrix(attended: Attended, number: int) -> Float[Tensor, "asking tokens"]:
    """One table's weights, NaN where a word cannot see."""
    rows = [attended.rows(number, row) for row in range(len(attended.asking))]
    return torch.tensor([[x.weight if x.visible else torch.nan for x in row] for row in rows])


def column_name(attended: Attended, number: int) -> str:
    """What a table is called where people read: "layer 2", or "layer 2, head 3", from 1."""
    head, layer = attended.tables[number].head, f"layer {attended.layers[number] + 1}"
    return layer if head is None else f"{layer}, head {head + 1}"


def heads_said(attended: Attended) -> str:
    """Which heads the tables show."""
    if attended.tables[0].head is not None:
        return "single heads"
    counts = sorted(set(attended.heads))
    return f"the mean of {' or '.join(map(str, counts))} heads in each layer"


def dict_of(words: tuple[tuple[str, float], ...]) -> dict[str, Any]:
    """Answers with their probabilities."""
    return {"words": [{"word": word, "probability": share} for word, share in words]}
