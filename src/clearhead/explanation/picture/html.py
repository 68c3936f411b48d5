"""One explanation as one HTML file that opens anywhere and asks nobody for anything."""

from html import escape
from string import Template

from clearhead.explanation.picture import payload, static
from clearhead.explanation.picture.explanation import Explanation
from clearhead.explanation.sealed import part, policy

# In this order they make one script; each file says what it is for.
SCRIPTS = (
    *("data", "words", "colours", "layout", "draw", "picking"),
    *("tables", "view", "heads", "influence", "start"),
)

FEW_HEADS = 4


def to_html(explanation: Explanation) -> str:
    """The whole page: style, script and data stand in it, and its policy lets nothing else in."""
    style, script = part("base.css") + part("style.css"), _script()
    return Template(part("page.html")).substitute(
        policy=policy(style, script),
        style=style,
        script=script,
        title=escape(_heading(explanation)),
        image=escape(payload.title(explanation)),
        model=escape(payload.model_title(explanation)),
        seen=payload.picture(explanation),
        size=_size(explanation),
        kind=_kind(explanation),
        hatched=" Hatched: no ink." if explanation.is_ink else "",
        photo="" if explanation.is_ink else '<canvas id="photo" aria-hidden="true"></canvas>',
        answer=static.answer(explanation),
        classes=static.classes(explanation),
        left_out=_note(static.left_out(explanation)),
        influence=static.influence(explanation),
        agreement=escape(static.agreement(explanation)),
        influence_table=static.influence_table(explanation),
        proofs=static.proof(explanation),
        count=len(explanation.proofs),
        facts=payload.facts(explanation),
        weights=payload.weights(explanation),
        cividis=payload.cividis(),
        ink=payload.ink(explanation),
    )


def _heading(explanation: Explanation) -> str:
    said = explanation.label if explanation.label is not None else "no answer"
    return f"{payload.title(explanation)}: {said}"


def _size(explanation: Explanation) -> str:
    channels, height, width = explanation.pixels.shape
    kind = "grey" if channels == 1 else "colour"
    return f"{width} × {height} pixels, {kind}"


def _kind(explanation: Explanation) -> str:
    """What the style needs to know: ink or a photo, and whether heads fit beside the map."""
    heads = max(layer.weights.shape[1] for layer in explanation.layers)
    return ("ink" if explanation.is_ink else "photo") + (" few" if heads <= FEW_HEADS else "")


def _note(text: str) -> str:
    return (
        f'<p class="note" id="left-out">{escape(text[0].upper() + text[1:])}.</p>' if text else ""
    )


def _script() -> str:
    parts = "\n".join(part(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'
