"""`clearhead study`: the claims people make about attention, tested."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from clearhead.cli.options import AsJson

INTERRUPTED, FAILED = 130, 1
FIGURES = 3  # significant

if TYPE_CHECKING:
    from clearhead.studies.running.results import Judged, Results
    from clearhead.studies.verdict import Finding

Names = Annotated[
    Positional[tuple[str, ...]],
    arg(
        metavar="NAME [NAME ...]",
        help='studies by name ("clearhead study list") or claim, or your own: MODULE:OBJECT',
        help_behavior_hint="",
    ),
]
Folder = Annotated[
    Path | None,
    arg(
        metavar="FOLDER",
        help="where results are kept, and found again",
        help_behavior_hint="(default: runs/studies/BUDGET)",
    ),
]


@dataclass(frozen=True)
class List:
    """Name the studies and the claims they test."""

    json: AsJson = False


@dataclass(frozen=True)
class Run:
    """Measure what has not been measured yet, and say what comes out.

    Stopped with Ctrl-C or killed, the same command goes on.
    """

    names: Names = ()
    all: Annotated[bool, arg(help="every study", help_behavior_hint="")] = False
    budget: Annotated[
        Literal["quick", "full"],
        arg(help="quick: few seeds, about 10 minutes for all on two cores; full: about an hour"),
    ] = "quick"
    first_seed: Annotated[int, arg(metavar="N", help="another one measures everything anew")] = 0
    engine: Annotated[
        Literal["local", "ray"],
        arg(help="processes here, or a Ray cluster (RAY_ADDRESS, a running one, or one made here)"),
    ] = "local"
    workers: Annotated[
        int | None,
        arg(metavar="N", help="trials at once", help_behavior_hint="(default: one a core)"),
    ] = None
    out: Folder = None
    restart: Annotated[bool, arg(help="measure the named studies again", help_behavior_hint="")] = (
        False
    )


Command = Annotated[
    Annotated[List, tyro.conf.subcommand("list")] | Annotated[Run, tyro.conf.subcommand("run")],
    arg(name=""),
]


def study(command: Command) -> int:
    """Test what people claim about attention, and say "holds", "does not hold" or "depends".

    `clearhead study COMMAND --help` shows a command's options.
    """
    match command:
        case List():
            return _list(command)
        case Run():
            return _run(command)


def _list(options: List) -> int:
    from clearhead.cli.output import print_json, print_line
    from clearhead.studies.registry import ENTRIES

    if options.json:
        rows = [
            {"name": entry.name, "claim": entry.claim, "statement": entry.statement}
            for entry in ENTRIES
        ]
        print_json(rows)
        return 0
    width = max((len(entry.name) for entry in ENTRIES), default=0)
    for entry in ENTRIES:
        print_line(f"{entry.claim:<4} {entry.name:<{width}}  {entry.statement}")
    return 0


def _run(options: Run) -> int:
    from clearhead.cli.output import print_remark
    from clearhead.errors import ConfigError
    from clearhead.studies.registry import ENTRIES, find_source
    from clearhead.studies.running.run import run_studies

    names = [entry.name for entry in ENTRIES] if options.all else list(options.names)
    if not names:
        raise ConfigError("name the studies to run, or --all; `clearhead study list` names them")
    wanted = {find_source(name) for name in names}
    try:
        results = run_studies(
            names,
            budget=options.budget,
            first_seed=options.first_seed,
            engine=options.engine,
            workers=options.workers,
            out=options.out,
            restart=options.restart,
        )
    except KeyboardInterrupt:
        import shlex

        again = shlex.join(["clearhead", *sys.argv[1:]])
        print_remark(f"stopped; what is measured is kept; go on with: {again}")
        return INTERRUPTED
    _print_verdicts(results, wanted)
    return FAILED if results.failures else 0


def _print_verdicts(results: "Results", wanted: set[str]) -> None:
    from clearhead.cli.output import print_line, print_table
    from clearhead.studies.running.results import judge

    judged = judge(results)
    family = next((one.verdict.family for one in judged if one.verdict), 0)
    heading = f"Verdicts, budget {results.budget}"
    if results.budget == "quick":
        heading += ": few seeds, for a first look"
    print_table(
        heading,
        ("claim", "study", "verdict", "main effect, 95 % interval"),
        [
            (one.result.study.claim, one.result.study.name, _verdict(one), _main(one))
            for one in judged
            if one.result.source in wanted
        ],
    )
    if family:
        print_line(f"p values are adjusted (Holm) over {family} comparisons in {results.folder}")


def _verdict(one: "Judged") -> str:
    return one.verdict.answer if one.verdict else one.unjudged


def _main(one: "Judged") -> str:
    return effect(one.verdict.findings[0]) if one.verdict and one.verdict.findings else ""


def effect(finding: "Finding") -> str:
    """The first finding in one line: what, how much, from where to where."""
    if finding.estimate is None:
        return f"{finding.name}: none"
    told = f"{finding.name}: {_number(finding.estimate)}"
    if finding.interval is not None:
        low, high = finding.interval
        told += f" ({_number(low)} to {_number(high)})"
    return f"{told} {finding.unit}".rstrip()


def _number(value: Any) -> str:
    return f"{value:.{FIGURES}g}".replace("-", "−")
