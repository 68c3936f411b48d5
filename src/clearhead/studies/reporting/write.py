"""A report on studies to disk: the page, and Markdown with its figures, all or none."""

from pathlib import Path

from clearhead._atomic import write_all_atomic
from clearhead.errors import ConfigError
from clearhead.explanation.files import PAGES
from clearhead.studies.reporting.found import StudyReport
from clearhead.studies.reporting.html import to_html
from clearhead.studies.reporting.markdown import figure_name, to_markdown


def write_study_report(
    report: StudyReport, page: str | Path, *, markdown: str | Path | None = None
) -> tuple[Path, ...]:
    """Write the page and, if asked for, the Markdown; its figures go to a folder of its name.

    Gives the paths of page and Markdown. Raises `StorageError` if a file cannot be written.
    """
    page = Path(page)
    if page.suffix.lower() not in PAGES:
        raise ConfigError(f"a report is an HTML file, named like report.html, got {page.name!r}")
    contents = {page: to_html(report).encode()}
    written = [page]
    if markdown is not None:
        text = Path(markdown)
        if text.suffix.lower() != ".md":
            raise ConfigError(f"--markdown names a .md file, got {text.name!r}")
        folder = text.with_suffix("")
        contents[text] = to_markdown(report, folder.name).encode()
        contents |= {folder / figure_name(one): one.svg for one in report.sections if one.svg}
        written.append(text)
    write_all_atomic(contents)
    return tuple(written)
