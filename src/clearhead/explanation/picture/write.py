"""Explanations to disk: whole files or none, under names that tell what they are."""

from collections.abc import Callable, Sequence
from pathlib import Path

from clearhead._atomic import write_all_atomic
from clearhead.errors import ConfigError
from clearhead.explanation.picture.explanation import Explanation

FORMATS = ("html", "png", "svg", "json", "csv")
PAGES = (".html", ".htm")


def write_report(
    explanation: Explanation, path: str | Path, *, formats: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Write the page, and beside it what `formats` adds: "png", "svg", "json", "csv".

    Gives the paths, that of the page first. Raises `StorageError` if one cannot be written; then
    none is.
    """
    page = Path(path)
    if page.suffix.lower() not in PAGES:
        raise ConfigError(f"a report is an HTML file, named like report.html, got {page.name!r}")
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ConfigError(f"unknown formats {unknown}; known are {', '.join(FORMATS)}")
    wanted = [name for name in FORMATS if name in formats and name != "html"]
    paths = {page: "html"} | {page.with_suffix(f".{name}"): name for name in wanted}
    write_all_atomic({path: _content(explanation, name) for path, name in paths.items()})
    return tuple(paths)


def _content(explanation: Explanation, name: str) -> bytes:
    from clearhead.explanation.picture import figure, html, tables

    make: dict[str, Callable[[Explanation], bytes | str]] = {
        "html": html.to_html,
        "png": figure.to_png,
        "svg": figure.to_svg,
        "json": tables.to_json,
        "csv": tables.to_csv,
    }
    content = make[name](explanation)
    return content.encode() if isinstance(content, str) else content
