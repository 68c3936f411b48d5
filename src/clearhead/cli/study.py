"""`clearhead study`: the claims people make about attention, tested."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from clearhead.cli.options import AsJson

INTERRUPTED, FAILED = 130, 1

if TYPE_CHECKING:
    from clearhead.studies.store import Results

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
        help_behavior_hint="(default: runs/studies/BUDGET, …/BUDGET-from-seed-N)",
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


@dataclass(frozen=True)
class Report:
    """Write what was found as one HTML page, with figures, methods and raw data."""

    results: Annotated[
        Path | None,
        arg(
            metavar="FOLDER",
            help="of the results",
            help_behavior_hint="(default: runs/studies/full where it is, or else …/quick)",
        ),
    ] = None
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE", help="the page")] = Path("report.html")
    markdown: Annotated[
        Path | None,
        arg(
            metavar="FILE",
            help="the same as Markdown, with its figures in a folder of this name",
            help_behavior_hint="",
        ),
    ] = None
    json: Annotated[
        bool, arg(help="print everything as JSON too, raw values included", help_behavior_hint="")
    ] = False


Command = Annotated[
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Report, tyro.conf.subcommand("report")],
    arg(name=""),
]


def study(command: Command) -> int:
    """Test claims about attention: each is supported, contradicted, mixed or undecided.

    `clearhead study COMMAND --help` shows a command's options.
    """
    match command:
        case List():
            return _list(command)
        case Run():
            return _run(command)
        case Report():
            return _report(command)


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
    from clearhead.cli.output import print_remark, usage_error
    from clearhead.studies.registry import ENTRIES, find_source
    from clearhead.studies.runner import run_studies

    names = [entry.name for entry in ENTRIES] if options.all else list(options.names)
    if not names:
        return usage_error("studies by name (`clearhead study list`) or --all", "study run")
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
    """A line a study, and what decided below: names and effects are long."""
    from clearhead.cli.output import print_line
    from clearhead.studies.reporting import words as words
    from clearhead.studies.store import judge

    judged = judge(results)
    shown = [one for one in judged if one.result.source in wanted]
    heading = f"Verdicts, budget {results.budget}"
    if results.budget == "quick":
        heading += ": few seeds, for a first look"
    print_line(heading)
    width = max((len(one.result.study.name) for one in shown), default=0)
    for one in shown:
        study = one.result.study
        print_line(f"  {study.claim:<4} {study.name:<{width}}  {words.answer(one)}")
        if words.decisive(one):
            print_line(f"       {words.decisive(one)}")
    family = next((one.verdict.family for one in judged if one.verdict), 0)
    if family:
        print_line(
            f"p values are adjusted (Holm) over all comparisons in {results.folder}: {family}"
        )
    print_line(f"`{_report_command(results.folder)}` shows the evidence")


def _report_command(folder: Path) -> str:
    """The command that reads this folder; it need not be named where it is the default."""
    import shlex

    command = ["clearhead", "study", "report"]
    return shlex.join(
        command if folder == _default_results() else [*command, "--results", str(folder)]
    )


def _report(options: Report) -> int:
    from clearhead.cli.output import print_line, print_remark
    from clearhead.studies.reporting.data import to_json
    from clearhead.studies.reporting.found import report_studies
    from clearhead.studies.reporting.write import write_study_report
    from clearhead.studies.store import read_results

    results = read_results(options.results or _default_results())
    report = report_studies(results)
    for section in report.sections:
        for told in (section.judged.unjudged, *section.problems):
            if told:
                print_remark(f"study {section.name}: {told}")
    written = write_study_report(report, options.out, markdown=options.markdown)
    if options.json:
        print_line(to_json(report).rstrip())
    else:
        for path in written:
            print_line(f"wrote {path}")
    return 0


def _default_results() -> Path:
    from clearhead.studies.store import default_folder

    full = default_folder("full", 0)
    return full if full.is_dir() else default_folder("quick", 0)
