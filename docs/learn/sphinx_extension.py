"""What Sphinx does for the lessons: the microscope beside a step, and notebooks to download."""

import json
import re
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from clearhead.microscope import shipped_page

PAGE = "microscope.html"

# Where the microscope shows what a lesson explains: its step, with the layer, head and patches of
# the lessons where they count, as the part of the address after #.
PLACES = {
    "qkv": "step=qkv&layer=1&head=4&query=6",
    "softmax": "step=softmax&layer=3&head=1&query=11&key=15",
    "scale": "step=scale&layer=3&head=1&query=11&key=15",
    "self-attention": "step=mix&layer=2&head=3&query=11",
    "heads": "step=heads&layer=3&head=1&query=11",
    "answer": "step=prediction",
    "gallery": "step=gallery&case=3",
}
DIRECTIVE = re.compile(r"^```\{microscope\} (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[([^\]]+)\]\((?!http)[^)]*\)")
DOWNLOAD = re.compile(r"^<a [^>]*\bdownload\b.*</a>$\n?", re.MULTILINE)


class Microscope(SphinxDirective):
    """A picture of the microscope that links to the page, and the page itself when unfolded.

    The argument is one of `PLACES`, the content one sentence: what to look at.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The picture is what a printed page and a browser without scripts show."""
        place = self.arguments[0]
        up = "../" * self.env.docname.count("/")
        address = escape(f"{up}{PAGE}#{address_of(place)}")
        sentence = " ".join(self.content)
        picture = nodes.image(uri=f"/learn/pictures/{place}.png", alt=f"The microscope. {sentence}")
        figure = nodes.figure("", nodes.reference("", "", picture, refuri=address))
        text = f"{sentence} "
        link = nodes.reference("", "Open the microscope here.", refuri=address)
        figure += nodes.caption("", text, link)
        frame = (
            "<details><summary>Show the microscope in this page</summary>"
            f'<iframe src="{address}" title="The microscope" loading="lazy" '
            'style="width:100%;height:44rem;border:1px solid currentColor"></iframe></details>'
        )
        return [figure, nodes.raw("", frame, format="html")]


def address_of(place: str) -> str:
    """A place in the microscope, with the lessons' digit, as the part of its address after #."""
    examples = resources.files("clearhead.microscope") / "shipped" / "examples.json"
    strokes = [x["strokes"] for x in json.loads(examples.read_text()) if x["label"] == "7"][1]
    text = ".".join("".join(_base_36(x) + _base_36(y) for x, y in one) for one in strokes)
    return f"{PLACES[place]}&strokes={text}"


def _base_36(number: int) -> str:
    """Two digits, as the microscope writes a coordinate."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return digits[number // 36] + digits[number % 36]


def write_files(app: Sphinx, error: Exception | None) -> None:
    """The microscope, and each lesson as a notebook beside its page."""
    if error is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    (out / PAGE).write_text(shipped_page(), encoding="utf-8")
    for path in sorted((out.parent / "jupyter_execute" / "learn").glob("*.ipynb")):
        notebook = as_notebook(nbformat.read(path, as_version=4))
        nbformat.write(notebook, out / "learn" / path.name)


def as_notebook(page: NotebookNode) -> NotebookNode:
    """An executed page as a notebook without outputs that needs the package only.

    Cells tagged `docs`, which read the documentation's files, become their output. Cells tagged
    `remove-cell`, which check the page's sentences, are left out.
    """
    cells = []
    for cell in page.cells:
        tags = cell.metadata.get("tags", ())
        if "remove-cell" in tags:
            continue
        if cell.cell_type == "code" and "docs" in tags:
            cells += [nbformat.v4.new_markdown_cell(_plain(text)) for text in _texts(cell)]
        elif cell.cell_type == "code":
            cells.append(nbformat.v4.new_code_cell(cell.source))
        elif text := _plain(cell.source).strip():
            cells.append(nbformat.v4.new_markdown_cell(text))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the same in each build
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook: NotebookNode = nbformat.v4.new_notebook(cells=cells, metadata=metadata)
    return notebook


def _texts(cell: NotebookNode) -> list[str]:
    outputs = [output.get("data", {}) for output in cell.outputs]
    return [str(data["text/markdown"]) for data in outputs if "text/markdown" in data]


def _plain(text: str) -> str:
    """MyST's Markdown as any Markdown; links to other pages become text."""

    def microscope(match: re.Match[str]) -> str:
        sentence = " ".join(match[2].split())
        return (
            f"{sentence} The command `clearhead page` writes the microscope; open it and add "
            f"`#{PLACES[match[1]]}` to its address."
        )

    return LINK.sub(r"\1", DIRECTIVE.sub(microscope, DOWNLOAD.sub("", text)))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and the files."""
    app.add_directive("microscope", Microscope)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
