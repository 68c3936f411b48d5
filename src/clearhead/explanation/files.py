"""Explanations to disk: all files of one or none."""

from collections.abc import Callable, Sequence
from pathlib import Path

from clearhead._atomic import write_all_atomic
from clearhead.errors import ConfigError
from clearhead.explanation.pictures import Explanation
from clearhead.explanation.texts import TextExplanation

FORMATS = ("html", "png", "svg", "json", "csv")
PAGES = (".html", ".htm")


def write_report(
    explanation: Explanation | TextExplanation, path: str | Path, *, formats: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Write an explanation as an HTML page, and beside it in other formats.

    Args:
        explanation: of a picture or a text.
        path: the page, such as "report.html".
        formats: additional ones, "png", "svg", "json" or "csv"; these files get the page's name
            with another suffix.

    Returns:
        The paths of all files, the page first.

    Raises:
        ConfigError: the path or a format has an unknown suffix.
        StorageError: a file cannot be written; then none is.
    """
    page = Path(path)
    if page.suffix.lower() not in PAGES:
        raise ConfigError(f"a report is an HTML file such as report.html, got {page.name!r}")
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise ConfigError(f"unknown formats {unknown}; expected {', '.join(FORMATS)}")
    wanted = [name for name in FORMATS if name in formats and name != "html"]
    paths = {page: "html"} | {page.with_suffix(f".{name}"): name for name in wanted}
    write_all_atomic({path: encode(explanation, name) for path, name in paths.items()})
    return tuple(paths)


def encode(explanation: Explanation | TextExplanation, file_format: str) -> bytes:
    """The content of a file in one of `FORMATS`."""
    import json

    from clearhead.explanation import figures, page, tables
    from clearhead.insight.plots import figure_bytes

    is_picture = isinstance(explanation, Explanation)
    if file_format in ("png", "svg"):
        figure = figures.picture_figure if is_picture else figures.text_figure
        return figure_bytes(figure(explanation), file_format)  # type: ignore[arg-type]
    if file_format == "json":
        content = json.dumps(explanation.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
    else:
        make: dict[str, Callable[..., str]] = (
            {"html": page.picture_page, "csv": tables.picture_csv}
            if is_picture
            else {"html": page.text_page, "csv": tables.text_csv}
        )
        content = make[file_format](explanation)
    return content.encode()
