"""The data of a report on studies: all of it as JSON, one study's trials as CSV."""

import csv
import json
from dataclasses import asdict
from io import StringIO
from typing import Any

from clearhead.studies.reporting.found import Section, StudyReport
from clearhead.studies.study import CheckData, EvidenceData


def to_json(report: StudyReport) -> str:
    """Settings, verdicts, evidence and every trial's raw values."""
    results = report.results
    data = {
        "budget": results.budget,
        "first_seed": results.first_seed,
        "versions": results.versions,
        "family": report.family,
        "studies": [study_data(section) for section in report.sections],
        "log": results.log,
    }
    return json.dumps(data, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def study_data(section: Section) -> dict[str, Any]:
    """One study: what was fixed, what was found, and what it was found in."""
    result, verdict = section.judged.result, section.judged.verdict
    study = result.study
    return {
        "name": study.name,
        "claim": study.claim,
        "statement": study.statement,
        "hypothesis": study.hypothesis,
        "conditions": study.conditions,
        "measure": study.measure,
        "references": study.references,
        "verdict": verdict.to_dict() if verdict else None,
        "unjudged": section.judged.unjudged,
        "sentences": section.sentences,
        "problems": section.problems,
        "evidence": [_evidence(one) for one in section.judged.evidence],
        "trials": [
            {
                "condition": outcome.trial.condition,
                "seed": outcome.trial.seed,
                "settings": dict(outcome.trial.settings),
                "values": outcome.values,
            }
            for outcome in result.outcomes
        ],
    }


def to_csv(section: Section) -> str:
    """One row for each measured value of each trial; what is no number or word is JSON."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["study", "condition", "seed", "settings", "measure", "value"])
    for outcome in section.judged.result.outcomes:
        trial = outcome.trial
        settings = json.dumps(dict(trial.settings), sort_keys=True)
        for measure, value in outcome.values.items():
            plain = value if isinstance(value, str | int | float) else json.dumps(value)
            writer.writerow([trial.study, trial.condition, trial.seed, settings, measure, plain])
    return text.getvalue()


def _evidence(evidence: EvidenceData) -> dict[str, Any]:
    """Without the infinities and NaN that JSON lacks: null."""
    if isinstance(evidence, CheckData):
        return {"kind": "check"} | {k: _finite(value) for k, value in asdict(evidence).items()}
    data: dict[str, Any] = {"kind": "comparison"}
    for name in ("name", "unit", "margin", "expects"):
        data[name] = getattr(evidence, name)
    data["seeds"] = evidence.first.seeds
    return data | {
        "first": _finite(evidence.first.values),
        "second": _finite(evidence.second.values),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
