"""The parts of a page that need no script: answer, what the answer rests on, proof."""

from collections.abc import Iterable
from html import escape

import torch
from torch import Tensor

from clearhead.explanation.picture.explanation import Explanation
from clearhead.explanation.picture.influence import Influence
from clearhead.explanation.picture.payload import share_of_sum
from clearhead.explanation.sealed import SCROLL, table

MOST_CLASSES = 10
MOST_PROOFS_AT_ONCE = 12
SPACE = "\u00a0"  # never at the end of a line

MEASURES = {
    "rollout": (
        "Rollout",
        "Where information could have come from, through all layers and heads together. "
        "It knows neither values nor the answer.",
        "Share of a whole, per cent",
    ),
    "relevance": (
        "Relevance",
        "Attention weighted by its gradient for the class that was answered: "
        "what spoke for it, to first order.",
        "Share of the sum, per cent",
    ),
    "silencing": (
        "Silencing",
        "How far the answer's probability falls when no token may look at the patch, in any layer. "
        "Blue: it falls. Orange: it rises.",
        "Percentage points, ends of the scale at the largest",
    ),
}

SEEN = (
    '<article class="again"><h3>The picture</h3><p>As the model saw it.</p>'
    '<canvas id="again" aria-hidden="true"></canvas></article>'
)


def percent(share: float, digits: int = 1) -> str:
    """As the page's script writes it."""
    least = 10**-digits
    if 0 < 100 * share < least / 2:
        return f"<{least:g}{SPACE}%"
    return f"{100 * share:.{digits}f}{SPACE}%"


def points(fall: float) -> str:
    """Percentage points with their sign."""
    text = f"{abs(100 * fall):.2f}"
    if float(text) == 0:
        return "0.00"
    return ("−" if fall < 0 else "+") + text


def answer(explanation: Explanation) -> str:
    """The answer, its runner-up, and what to doubt."""
    lines = []
    if explanation.label is None:
        lines.append('<p class="label none">no answer</p>')
    else:
        long = " long" if len(explanation.label) > 3 else ""
        lines.append(f'<p class="label{long}" id="label">{escape(explanation.label)}</p>')
        lines.append(f'<p class="sure" id="probability">{percent(explanation.probability, 2)}</p>')
    if explanation.runner_up is not None:
        lines.append(
            f'<p class="second">then {escape(explanation.runner_up)}, '
            f"{percent(explanation.runner_up_probability, 2)}</p>"
        )
    lines += [f'<p class="warning">{escape(warning)}</p>' for warning in explanation.warnings]
    return "\n".join(lines)


def classes(explanation: Explanation) -> str:
    """The probabilities of the likeliest classes, with bars; all of them where they are few."""
    if not explanation.probabilities:
        return ""
    pairs = list(zip(explanation.class_names, explanation.probabilities, strict=True))
    shown = pairs
    if len(pairs) > MOST_CLASSES:
        shown = sorted(pairs, key=lambda pair: -pair[1])[: MOST_CLASSES // 2]
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td class="bar"><meter min="0" max="1" value="{value:.6f}">'
        f"{percent(value)}</meter></td><td>{percent(value)}</td></tr>"
        for name, value in shown
    )
    caption = "Probability of each class"
    if len(shown) < len(pairs):
        caption = f"The likeliest of {len(pairs):,} classes"
    return f'<table class="classes"><caption>{caption}</caption><tbody>{rows}</tbody></table>'


def influence(explanation: Explanation) -> str:
    """Three maps side by side, each with what it means, or why there is none."""
    parts = [_measure(name, found, missing) for name, found, missing in _measures(explanation)]
    if not explanation.is_ink and explanation.grid is not None:
        parts.insert(0, SEEN)
    return "\n".join(parts)


def agreement(explanation: Explanation) -> str:
    """Whether the three measures rank the patches alike, with figures where they can be had."""
    patches = _patches(explanation)
    pairs = [(a, b) for i, a in enumerate(patches) for b in list(patches)[i + 1 :]]
    figures = [
        f"{a} and {b} {_signed(value)}"
        for a, b in pairs
        if (value := _spearman(patches[a], patches[b])) is not None
    ]
    if not figures:
        return ""
    return (
        "How alike they rank the patches, from −1 (the other way round) through 0 (unrelated) to 1 "
        f"(Spearman): {', '.join(figures)}."
    )


def influence_table(explanation: Explanation) -> str:
    """The three measures of every token as a table."""
    if explanation.grid is None or not _patches(explanation):
        return ""
    grid = explanation.grid
    columns = {
        "rollout": _column(explanation.rollout, percent),
        "relevance": _column(share_of_sum(explanation.relevance), percent),
        "silencing": _column(explanation.silencing, points, before=grid.num_prefix_tokens),
    }
    kept = {name: cells for name, cells in columns.items() if cells}
    head = [MEASURES[name][0] + (", points" if name == "silencing" else "") for name in kept]
    rows = [
        [name, *(cells[place] for cells in kept.values())]
        for place, name in enumerate(grid.names())
    ]
    return (
        '<details id="influence-table"><summary>Show these maps as a table</summary>'
        f"{SCROLL}{table('What the answer rests on', ['token', *head], rows)}</div>"
        "</details>"
    )


def proof(explanation: Explanation) -> str:
    """The figures of every layer's proof as a table."""
    rows = [
        [
            proof.name,
            f"{proof.row_sum_error:.1e}",
            f"{proof.masked_mass:.1e}",
            f"{proof.output_error:.1e}",
            f"{proof.tolerance:.1e}",
        ]
        for proof in explanation.proofs
    ]
    head = ["attention", "rows sum to one", "on masked keys", "weights · V", "rounding explains"]
    figures = table("Largest errors of each layer", head, rows)
    opened = " open" if len(rows) <= MOST_PROOFS_AT_ONCE else ""
    return (
        f'<details id="proof-table"{opened}><summary>The figures</summary>'
        f"{SCROLL}{figures}</div></details>"
    )


def left_out(explanation: Explanation) -> str:
    """What this page does not hold, and how to have it; empty if it holds everything."""
    parts = []
    if explanation.left_out:
        kept, every = len(explanation.layers), len(explanation.names)
        parts.append(
            f"{kept} of {every} layers {'is' if kept == 1 else 'are'} in this file; --layers picks "
            "others, by the names that stand under Proof or by number, from 0 as in Python: "
            "layer 1 is number 0"
        )
    thinned = [layer for layer in explanation.layers if not layer.is_whole]
    if thinned:
        kept, every = len(thinned[0].queries), thinned[0].num_queries
        parts.append(
            f"in {len(thinned)} of them, only {kept} of {every} queries are kept, "
            "evenly spread over the picture; a click picks the nearest one"
        )
    return "; ".join(parts)


def _measures(explanation: Explanation) -> Iterable[tuple[str, bool, str]]:
    for name in MEASURES:
        found: Influence = getattr(explanation, name)
        yield name, found.values is not None, found.missing


def _measure(name: str, found: bool, missing: str) -> str:
    heading, meaning, unit = MEASURES[name]
    if not found:
        body = f'<p class="missing">There is none here: {escape(missing)}.</p>'
    else:
        body = (
            f'<canvas id="{name}-map" role="img" aria-label="{heading} over the picture; '
            'the table below has its numbers"></canvas>'
            f'<div class="colour" id="{name}-bar"><canvas aria-hidden="true"></canvas>'
            f'<div class="ticks"></div></div><p class="unit">{unit}</p>'
        )
    return f'<article class="{name}"><h3>{heading}</h3><p>{meaning}</p>{body}</article>'


def _column(influence: Influence, write: object, before: int = 0) -> list[str]:
    if influence.values is None or not callable(write):
        return []
    return [""] * before + [write(value) for value in influence.values.tolist()]


def _patches(explanation: Explanation) -> dict[str, Tensor]:
    """What each measure says of the patches, without the tokens before them."""
    grid = explanation.grid
    if grid is None:
        return {}
    found = {}
    for name in MEASURES:
        values = getattr(explanation, name).values
        if values is not None:
            found[name] = values[-grid.num_patches :]
    return found


def _spearman(a: Tensor, b: Tensor) -> float | None:
    """Rank correlation; None where one of them is the same everywhere."""
    from scipy.stats import rankdata

    ranks = torch.from_numpy(rankdata(torch.stack([a, b]).numpy(), axis=1))
    if len(a) < 3 or bool((ranks.std(dim=1) == 0).any()):
        return None
    return float(torch.corrcoef(ranks)[0, 1])


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
