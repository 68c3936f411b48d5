"""What a folder of results holds: outcomes by study, what is missing, and the verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearhead.errors import CorruptDataError
from clearhead.studies.running.folder import read_log, read_settings, read_studies
from clearhead.studies.running.planning import Planned, plan_study
from clearhead.studies.running.provenance import code_digest
from clearhead.studies.running.records import read_record
from clearhead.studies.study import EvidenceData, Study
from clearhead.studies.table import Budget, Outcome, Trial
from clearhead.studies.verdict import Verdict, judge_evidence


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """A study, the trials it has, and the outcomes there are."""

    source: str
    study: Study
    trials: tuple[Trial, ...]
    outcomes: tuple[Outcome, ...]
    """In the order of the trials, without those that are missing"""
    damaged: tuple[str, ...] = ()
    """What was wrong with records that were left out, one line each"""
    same_code: bool = True
    """Whether the code that measured is the code that is here"""

    @property
    def is_complete(self) -> bool:
        """Whether every trial has its outcome."""
        return len(self.outcomes) == len(self.trials)


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that a folder of results holds."""

    folder: Path
    budget: Budget
    first_seed: int
    versions: dict[str, str]
    studies: tuple[StudyResult, ...]
    log: tuple[dict[str, Any], ...]
    failures: tuple[str, ...] = ()
    """What went wrong in the run that gives these results, one line a trial"""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A study's result with its evidence and verdict; without a verdict, why there is none."""

    result: StudyResult
    evidence: tuple[EvidenceData, ...] = ()
    verdict: Verdict | None = None
    unjudged: str = ""


def read_results(folder: str | Path) -> Results:
    """Read a folder that `run_studies` wrote.

    Raises `ConfigError` if it is none. Damaged records are left out and named.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    budget, first_seed = settings["budget"], settings["first_seed"]
    studies = []
    for told in read_studies(folder):
        planned = plan_study(told["source"], budget, first_seed)
        same_code = told["code"] == code_digest(told["source"])
        studies.append(_read_study(folder, planned, same_code))
    return Results(
        folder=folder,
        budget=budget,
        first_seed=first_seed,
        versions=settings["versions"],
        studies=tuple(studies),
        log=tuple(read_log(folder)),
    )


def judge(results: Results) -> tuple[Judged, ...]:
    """Every study with its verdict; p values are adjusted over all that are complete.

    One that is not, or whose evidence cannot be had, gets no verdict and the reason.
    """
    found = [_with_evidence(result) for result in results.studies]
    verdicts = judge_evidence(
        {one.result.study.name: one.evidence for one in found if not one.unjudged}
    )
    return tuple(
        Judged(
            result=one.result,
            evidence=one.evidence,
            verdict=verdicts.get(one.result.study.name),
            unjudged=one.unjudged,
        )
        for one in found
    )


def _with_evidence(result: StudyResult) -> Judged:
    if not result.is_complete:
        count, total = len(result.outcomes), len(result.trials)
        return Judged(result=result, unjudged=f"unfinished: {count} of {total} trials are measured")
    try:
        return Judged(result=result, evidence=result.study.evaluate(result.outcomes))
    except Exception as error:  # noqa: BLE001 - one study's defect must not hide the others
        told = f"{type(error).__name__}: {error}"
        return Judged(result=result, unjudged=f"its evidence cannot be had ({told})")


def _read_study(folder: Path, planned: Planned, same_code: bool) -> StudyResult:
    outcomes, damaged = read_outcomes(folder, planned.trials)
    return StudyResult(
        source=planned.source,
        study=planned.study,
        trials=planned.trials,
        outcomes=outcomes,
        damaged=damaged,
        same_code=same_code,
    )


def read_outcomes(
    folder: Path, trials: Sequence[Trial]
) -> tuple[tuple[Outcome, ...], tuple[str, ...]]:
    """The outcomes there are of these trials, and what is wrong with damaged ones."""
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
