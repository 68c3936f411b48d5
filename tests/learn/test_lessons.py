"""The lessons as notebooks: they need the package only, and name every exercise."""

import ast
from pathlib import Path

import pytest
from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from nbformat import NotebookNode

from clearhead.learn._check import exercises
from docs.learn.sphinx_extension import as_notebook

FOLDER = Path(__file__).parents[2] / "docs" / "learn"
LESSONS = sorted(FOLDER.glob("[1-9]-*.md"))


def executed(path: Path) -> NotebookNode:
    """The page as Sphinx stores it, with a text as the output of each cell."""
    page: NotebookNode = read_myst_markdown_notebook(
        path.read_text(encoding="utf-8"), MdParserConfig()
    )
    for cell in page.cells:
        if cell.cell_type == "code":
            data = {"text/markdown": "**[C5](../results/x.md): found**", "text/plain": "…"}
            cell.outputs = [NotebookNode(output_type="display_data", data=data)]
    return page


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_as_a_notebook_needs_the_package_only(path: Path) -> None:
    notebook = as_notebook(executed(path))
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    modules = {
        (str(node.module) if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for source in code
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert "clearhead" in modules
    assert modules <= {"clearhead", "torch", "matplotlib", "scipy", "copy", "math", "time"}
    assert "**C5: found**" in text  # the output of the cell that reads the documentation's files
    assert "```{" not in text
    assert ".md" not in text
    assert "#step=" in text
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_each_lesson_has_the_exercises_of_its_number() -> None:
    assert len(LESSONS) == 7
    for number, path in enumerate(LESSONS, 1):
        text = path.read_text(encoding="utf-8")
        names = [name for name in exercises() if f"**{name}**" in text]
        assert names == [f"{number}.{exercise}" for exercise in (1, 2, 3)]
