"""Results: a folder with one JSON file per trial, and published ones; written and read back.

```
settings.json        budget, first seed, versions and commit of the first run
STUDY/study.json     the claim, and where the study is found
STUDY/TRIAL.json     the values of one trial, with a checksum
log.jsonl            what was run when, on which machine, the seconds of each trial, failures
```

Published trials are the JSON of a report, from which the report can be made again: it holds
hypotheses and their values as they were declared, so that verdicts can be computed again after
studies were changed.
"""

import gzip
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clearhead._atomic import locked, remove_temporaries, sha256, write_atomic
from clearhead.errors import ConfigError, CorruptDataError
from clearhead.studies.claims import load_study
from clearhead.studies.hypotheses import Hypothesis
from clearhead.studies.registration import Planned, check_registered, fingerprint, versions
from clearhead.studies.study import WORDS, Paper, Part, Study, each_hypothesis
from clearhead.studies.table import Budget, Outcome, Trial, Values, canonical

MAX_NAME = 120
TRIAL = ("condition", "seed", "settings")
NOTES = ("limits", "literature", "references")
NOT_DECLARED = ("panels", "title", "labels", "grid", "summaries", *NOTES)
"""What does not affect verdicts: taken from today's study if its design is still the same"""


@dataclass(frozen=True)
class StudyResult:
    """A study, its trials for a budget and seeds, and the outcomes that are recorded.

    The last four describe a published study, as its code was when it was published.

    Attributes:
        source: Where the study was found, MODULE:OBJECT.
        study: The study.
        trials: Its trials; of a published study those that were measured.
        outcomes: In the order of the trials, without those that are missing.
        damaged: A line for each record that was left out because it is damaged.
        fingerprint: Of the design when the run began.
        num_published: The number of trials, measured or not.
        plan: The plan.
        lines: The summaries.
        figure: SVG, if there is a file of the study's name beside the trials.
    """

    source: str
    study: Study
    trials: tuple[Trial, ...]
    outcomes: tuple[Outcome, ...] = ()
    damaged: tuple[str, ...] = ()
    fingerprint: str = ""
    num_published: int = 0
    plan: tuple[Planned, ...] = ()
    lines: tuple[str, ...] = ()
    figure: bytes = field(default=b"", repr=False)

    @property
    def num_planned(self) -> int:
        """The number of trials that the study has."""
        return self.num_published or len(self.trials)

    @property
    def is_complete(self) -> bool:
        """Whether every trial has its outcome."""
        return len(self.outcomes) == self.num_planned


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything in a folder of results.

    Attributes:
        folder: The folder.
        budget: "quick" or "full".
        first_seed: The first seed.
        versions: Of Python, the libraries and the commit, at the first run.
        registration: Date and commit of the registered designs, if the run is a registered one.
        studies: By the number of their claim.
        log: The events of the runs.
        failures: One line for each trial that failed in the run that returned these results.
    """

    folder: Path
    budget: Budget
    first_seed: int
    versions: dict[str, str]
    registration: dict[str, str] | None = None
    studies: tuple[StudyResult, ...]
    log: tuple[dict[str, Any], ...]
    failures: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Results({str(self.folder)!r}, budget={self.budget!r}, {len(self.studies)} studies)"


def default_folder(budget: Budget, first_seed: int) -> Path:
    """The folder of results by default: runs/studies/quick, …/full, …/full-from-seed-100."""
    return Path("runs/studies") / (f"{budget}-from-seed-{first_seed}" if first_seed else budget)


def study_trials(source: str, budget: Budget, first_seed: int) -> StudyResult:
    """A study with its trials and no outcomes; raises `ConfigError` if it has no trials."""
    study = load_study(source)
    if budget not in study.seeds:
        raise ConfigError(
            f"study {study.name} has no seeds for the budget {budget!r}; it has "
            f"{', '.join(study.seeds)}"
        )
    seeds = range(first_seed, first_seed + study.seeds[budget])
    trials = {trial.name: trial for trial in study.trials(budget, seeds)}
    if not trials:
        raise ConfigError(f"study {study.name} has no trials for the budget {budget!r}")
    return StudyResult(source, study, tuple(trials.values()))


@contextmanager
def open_folder(
    folder: Path, studies: Sequence[StudyResult], budget: Budget, first_seed: int, *, restart: bool
) -> Iterator[list[str]]:
    """Lock a folder, made if needed, for measuring these studies.

    Yields warnings: what differs between the code that measured earlier results and this one.
    Raises `ConfigError` if the folder is in use, has results of another budget or first seed, or if
    the seeds are registered with another design.
    """
    with locked(folder):
        for item in studies if restart else ():
            shutil.rmtree(folder / file_name(item.study.name), ignore_errors=True)
        for place in (folder, *(path.parent for path in folder.glob("*/study.json"))):
            remove_temporaries(place)
        registration = check_registered([item.study for item in studies], budget, first_seed)
        warnings = _claim_folder(folder, {"budget": budget, "first_seed": first_seed}, registration)
        for item in studies:
            study = {"name": item.study.name, "claim": item.study.claim, "source": item.source}
            study["fingerprint"] = fingerprint(item.study, budget)
            path = folder / file_name(item.study.name) / "study.json"
            old = read_json(path) or study
            if old.get("fingerprint", study["fingerprint"]) != study["fingerprint"]:
                warnings.append(f"the design of {item.study.name} differs from that in {folder}")
            write_json(path, study)
        yield warnings


def _claim_folder(
    folder: Path, settings: dict[str, Any], registration: dict[str, str] | None
) -> list[str]:
    old = read_json(folder / "settings.json")
    if old is None or not any(folder.glob("*/study.json")):
        facts = {"versions": versions(), "registration": registration}
        write_json(folder / "settings.json", settings | facts)
        return []
    differing = [
        f"{name.replace('_', ' ')} {old[name]}, not {value}"
        for name, value in settings.items()
        if old[name] != value
    ]
    if differing:
        raise ConfigError(
            f"{folder} has results with {'; '.join(differing)}; choose another folder with --out"
        )
    before = old["versions"]
    changed = "; ".join(
        f"{name} {before.get(name, 'unknown')}, now {value}"
        for name, value in versions().items()
        if before.get(name) != value
    )
    return [f"earlier results in {folder} were measured with {changed}"] if changed else []


def read_results(folder: str | Path) -> Results:
    """Read a folder that `run_studies` wrote. Damaged records are left out and named.

    Args:
        folder: The folder.

    Returns:
        Its results.

    Raises:
        ConfigError: It is not a folder of results.
    """
    folder = Path(folder)
    settings = read_json(folder / "settings.json")
    if settings is None:
        raise ConfigError(
            f"there are no results in {folder}; `clearhead study run` makes them; --results names "
            "their folder"
        )
    found = [read_json(path) or {} for path in folder.glob("*/study.json")]
    studies = []
    for item in sorted(found, key=lambda study: (_claim_number(study["claim"]), study["name"])):
        planned = study_trials(item["source"], settings["budget"], settings["first_seed"])
        outcomes, damaged = read_outcomes(folder, planned.trials)
        design = item.get("fingerprint", "")
        studies.append(replace(planned, outcomes=outcomes, damaged=damaged, fingerprint=design))
    log = tuple(read_log(folder))
    return Results(folder=folder, studies=tuple(studies), log=log, **settings)


def read_published(path: str | Path) -> Results:
    """Read the trials of a report that was stored as JSON (`StudyReport.to_dict`).

    Verdicts in the file are ignored: they follow from the hypotheses and values in it. So the
    report can be made again after studies were changed; their figures are then those beside the
    file.

    Args:
        path: A JSON file, or one compressed by gzip (.gz).

    Returns:
        The results.

    Raises:
        CorruptDataError: The file is not such a report.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        data = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        budget, first_seed = data["budget"], data["first_seed"]
        return Results(
            folder=path,
            budget=budget,
            first_seed=first_seed,
            versions=data["versions"],
            registration=data["registration"],
            studies=tuple(_published(study, budget, path.parent) for study in data["studies"]),
            log=tuple(data["log"]),
        )
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(
            f"{path} is not the JSON of a report; expected a folder of results, or what `clearhead "
            "study report --json` printed, as .json or .json.gz"
        ) from error


def spreads(path: str | Path) -> dict[str, dict[str, float]]:
    """Standard deviations of differences over three or more seeds, by study and hypothesis."""
    return {
        result.study.name: {
            x.name: x.measured_spread
            for x in result.study.hypotheses
            if x.is_comparison and x.measured_spread is not None and len(x.values or ()) > 2
        }
        for result in read_published(path).studies
    }


def _published(data: dict[str, Any], budget: Budget, folder: Path) -> StudyResult:
    """A study as it was published, with today's figure and notes if its design is the same."""
    study = Study(
        **{key: data[key] for key in WORDS},
        seeds={budget: data["seeds"]},
        parts=tuple(Part(**each_hypothesis(x, Hypothesis.from_dict)) for x in data["parts"]),
        limits=tuple(data["limits"]),
        literature=tuple(Paper(**paper) for paper in data["literature"]),
        references=tuple(data["references"]),
    )
    with suppress(ConfigError):
        today = load_study(data["source"])
        if fingerprint(today, budget) == data["fingerprint"]:
            study = replace(study, **{name: getattr(today, name) for name in NOT_DECLARED})
    figure = folder / f"{file_name(study.name)}.svg"
    outcomes = tuple(
        Outcome(trial=Trial(study=study.name, **{key: x[key] for key in TRIAL}), values=x["values"])
        for x in data["trials"]
    )
    return StudyResult(
        data["source"],
        study,
        tuple(x.trial for x in outcomes),
        outcomes,
        damaged=() if study.panels else ("the design of this study was changed after this run",),
        fingerprint=data["fingerprint"],
        num_published=data["num_trials"],
        plan=tuple(Planned(**x) for x in data["plan"]),
        lines=tuple(data["text"]),
        figure=figure.read_bytes() if figure.is_file() else b"",
    )


def _claim_number(claim: str) -> tuple[int, str]:
    digits = re.search(r"\d+", claim)
    return (int(digits[0]) if digits else 10**6, claim)


def read_outcomes(
    folder: Path, trials: Sequence[Trial]
) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    """The recorded outcomes of these trials, and a line for each damaged record."""
    outcomes, damaged = [], []
    for trial in trials:
        try:
            values = read_record(folder, trial)
        except CorruptDataError as error:
            damaged.append(str(error))
            continue
        if values is not None:
            outcomes.append(Outcome(trial=trial, values=values))
    return tuple(outcomes), tuple(damaged)


def record_path(folder: Path, trial: Trial) -> Path:
    """STUDY/TRIAL.json."""
    return folder / file_name(trial.study) / f"{file_name(trial.name)}.json"


def file_name(name: str) -> str:
    """`name` as a file name: other characters become "_"; the hash at its end stays."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[-MAX_NAME:].lstrip(".") or "_"


def write_record(folder: Path, trial: Trial, values: Values) -> None:
    """Write the values of a trial; raises `StorageError` and leaves no file if it cannot."""
    write_atomic(record_path(folder, trial), _encode(trial, values))


def read_record(folder: Path, trial: Trial) -> Values | None:
    """The values of a trial; None if it has not been measured.

    Raises `CorruptDataError` unless the file is, to the last byte, what was written for the trial.
    """
    path = record_path(folder, trial)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        values = json.loads(content)["record"]["values"]
        intact = isinstance(values, dict) and content == _encode(trial, values)
    except (ValueError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise CorruptDataError(
            f"{path} is damaged, or of another trial; its checksum does not match"
        )
    return dict(values)


def _encode(trial: Trial, values: Values) -> bytes:
    record = canonical(trial.to_dict() | {"study": trial.study, "values": values})
    return f'{{"record": {record}, "sha256": "{sha256(record.encode())}"}}\n'.encode()


def log(folder: Path, event: str, **facts: Any) -> None:
    """Add a line to the log, after a partial line that a kill may have left."""
    path = folder / "log.jsonl"
    line = json.dumps({"event": event, "time": round(time.time(), 3), **facts}) + "\n"
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read() == b"\n" else f"\n{line}"
        file.write(line.encode())


def read_log(folder: Path) -> Iterator[dict[str, Any]]:
    """Every complete line of the log."""
    path = folder / "log.jsonl"
    for line in path.read_text("utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None if there is no file."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CorruptDataError(f"{path} is damaged ({error}); restore or remove it") from error
    if not isinstance(content, dict):
        raise CorruptDataError(f"{path} is damaged (no JSON object); restore or remove it")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object, if it is not there already."""
    encoded = (canonical(content) + "\n").encode()
    if not path.exists() or path.read_bytes() != encoded:
        write_atomic(path, encoded)
