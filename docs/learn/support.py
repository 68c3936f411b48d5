"""What the lessons show beside their own code: results of the studies."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from IPython.display import Markdown

DOCS = Path(__file__).parents[1]
MAX_FINDINGS = 4


def claims(*names: str) -> Markdown:
    """Verdict and first findings of claims such as "C5", from the published results."""
    with gzip.open(DOCS / "results" / "trials.json.gz", "rt", encoding="utf-8") as file:
        studies = {study["claim"]: study for study in json.load(file)["studies"]}
    return Markdown("\n\n".join(_claim(studies[name]) for name in names))


def _claim(study: dict[str, Any]) -> str:
    verdict = study["verdict"]
    findings = list(_findings(verdict)) if verdict else []
    outcome = verdict["outcome"] if verdict else "not judged"
    name = study["claim"]
    lines = [
        f"**[{name}](../results.md{_anchor(name)}): {_plain(study['statement'])}** "
        f"Verdict: **{outcome}**.",
    ]
    lines += ["", *map(_line, _chosen(findings))] if findings else []
    return "\n".join(lines)


def _findings(verdict: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Of the claim, or of each of its parts."""
    for part in verdict.get("parts", [verdict]):
        yield from part["findings"]


def _chosen(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A few findings, such that every outcome occurs if it does at all."""
    outcomes = [finding["outcome"] for finding in findings]
    first = {outcomes.index(outcome) for outcome in set(outcomes)}
    rest = [place for place in range(len(findings)) if place not in first]
    chosen = sorted([*first, *rest[: max(MAX_FINDINGS - len(first), 0)]])
    return [findings[place] for place in chosen]


def _line(finding: dict[str, Any]) -> str:
    estimate, bounds = finding["estimate"], finding["interval"]
    result = "not measured"
    if estimate is not None:
        unit = f" {finding['unit']}" if finding["unit"] not in ("", "1") else ""
        spread = f" ({_number(bounds[0])} to {_number(bounds[1])})" if bounds else ""
        result = f"{_number(estimate)}{unit}{spread}, n = {finding['n']}"
    return f"- *{finding['outcome']}:* {_plain(finding['name'])}: {_plain(result)}"


def _number(value: float) -> str:
    text = f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.2g}"
    return text.replace("-", "−")


def _plain(text: str) -> str:
    """Literal text in a line of Markdown."""
    return re.sub(r"([\\`*_|\[\]<>#])", r"\\\1", " ".join(text.split()))


def _anchor(claim: str) -> str:
    """The claim's heading in the page of results, as MyST names it; empty if there is none."""
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    heading = re.search(rf"^#+ ({claim}\b.*)$", text, re.MULTILINE)
    if heading is None:
        return ""
    title = re.sub(r"\\(.)", r"\1", heading[1])
    return "#" + re.sub(r"[^\w\- ]", "", title.lower().replace(" ", "-"))
