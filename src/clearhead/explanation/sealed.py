"""What all pages are made of: one file that opens anywhere and asks nobody for anything."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from importlib import resources

SCROLL = '<div class="scroll" role="group" tabindex="0" aria-label="Table">'


def policy(style: str, script: str = "") -> str:
    """Only this very style and script, pictures inside the page, and no connection at all."""
    scripts = f"'{_digest(script)}'" if script else "'none'"
    return (
        "default-src 'none'; connect-src 'none'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )


def part(name: str) -> str:
    """A file of `assets/`: template, style or script."""
    return (resources.files("clearhead.explanation") / "assets" / name).read_text(encoding="utf-8")


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns and rows have their headings; all texts are shown as they are."""
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(text)}</td>" for text in rest)
        + "</tr>"
        for name, *rest in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def data_link(content: bytes, kind: str) -> str:
    """The content itself as an address, of a picture or of a file to keep."""
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}"
