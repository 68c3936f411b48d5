"""Test claims about attention: each is supported, contradicted, mixed or undecided."""

import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from clearhead.cli.options import AsJson
from clearhead.cli.output import print_json, print_line, print_remark
from clearhead.errors import ConfigError

if TYPE_CHECKING:
    from clearhead.studies.store import Results
    from clearhead.studies.study import Study

NAMES_HELP = 'studies by name ("clearhead study list") or claim, or your own: MODULE:OBJECT'
BUDGET_HELP = "quick: few seeds, about 10 minutes for all on two cores; full: about an hour"
RUNNER_HELP = "processes on this machine, or Ray: the cluster of RAY_ADDRESS, or a new one"
WORKERS_HELP = "trials at a time (default: one per core)"
OUT_HELP = "folder of the results (default: runs/studies/BUDGET, or …/BUDGET-from-seed-N)"
RESULTS_HELP = (
    "folder of the results, or published trials in a .json or .json.gz file (default: "
    "runs/studies/full if it exists, else …/quick, else those in docs/results of a clone)"
)
REGISTRATION_HELP = (
    "folder of registered.json (default, where runs look for it: the root of the current "
    "repository, in a clone of Clearhead its package, without a repository the current folder)"
)
MARKDOWN_HELP = "write Markdown too, with the figures in a folder of this name"

PUBLISHED = Path("docs/results/trials.json.gz")

Names = Annotated[
    Positional[tuple[str, ...]],
    arg(metavar="NAME [NAME ...]", help=NAMES_HELP),
]
Inputs = Annotated[
    Positional[tuple[str, ...]], arg(metavar="INPUT [INPUT ...]", help="pictures or texts")
]
Described = Annotated[str, arg(help='"digits", "timm:NAME", "hf:OWNER/NAME" or a folder')]
Budget = Annotated[Literal["quick", "full"], arg(help=BUDGET_HELP)]
Runner = Annotated[Literal["local", "ray"], arg(help=RUNNER_HELP)]
FirstSeed = Annotated[int, arg(metavar="N", help="the first seed of the run")]
Workers = Annotated[int | None, arg(metavar="N", help=WORKERS_HELP)]
Folder = Annotated[Path | None, arg(metavar="FOLDER", help=OUT_HELP)]
RegistrationFolder = Annotated[Path | None, arg(metavar="FOLDER", help=REGISTRATION_HELP)]
Source = Annotated[Path | None, arg(metavar="PATH", help=RESULTS_HELP)]
Page = Annotated[Path, arg(aliases=["-o"], metavar="FILE", help="the page")]
Markdown = Annotated[Path | None, arg(metavar="FILE", help=MARKDOWN_HELP)]


def list_studies(json: AsJson = False) -> None:
    """List the studies and the claims that they test."""
    from clearhead.studies.claims import ENTRIES

    if json:
        keys = ("name", "claim", "statement")
        print_json([{key: getattr(entry, key) for key in keys} for entry in ENTRIES])
        return
    width = max(len(entry.name) for entry in ENTRIES)
    for entry in ENTRIES:
        print_line(f"{entry.claim:<4} {entry.name:<{width}}  {entry.statement}")


def plan(names: Names = (), budget: Budget = "full", json: AsJson = False) -> None:
    """Print hypotheses, margins, seeds and the smallest effects that can be found."""
    from clearhead.studies._report_text import plan_line
    from clearhead.studies.registration import plan_study

    known = _published_spreads()
    plans = [(x, plan_study(x, budget, known.get(x.name, {}))) for x in _load_studies(names)]
    if json:
        print_json({study.name: [asdict(x) for x in planned] for study, planned in plans})
        return
    for study, planned in plans:
        print_line(f"{study.claim:<4} {study.question}")
        for part in dict.fromkeys(x.part for x in planned):
            print_line(f"  {part}")
            for line in (plan_line(x) for x in planned if x.part == part):
                print_line(f"    {line}")


def describe(inputs: Inputs = (), model: Described = "digits", json: AsJson = False) -> None:
    """Print the measures of C1, C2, C4, C7, C13 and C17 on one model, by layer.

    There is no verdict, because one model is not a sample.
    """
    from clearhead.studies.measures.pretrained import describe_model

    if not inputs:
        raise ConfigError(
            "expected pictures or texts; run `clearhead study describe --help` for help"
        )
    found = describe_model(model, inputs)
    if json:
        print_json(found)
        return
    width = max(map(len, found))
    for name, value in sorted(found.items(), key=lambda x: int(x[0].split()[0][1:])):
        numbers = value if isinstance(value, list) else [value]
        print_line(f"{name:<{width}}  {' '.join(f'{x:.3g}' for x in numbers)}")


def register(
    names: Names = (),
    budget: Budget = "full",
    first_seed: FirstSeed = 4000,
    out: RegistrationFolder = None,
) -> None:
    """Write designs, margins and seeds to registered.json, which is committed before the run.

    A run with this budget and first seed from the same repository or folder is then refused if a
    design differs.
    """
    from clearhead.studies.registration import register as register_studies

    path = register_studies(_load_studies(names), budget, first_seed, _published_spreads(), out)
    print_line(f"wrote {path}; commit and tag it before the run:")
    file, tag = shlex.quote(str(path)), f"studies-{budget}-{first_seed}"
    print_line(f"git add {file} && git commit -m 'Register the studies' {file} && git tag {tag}")


def run(
    names: Names = (),
    all: Annotated[bool, arg(help="all studies")] = False,  # noqa: A002 - the option's name
    budget: Budget = "quick",
    first_seed: FirstSeed = 0,
    runner: Runner = "local",
    workers: Workers = None,
    out: Folder = None,
    restart: Annotated[bool, arg(help="discard earlier results")] = False,
) -> int:
    """Measure the missing trials and print the verdicts.

    After Ctrl-C, SIGTERM or a kill, the same command continues.
    """
    from clearhead.studies.claims import ENTRIES, find_source
    from clearhead.studies.runner import run_studies

    if bool(names) == all:
        raise ConfigError("expected either studies by name (`clearhead study list`) or --all")
    chosen = [entry.name for entry in ENTRIES] if all else list(names)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as after Ctrl-C
    try:
        results = run_studies(
            chosen,
            budget=budget,
            first_seed=first_seed,
            runner=runner,
            workers=workers,
            out=out,
            restart=restart,
        )
    except KeyboardInterrupt:
        command = shlex.join(["clearhead", *sys.argv[1:]])
        print_remark(f"stopped; the measured trials are stored; continue with: {command}")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    _print_verdicts(results, {find_source(name) for name in chosen})
    return int(bool(results.failures))


def report(
    results: Source = None,
    out: Page = Path("report.html"),
    markdown: Markdown = None,
    json: Annotated[bool, arg(help="print everything as JSON")] = False,
) -> None:
    """Write an HTML page with verdicts, figures, methods and raw data."""
    from clearhead.studies.report import report_studies, write_study_report
    from clearhead.studies.store import default_folder, read_published, read_results

    full, quick = (default_folder(budget, 0) for budget in ("full", "quick"))
    found = (path for path in (full, quick, PUBLISHED) if path.exists())
    path = results or next(found, None)
    if path is None:
        raise ConfigError(
            f"there are no results in {full.parent}; `clearhead study run --all` makes them, "
            f"--results names others, and a clone of Clearhead has the published ones"
        )
    content = report_studies(read_published(path) if path.is_file() else read_results(path))
    for section in content.sections:
        for problem in filter(None, (section.unjudged, *section.problems)):
            print_remark(f"study {section.study.name}: {problem}")
    written = write_study_report(content, out, markdown=markdown)
    if json:
        print_json(content.to_dict())
    else:
        for file in written:
            print_line(f"wrote {file}")


study = {"list": list_studies} | {x.__name__: x for x in (plan, describe, register, run, report)}


def _load_studies(names: tuple[str, ...]) -> "list[Study]":
    """Those of these names, by default all of the project."""
    from clearhead.studies.claims import ENTRIES, find_source, load_study

    return [load_study(find_source(name)) for name in names or [x.name for x in ENTRIES]]


def _published_spreads() -> dict[str, dict[str, float]]:
    """Those of the published run, in a clone."""
    from clearhead.studies.store import spreads

    return spreads(PUBLISHED) if PUBLISHED.is_file() else {}


def _print_verdicts(results: "Results", sources: set[str]) -> None:
    """For each of these studies the verdict, its parts, and the decisive result."""
    from clearhead.studies._section import judge

    sections = [x for x in judge(results) if x.result.source in sources]
    few = ": few seeds, for a first look" if results.budget == "quick" else ""
    print_line(f"Verdicts, budget {results.budget}{few}")
    width = max(len(section.study.name) for section in sections)
    for section in sections:
        print_line(f"  {section.study.claim:<4} {section.study.name:<{width}}  {section.outcome}")
        verdict = section.verdict
        for line in (verdict.sentence, section.decisive) if verdict else ():
            print_line(f"       {line}")
    command = shlex.join(["clearhead", "study", "report", "--results", str(results.folder)])
    print_line(f"`{command}` shows the evidence")
