"""How commands print: the result on stdout, as tables or as JSON; remarks on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE_ENOUGH = 10_000


def print_json(data: Any) -> None:
    """`data` as one indented JSON document."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_line(text: str = "") -> None:
    """One line of the result, as it is."""
    sys.stdout.write(text + "\n")


def print_remark(text: str) -> None:
    """One line for the person, not part of the result."""
    sys.stderr.write(f"clearhead: {text}\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table, the first column to the left and the rest to the right.

    Texts are shown as they are: names may contain what rich would take for markup. Where the
    output is no terminal, no line is broken for its width.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="")
    for place, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = WIDE_ENOUGH
    print_line(title)
    console.print(table)


def print_facts(title: str, facts: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line."""
    pairs = list(facts)
    width = max((len(name) for name, _ in pairs), default=0)
    print_line(title)
    for name, value in pairs:
        print_line(f"  {name:<{width}}  {value}")


@contextmanager
def fetching() -> Iterator[Callable[[str, int], None]]:
    """On a terminal, a line on stderr that says what is being fetched; nothing elsewhere."""
    with Console(stderr=True).status("looking for the data set") as status:
        yield lambda what, count: status.update(Text(f"{what}: {count / 1e6:.1f} MB"))


def percent(fraction: float | None) -> str:
    """A fraction in per cent, without the sign; empty where there is none."""
    return "" if fraction is None else f"{fraction * 100:.2f}"


def percent_range(interval: tuple[float, float] | None) -> str:
    """An interval in per cent, without the sign; empty where there is none."""
    return "" if interval is None else f"{percent(interval[0])} – {percent(interval[1])}"


def ask_for(what: str, command: str) -> int:
    """Say what is missing from a command line; its exit code."""
    print_remark(f"expected {what}, got none; `clearhead {command} --help` shows what there is")
    return 2
