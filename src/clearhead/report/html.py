"""One explanation as one HTML file that opens anywhere and asks nobody for anything."""

from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib import resources
from string import Template

from clearhead.report import payload, static
from clearhead.report.explanation import Explanation

# In this order they make one script; each file says what it is for.
SCRIPTS = (
    *("data", "words", "colours", "layout", "draw", "picking"),
    *("tables", "view", "heads", "influence", "start"),
)

FEW_HEADS = 4


def to_html(explanation: Explanation) -> str:
    """The whole page: style, script and data stand in it, and its policy lets nothing else in."""
    style, script = _file("style.css"), _script()
    return Template(_file("page.html")).substitute(
        policy=_policy(style, script),
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
    parts = "\n".join(_file(f"{name}.js") for name in SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'


def _policy(style: str, script: str) -> str:
    """Only this very style and script, pictures inside the page, and no connection at all."""
    return (
        "default-src 'none'; connect-src 'none'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}"


def _file(name: str) -> str:
    return (resources.files("clearhead.report") / "page" / name).read_text(encoding="utf-8")
