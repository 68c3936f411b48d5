"""Published trials: the JSON of a report, from which the report can be made again.

The file holds hypotheses and their values as they were declared, so that verdicts can be computed
again after studies were changed.
"""

import contextlib
import gzip
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clearhead.errors import ConfigError, CorruptDataError
from clearhead.studies._records import file_name
from clearhead.studies.hypotheses import Recorded
from clearhead.studies.plan import Planned
from clearhead.studies.registration import fingerprint
from clearhead.studies.registry import load_study
from clearhead.studies.store import Published, Results, StudyResult
from clearhead.studies.study import Paper, Part, Study
from clearhead.studies.table import Budget, Outcome, Table, Trial, Values

NOT_DECLARED = ("panels", "title", "labels", "grid", "limits", "literature", "references")
"""What does not affect verdicts: taken from today's study if its design is still the same"""


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
        reason = f"{type(error).__name__}: {error}"
        raise CorruptDataError(f"{path} is not the JSON of a report ({reason})") from error


def spreads(path: str | Path) -> dict[str, dict[str, float]]:
    """Standard deviations of differences between seeds in published trials.

    Args:
        path: A file that `read_published` can read.

    Returns:
        By study and hypothesis; hypotheses with fewer than three seeds are left out.
    """
    return {
        result.study.name: {
            x.name: float(np.std(x.values or (), ddof=1))
            for x in result.study.hypotheses
            if isinstance(x, Recorded) and x.kind != "exact" and len(x.values or ()) > 2
        }
        for result in read_published(path).studies
    }


def part_to_dict(part: Part, table: Table) -> dict[str, Any]:
    """A part with the values of its hypotheses, as JSON types."""
    return {
        "name": part.name,
        "hypotheses": [Recorded.of(x, table).to_dict() for x in part.hypotheses],
        "premises": [Recorded.of(x, table).to_dict() for x in part.premises],
        "variants": {
            name: [Recorded.of(x, table).to_dict() for x in variant]
            for name, variant in part.variants.items()
        },
    }


def _published(data: dict[str, Any], budget: Budget, folder: Path) -> StudyResult:
    """A study as it was published, with today's figure and notes if its design is the same."""
    study = Study(
        **{key: data[key] for key in ("name", "claim", "statement", "question", "conditions")},
        measure=data["measure"],
        seeds={budget: data["seeds"]},
        run=_run_published,
        parts=tuple(_published_part(part) for part in data["parts"]),
        limits=tuple(data["limits"]),
        literature=tuple(Paper(**paper) for paper in data["literature"]),
        references=tuple(data["references"]),
    )
    damaged: tuple[str, ...] = ()
    with contextlib.suppress(ConfigError):
        today = load_study(data["source"])
        if fingerprint(today, budget) == data["fingerprint"]:
            study = replace(study, **{name: getattr(today, name) for name in NOT_DECLARED})
    if not study.panels:
        damaged = ("the design of this study was changed after this run",)
    figure = folder / f"{file_name(study.name)}.svg"
    outcomes = []
    for item in data["trials"]:
        facts = {key: item[key] for key in ("condition", "seed", "settings")}
        outcomes.append(Outcome(trial=Trial(study=study.name, **facts), values=item["values"]))
    return StudyResult(
        data["source"],
        study,
        tuple(outcome.trial for outcome in outcomes),
        tuple(outcomes),
        damaged,
        fingerprint=data["fingerprint"],
        published=Published(
            data["num_trials"],
            tuple(data["text"]),
            tuple(map(Planned.from_dict, data["plan"])),
            figure.read_bytes() if figure.is_file() else b"",
        ),
    )


def _run_published(trial: Trial) -> Values:
    raise ConfigError(f"a published study has no code; run {trial.study} by its name")


def _published_part(data: dict[str, Any]) -> Part:
    return Part(
        data["name"],
        tuple(map(Recorded.from_dict, data["hypotheses"])),
        tuple(map(Recorded.from_dict, data["premises"])),
        {name: tuple(map(Recorded.from_dict, x)) for name, x in data["variants"].items()},
    )
