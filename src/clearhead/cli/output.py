"""Printing: results to stdout, as tables or as JSON; remarks to stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


def print_json(data: Any, indent: int | None = 2) -> None:
    """Print one JSON document, without an indent on one line."""
    print_line(json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False))


def print_line(text: str = "") -> None:
    """Print one line of the result."""
    sys.stdout.write(text + "\n")


def print_remark(text: str) -> None:
    """Print one line to stderr that is not part of the result."""
    sys.stderr.write(f"clearhead: {text}\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, its first column aligned left and the others right.

    Cells are literal text, not rich markup. Lines are wrapped on a terminal only.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="")
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    print_line(title)
    console.print(table)


def print_facts(title: str, facts: Iterable[tuple[str, str]]) -> None:
    """Print a title and one line for each name and value."""
    pairs = list(facts)
    width = max((len(name) for name, _ in pairs), default=0)
    print_line(title)
    for name, value in pairs:
        print_line(f"  {name:<{width}}  {value}")


@contextmanager
def fetching() -> Iterator[Callable[[str, int], None]]:
    """Show a download's progress on stderr if it is a terminal; yields the callback for it."""
    with Console(stderr=True).status("looking for the data set") as status:
        yield lambda what, count: status.update(Text(f"{what}: {count / 1e6:.1f} MB"))


@contextmanager
def progress(*, hidden: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr if it is a terminal; yields the callback for the count and the total."""
    console = Console(stderr=True)
    # Lines printed to a terminal appear above the bar; a file or a pipe gets them unchanged.
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        disable=hidden or not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def percent(fraction: float | None) -> str:
    """Format a fraction in per cent without the sign; "" for None.

    Only 0 and 1 themselves are "0.00" and "100.00".
    """
    if fraction is None:
        return ""
    text = f"{fraction * 100:.2f}"
    if 0 < fraction < 1:
        return {"0.00": "<0.01", "100.00": ">99.99"}.get(text, text)
    return text


def percent_range(interval: tuple[float, float] | None) -> str:
    """Format an interval in per cent without the sign; "" for None."""
    return "" if interval is None else f"{percent(interval[0])} – {percent(interval[1])}"
