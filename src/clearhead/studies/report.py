"""Reports on studies: verdicts, evidence, figures and raw data; as HTML, Markdown, JSON and CSV.

`report_studies` judges results and draws the figures; a `StudyReport` is plain data, whose JSON
`clearhead.studies.read_published` reads.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from clearhead._atomic import write_all_atomic
from clearhead.errors import ConfigError
from clearhead.explanation import data_uri, render_page
from clearhead.studies import _report_text as text
from clearhead.studies._section import Section, judge
from clearhead.studies.registration import Row, history, registered
from clearhead.studies.store import Results

PACKAGE = "clearhead.studies"
MARKDOWN_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_|[]<>#"})


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """The studies of a folder of results.

    Attributes:
        results: The results.
        sections: One for each study.
    """

    results: Results
    sections: tuple[Section, ...]

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{x.study.claim} {x.outcome}" for x in self.sections)
        return f"StudyReport({verdicts})"

    @property
    def num_judged(self) -> int:
        """The number of studies that have a verdict."""
        return sum(section.verdict is not None for section in self.sections)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about the run, before its verdicts."""
        if not self.changes:
            return ()
        results, planned = self.results, registered()
        notes = ["The designs of this run were not registered beforehand."]
        if results.registration:
            date, commit = (results.registration[key] for key in ("date", "commit"))
            notes = [f"Designs, margins and seeds were registered on {date} (commit {commit})."]
        for run in history()[0]:
            after = [x for x in self.changes if x["after"] == run["name"]]
            known, measured = run.get("commit"), results.versions.get("commit", "")
            if known and measured.startswith(known) and after:
                kinds = Counter(x["kind"] for x in after)
                counts = " and ".join(f"{n} {kind}{'s' * (n > 1)}" for kind, n in kinds.items())
                notes.append(
                    f"These trials are those of the {run['name']} ({run['date']}). After its "
                    f"results were known, {counts} changed; its trials are judged by today's "
                    "rules: see the changes below."
                )
                verdicts = "; ".join(x["verdicts"] for x in after if x["verdicts"])
                notes += [f"Verdicts that changed as a result: {verdicts}."] if verdicts else []
        if planned and planned["first_seed"] != results.first_seed:
            seed = planned["first_seed"]
            notes.append(f"No run with the registered designs, seeds from {seed} on, exists yet.")
        return tuple(notes)

    @property
    def changes(self) -> list[Row]:
        """All changes after results were seen; empty for studies of a user's own."""
        return history()[1] if any(x.is_of_project for x in self.sections) else []

    def to_dict(self) -> dict[str, Any]:
        """Settings, verdicts, evidence, every trial and the log, as JSON types.

        Returns:
            A dictionary for `json.dumps`.
        """
        results = self.results
        return {
            "budget": results.budget,
            "first_seed": results.first_seed,
            "versions": results.versions,
            "registration": results.registration,
            "studies": [section.to_dict() for section in self.sections],
            "log": list(results.log),
        }

    @property
    def _texts(self) -> dict[str, Any]:
        """What both templates of the first page contain."""
        results = self.results
        claims = {x.study.name: x.study.claim for x in self.sections}
        return {
            "report": self,
            "versions": ", ".join(f"{name} {x}" for name, x in results.versions.items()),
            "change_table": text.change_table(self.changes),
            "runs": [*text.run_lines(results.log), *text.shared_trainings(results.log, claims)],
        }

    def to_html(self) -> str:
        """The report as an HTML page without scripts that includes figures and raw data.

        Returns:
            The page.
        """
        return render_page(
            "report.html",
            package=PACKAGE,
            styles=("base.css", "report.css"),
            title="Claims about attention, tested",
            raw_table=text.raw_table,
            svg=lambda content: data_uri(content, "image/svg+xml"),
            **self._texts,
        )

    def to_markdown(self, folder: str) -> dict[str, bytes]:
        """The report as Markdown: a first page, and a page and figures for every study.

        Args:
            folder: The folder of all but the first page, relative to it.

        Returns:
            The files by path, relative to the first page, which is the empty path.
        """
        environment = Environment(  # noqa: S701 - `finalize` escapes
            loader=PackageLoader(PACKAGE),
            finalize=_escape_markdown,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        first = environment.get_template("report.md").render(folder=folder, **self._texts)
        template = environment.get_template("study.md")
        files = {"": first.encode()}
        for section in self.sections:
            path = f"{folder}/{section.file_name}"
            files[f"{path}.md"] = template.render(section=section, first=f"{folder}.md").encode()
            svg, small = section.figures.svg, section.figures.small_svg
            files |= {f"{path}.svg": svg} if svg else {}
            files |= {f"{path}-results.svg": small} if small else {}
        return files


def report_studies(results: Results) -> StudyReport:
    """Judge all results together.

    Args:
        results: From `run_studies`, `read_results` or `read_published`.

    Returns:
        The report. What cannot be drawn or judged is named in the study's `problems`.
    """
    return StudyReport(results=results, sections=judge(results))


def write_study_report(
    report: StudyReport, page: str | Path, *, markdown: str | Path | None = None
) -> tuple[Path, ...]:
    """Write a report as an HTML page, and as Markdown.

    Args:
        report: The report.
        page: The HTML file.
        markdown: The Markdown file of the first page; the pages and figures of the studies go to a
            folder of the same name without suffix.

    Returns:
        The paths of page and Markdown.

    Raises:
        ConfigError: A path has the wrong suffix.
        StorageError: A file cannot be written; then none is.
    """
    page = Path(page)
    if page.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"a report is an HTML file such as report.html, got {page.name!r}")
    contents = {page: report.to_html().encode()}
    written = [page]
    if markdown is not None:
        path = Path(markdown)
        if path.suffix.lower() != ".md":
            raise ConfigError(f"expected a Markdown file such as report.md, got {path.name!r}")
        files = report.to_markdown(path.stem)
        contents |= {path.parent / name if name else path: x for name, x in files.items()}
        written.append(path)
    write_all_atomic(contents)
    return tuple(written)


def _escape_markdown(value: object) -> str:
    """A value as literal text in one line of Markdown."""
    return " ".join(str(value).translate(MARKDOWN_SIGNS).split())
