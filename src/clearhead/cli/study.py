"""`clearhead study`: claims about attention, tested."""

import inspect
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from clearhead.cli.options import AsJson
from clearhead.cli.parsing import options_of
from clearhead.errors import ConfigError

if TYPE_CHECKING:
    from clearhead.studies.store import Results
    from clearhead.studies.study import Study

NAMES_HELP = 'studies by name ("clearhead study list") or claim, or your own: MODULE:OBJECT'
BUDGET_HELP = "quick: few seeds, about 10 minutes for all on two cores; full: about an hour"
ENGINE_HELP = "processes on this machine, or Ray: the cluster of RAY_ADDRESS, or a new one"
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
Workers = Annotated[int | None, arg(metavar="N", help=WORKERS_HELP)]
Folder = Annotated[Path | None, arg(metavar="FOLDER", help=OUT_HELP)]
RegistrationFolder = Annotated[Path | None, arg(metavar="FOLDER", help=REGISTRATION_HELP)]
Source = Annotated[Path | None, arg(metavar="PATH", help=RESULTS_HELP)]
Markdown = Annotated[Path | None, arg(metavar="FILE", help=MARKDOWN_HELP)]


@dataclass(frozen=True)
class List:
    """List the studies and the claims that they test."""

    json: AsJson = False

    def run(self) -> int:
        """Print one line for each study."""
        from clearhead.cli.output import print_json, print_line
        from clearhead.studies.claims import ENTRIES

        if self.json:
            keys = ("name", "claim", "statement")
            print_json([{key: getattr(entry, key) for key in keys} for entry in ENTRIES])
            return 0
        width = max(len(entry.name) for entry in ENTRIES)
        for entry in ENTRIES:
            print_line(f"{entry.claim:<4} {entry.name:<{width}}  {entry.statement}")
        return 0


@dataclass(frozen=True)
class Plan:
    """Print hypotheses, margins, seeds and the smallest effects that can be found."""

    names: Names = ()
    budget: Annotated[Literal["quick", "full"], arg(help=BUDGET_HELP)] = "full"
    json: AsJson = False

    def run(self) -> int:
        """Print the plan of each study, by default of all."""
        from clearhead.cli.output import print_json, print_line
        from clearhead.studies._report_text import plan_line
        from clearhead.studies.registration import plan_study

        known, studies = _published_spreads(), _load_studies(self.names)
        plans = [(x, plan_study(x, self.budget, known.get(x.name, {}))) for x in studies]
        if self.json:
            print_json({study.name: [asdict(x) for x in plan] for study, plan in plans})
            return 0
        for study, plan in plans:
            print_line(f"{study.claim:<4} {study.question}")
            for part in dict.fromkeys(x.part for x in plan):
                print_line(f"  {part}")
                for planned in (x for x in plan if x.part == part):
                    print_line(f"    {plan_line(planned)}")
        return 0


@dataclass(frozen=True)
class Describe:
    """Print the measures of C1, C2, C4, C7, C13 and C17 on one model, by layer.

    There is no verdict, because one model is not a sample.
    """

    inputs: Annotated[
        Positional[tuple[str, ...]], arg(metavar="INPUT [INPUT ...]", help="pictures or texts")
    ] = ()
    model: Annotated[str, arg(help='"digits", "timm:NAME", "hf:OWNER/NAME" or a folder')] = "digits"
    json: AsJson = False

    def run(self) -> int:
        """Run the model on the inputs and print one line a measure."""
        from clearhead.cli.output import print_json, print_line
        from clearhead.studies.measures.pretrained import describe_model

        if not self.inputs:
            raise ConfigError(
                "expected pictures or texts; run `clearhead study describe --help` for help"
            )
        found = describe_model(self.model, self.inputs)
        if self.json:
            print_json(found)
            return 0
        width = max(map(len, found))
        for name, value in sorted(found.items(), key=lambda x: int(x[0].split()[0][1:])):
            numbers = value if isinstance(value, list) else [value]
            print_line(f"{name:<{width}}  {' '.join(f'{x:.3g}' for x in numbers)}")
        return 0


@dataclass(frozen=True)
class Register:
    """Write designs, margins and seeds to registered.json, which is committed before the run.

    A run with this budget and first seed from the same repository or folder is then refused if a
    design differs.
    """

    names: Names = ()
    budget: Annotated[Literal["quick", "full"], arg(help=BUDGET_HELP)] = "full"
    first_seed: Annotated[int, arg(metavar="N", help="the first seed of the run")] = 4000
    out: RegistrationFolder = None

    def run(self) -> int:
        """Register studies, by default all of the project."""
        from clearhead.cli.output import print_line
        from clearhead.studies.registration import register

        studies = _load_studies(self.names)
        path = register(studies, self.budget, self.first_seed, _published_spreads(), self.out)
        print_line(f"wrote {path}; commit and tag it before the run:")
        tag = f"studies-{self.budget}-{self.first_seed}"
        file = shlex.quote(str(path))
        print_line(
            f"git add {file} && git commit -m 'Register the studies' {file} && git tag {tag}"
        )
        return 0


@dataclass(frozen=True)
class Run:
    """Measure the missing trials and print the verdicts.

    After Ctrl-C or a kill, the same command continues.
    """

    names: Names = ()
    all: Annotated[bool, arg(help="all studies")] = False
    budget: Annotated[Literal["quick", "full"], arg(help=BUDGET_HELP)] = "quick"
    first_seed: Annotated[int, arg(metavar="N", help="the first seed")] = 0
    engine: Annotated[Literal["local", "ray"], arg(help=ENGINE_HELP)] = "local"
    workers: Workers = None
    out: Folder = None
    restart: Annotated[bool, arg(help="discard earlier results")] = False

    def run(self) -> int:
        """Measure, print verdicts; the exit code is 1 if a trial failed."""
        from clearhead.cli.output import print_remark
        from clearhead.studies.claims import ENTRIES, find_source
        from clearhead.studies.runner import run_studies

        if bool(self.names) == self.all:
            raise ConfigError("expected either studies by name (`clearhead study list`) or --all")
        names = [entry.name for entry in ENTRIES] if self.all else list(self.names)
        try:
            results = run_studies(
                names,
                budget=self.budget,
                first_seed=self.first_seed,
                engine=self.engine,
                workers=self.workers,
                out=self.out,
                restart=self.restart,
            )
        except KeyboardInterrupt:
            command = shlex.join(["clearhead", *sys.argv[1:]])
            print_remark(f"stopped; the measured trials are stored; continue with: {command}")
            raise
        _print_verdicts(results, {find_source(name) for name in names})
        return int(bool(results.failures))


@dataclass(frozen=True)
class Report:
    """Write an HTML page with verdicts, figures, methods and raw data."""

    results: Source = None
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE", help="the page")] = Path("report.html")
    markdown: Markdown = None
    json: Annotated[bool, arg(help="print everything as JSON")] = False

    def run(self) -> int:
        """Write the report and print the paths, or the data."""
        from clearhead.cli.output import print_json, print_line, print_remark
        from clearhead.studies.published import read_published
        from clearhead.studies.report import report_studies, write_study_report
        from clearhead.studies.store import default_folder, read_results

        full, quick = (default_folder(budget, 0) for budget in ("full", "quick"))
        found = (path for path in (full, quick, PUBLISHED) if path.exists())
        path = self.results or next(found, None)
        if path is None:
            raise ConfigError(
                f"there are no results in {full.parent}; `clearhead study run --all` makes them, "
                f"--results names others, and a clone of Clearhead has the published ones"
            )
        report = report_studies(read_published(path) if path.is_file() else read_results(path))
        for section in report.sections:
            for problem in (section.unjudged, *section.problems):
                if problem:
                    print_remark(f"study {section.study.name}: {problem}")
        written = write_study_report(report, self.out, markdown=self.markdown)
        if self.json:
            print_json(report.to_dict())
        else:
            for file in written:
                print_line(f"wrote {file}")
        return 0


SUBCOMMANDS = {
    kind.__name__.lower(): options_of(kind())
    for kind in (List, Plan, Describe, Register, Run, Report)
}
DESCRIPTIONS = {name: inspect.getdoc(type(x).__base__) or "" for name, x in SUBCOMMANDS.items()}

if TYPE_CHECKING:
    Command = List | Plan | Describe | Register | Run | Report
else:
    Command = Annotated[
        tyro.extras.subcommand_type_from_defaults(SUBCOMMANDS, DESCRIPTIONS), arg(name="")
    ]


def study(command: Command) -> int:
    """Test claims about attention: each is supported, contradicted, mixed or undecided.

    Run `clearhead study COMMAND --help` for the options of a command.
    """
    return command.run()


def _load_studies(names: tuple[str, ...]) -> "list[Study]":
    """Those of these names, by default all of the project."""
    from clearhead.studies.claims import ENTRIES, find_source, load_study

    return [load_study(find_source(name)) for name in names or [x.name for x in ENTRIES]]


def _published_spreads() -> dict[str, dict[str, float]]:
    """Those of the published run, in a clone."""
    from clearhead.studies.published import spreads

    return spreads(PUBLISHED) if PUBLISHED.is_file() else {}


def _print_verdicts(results: "Results", sources: set[str]) -> None:
    """For each of these studies the verdict, its parts, and the decisive result."""
    from clearhead.cli.output import print_line
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
