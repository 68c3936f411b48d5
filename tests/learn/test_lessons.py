"""The lessons as notebooks: they need the package only, and name every exercise."""

import ast
import re
from pathlib import Path

import pytest
from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from nbformat import NotebookNode

from clearhead.learn._exercises import EXERCISES
from docs.learn import support
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
    assert not any(
        isinstance(node, ast.Assert) for source in code for node in ast.walk(ast.parse(source))
    )  # checks of the page's sentences are the documentation's
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
        names = [name for name in EXERCISES if f"**{name}**" in text]
        assert names == [f"{number}.{exercise}" for exercise in (1, 2, 3)]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_has_all_parts_of_a_lesson(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    opening = next(x for x in re.split(r"\n\n+", text) if x.startswith("**"))
    assert opening.endswith("?**")
    assert "```text\n" in text  # a formula with shapes
    assert text.count("alt: ") >= 1
    assert text.count("**Predict first:**") == text.count("<details>") >= 1
    assert "```{microscope} " in text
    assert f'href="{path.stem}.ipynb"' in text
    takeaways = text.split("## Takeaways")[1]
    assert takeaways.count("\n- ") == 3


def test_the_lessons_report_the_study_of_every_claim_once() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in LESSONS)
    named = [
        name
        for call in re.findall(r"claims\((.*)\)", pages)
        for name in ast.literal_eval(f"[{call}]")
    ]
    assert sorted(named, key=lambda name: int(name[1:])) == [f"C{n}" for n in range(1, 18)]


def test_published_parts_are_reported_with_measured_and_predicted_numbers() -> None:
    finding = {
        "kind": "difference",
        "unit": "share",
        "low": 0.02,
        "high": None,
        "estimate": -0.113,
        "interval": [-0.12, -0.105],
        "n": 12,
        "note": "less",
    }
    part = {"name": "a_b", "outcome": "contradicted", "findings": [finding]}
    expected = (
        "*contradicted:* a\\_b: −11 percentage points (−12 to −10, n = 12; predicted: above 2)"
    )
    assert support._line(part) == f"- {expected}, less"
    bound = finding | {"kind": "bound", "unit": "share of the image", "note": "", "high": 0.5}
    assert support._result(bound).startswith(
        "−11 % of the image (−12 to −10, n = 12; predicted: 2 to"
    )
    exact = part | {"outcome": "by construction", "failed": []}
    assert support._line(exact) == "- *by construction:* a\\_b"
    failed = part | {"outcome": "undecided", "findings": [], "failed": ["a premise"]}
    assert support._line(failed) == "- *undecided:* a\\_b: premise not met"


def test_terms_are_explained_where_a_study_uses_them() -> None:
    for number in range(1, 18):
        claim, _, terms = str(support.claims(f"C{number}").data).partition("Terms: ")
        used = [meaning for pattern, meaning in support.TERMS.items() if re.search(pattern, claim)]
        assert all(meaning in terms for meaning in used)
