"""Published trials: the JSON of a report, from which the report can be made again.

The file holds hypotheses and their values as they were declared, so that verdicts can be computed
again after studies were changed.
"""

import contextlib
import gzip
import json
import zlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from clearhead.errors import ConfigError, CorruptDataError
from clearhead.studies.claims import load_study
from clearhead.studies.hypotheses import Hypothesis
from clearhead.studies.registration import Planned, fingerprint
from clearhead.studies.store import Published, Results, StudyResult, file_name
from clearhead.studies.study import Paper, Part, Study
from clearhead.studies.table import Budget, Outcome, Table, Trial

TRIAL = ("condition", "seed", "settings")
NOTES = ("limits", "literature", "references")
NOT_DECLARED = ("panels", "title", "labels", "grid", "summaries", *NOTES)
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


def part_to_dict(part: Part, table: Table) -> dict[str, Any]:
    """A part with the values of its hypotheses, as JSON types."""

    def recorded(hypotheses: Iterable[Hypothesis]) -> list[dict[str, Any]]:
        return [x.sample(table).to_dict() for x in hypotheses]

    return {
        "name": part.name,
        "hypotheses": recorded(part.hypotheses),
        "premises": recorded(part.premises),
        "variants": {name: recorded(variant) for name, variant in part.variants.items()},
    }


def _published(data: dict[str, Any], budget: Budget, folder: Path) -> StudyResult:
    """A study as it was published, with today's figure and notes if its design is the same."""
    words = ("name", "claim", "statement", "question", "conditions", "measure")
    study = Study(
        **{key: data[key] for key in words},
        seeds={budget: data["seeds"]},
        parts=tuple(map(_published_part, data["parts"])),
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
    published = Published(
        data["num_trials"],
        tuple(data["text"]),
        tuple(Planned(**x) for x in data["plan"]),
        figure.read_bytes() if figure.is_file() else b"",
    )
    outcomes = tuple(
        Outcome(trial=Trial(study=study.name, **{key: x[key] for key in TRIAL}), values=x["values"])
        for x in data["trials"]
    )
    trials = tuple(x.trial for x in outcomes)
    facts = (damaged, data["fingerprint"], published)
    return StudyResult(data["source"], study, trials, outcomes, *facts)


def _published_part(data: dict[str, Any]) -> Part:
    return Part(
        data["name"],
        tuple(map(Hypothesis.from_dict, data["hypotheses"])),
        tuple(map(Hypothesis.from_dict, data["premises"])),
        {name: tuple(map(Hypothesis.from_dict, x)) for name, x in data["variants"].items()},
    )
