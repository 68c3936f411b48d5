"""Results of the studies, as the lessons show them."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

from IPython.display import Markdown

DOCS = Path(__file__).parents[1]


def claims(*names: str) -> Markdown:
    """Verdicts of claims such as "C5", the outcomes of their parts, and limits: as published."""
    with gzip.open(DOCS / "results" / "trials.json.gz", "rt", encoding="utf-8") as file:
        studies = {study["claim"]: study for study in json.load(file)["studies"]}
    return Markdown("\n\n".join(_claim(studies[name]) for name in names))


def _claim(study: dict[str, Any]) -> str:
    verdict = study["verdict"] or {"outcome": "not judged", "parts": []}
    head = (
        f"**[{study['claim']}](../results/{study['name']}.md): {_plain(study['statement'])}** "
        f"Verdict: **{verdict['outcome']}**."
    )
    limits = _plain(" ".join(study["limits"]))
    return "\n".join(
        [head, "", *map(_line, verdict["parts"]), "", f"Limits: {limits}" if limits else ""]
    )


def _line(part: dict[str, Any]) -> str:
    """A part with its outcome, and the first number with an interval that it was judged by."""
    finding = next(
        (x for x in part["findings"] if x["estimate"] is not None and x["interval"]), None
    )
    result = ""
    if finding is not None and part["outcome"] != "by construction":
        unit = f" {finding['unit']}" if finding["unit"] not in ("", "1") else ""
        low, high = map(_number, finding["interval"])
        result = f": {_number(finding['estimate'])}{unit} ({low} to {high}, n = {finding['n']})"
    return f"- *{part['outcome']}:* {_plain(part['name'] + result)}"


def _number(value: float) -> str:
    text = f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.2g}"
    return text.replace("-", "−")


def _plain(text: str) -> str:
    """Literal text in a line of Markdown."""
    return re.sub(r"([\\`*_|\[\]<>#])", r"\\\1", " ".join(text.split()))
