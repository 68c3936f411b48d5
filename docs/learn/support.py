"""Results of the studies, as the lessons show them."""

import gzip
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from IPython.display import Markdown

DOCS = Path(__file__).parents[1]

# Terms of the studies that no lesson explains, and a pattern of the text that uses them.
TERMS = {
    r"halving": "*n halvings*: smaller by a factor of 2ⁿ; if n is negative, larger",
    r"Jacobian": (
        "*Jacobian*: the matrix of all derivatives, here of each weight by each scaled score"
    ),
    r"JS distance": (
        "*JS distance* (Jensen–Shannon) of two distributions: 0 if they are equal, 1 if no key "
        "has weight in both"
    ),
    r"total variation": (
        "*total variation*: the share of the probability that moves from some classes to others"
    ),
    r"as sharp": (
        "*as sharp*: untrained models whose scores were multiplied until their weights are as "
        "concentrated as those of the trained models"
    ),
    r"common digit": (
        "*common digit*: a task that needs attention: images of six small digits, whose class "
        "is the one digit that is in both halves"
    ),
    r"recall": (
        "*recall*: a task that needs attention: texts of four pairs of a key and a value, then "
        "keys alone, whose values are to be predicted"
    ),
    r"effective (receptive )?field": (
        "*effective field*: the pixels whose change has a noticeable effect (4.55 % of the "
        "largest or more)"
    ),
    r"\bprobe\b|one patch's token": (
        "*probe*: a linear model that predicts the class from a single token"
    ),
    r"streamed": (
        "*streamed*: computed one block of keys after the other, without storing all weights"
    ),
    r"[Ff]used": "*fused*: PyTorch's own function, which does all steps of attention in one",
    r"to the power of": (
        "*n to the power of 2*: four times as much for a sequence of twice the length"
    ),
    r"uniform attention": (
        "*uniform attention*: all weights are 1/n, so that only means are exchanged"
    ),
    r"nearest neighbours": (
        "*nearest neighbours*: a digit gets the class of the most similar training digits"
    ),
    r"(shot|impulse) noise": (
        "*shot and impulse noise*: grain as in dark photos; pixels that are black or white by "
        "chance"
    ),
    r"given the ink|more than ink": (
        "*given the ink*: after removing what the amount of ink in a patch explains"
    ),
    r"insertion and deletion": (
        "*insertion and deletion*: patches are removed, or added to a blank image, in the order"
        " of a map"
    ),
    r"referent": "*referent*: the noun that a pronoun stands for",
    r"premise not met": (
        "*premise not met*: the models did not learn the task well enough for a verdict"
    ),
    r"(usual|low|best) rate": "*rate*: learning rate, the size of the steps in training",
}


def claims(*names: str) -> Markdown:
    """Verdicts of claims such as "C5", the outcomes of their parts, and limits: as published."""
    studies = _studies()
    text = "\n\n".join(_claim(studies[name]) for name in names)
    terms = [meaning for pattern, meaning in TERMS.items() if re.search(pattern, text)]
    return Markdown(f"{text}\n\nTerms: {'; '.join(terms)}." if terms else text)


@cache
def _studies() -> dict[str, Any]:
    with gzip.open(DOCS / "results" / "trials.json.gz", "rt", encoding="utf-8") as file:
        return {study["claim"]: study for study in json.load(file)["studies"]}


def _claim(study: dict[str, Any]) -> str:
    verdict = study["verdict"] or {"outcome": "not judged", "parts": []}
    head = (
        f"**[{study['claim']}](../results/{study['name']}.md): {_plain(study['statement'])}** "
        f"Verdict: **{verdict['outcome']}**."
    )
    parts = "\n".join(map(_line, verdict["parts"]))
    limits = f"*Limits:* {_plain(' '.join(study['limits']))}" if study["limits"] else ""
    setting = f"*Measured on:* {_plain(study['conditions'])}"
    return "\n\n".join(filter(None, (head, parts, setting, limits)))


def _line(part: dict[str, Any]) -> str:
    """A part with its outcome, and the numbers with an interval that it was judged by."""
    numbers = [x for x in part["findings"] if x["estimate"] is not None and x["interval"]]
    if part["outcome"] == "by construction":
        numbers = []
    results = "; ".join(map(_result, numbers))
    if part.get("failed"):
        results += f"{'; ' if results else ''}premise not met"
    return (
        f"- *{part['outcome']}:* {_plain(part['name'])}{': ' if results else ''}{_plain(results)}"
    )


def _result(finding: dict[str, Any]) -> str:
    """What was measured, with its interval, and what the claim predicts."""
    low, high = (_number(x, finding["unit"]) for x in finding["interval"])
    estimate = _with_unit(_number(finding["estimate"], finding["unit"]), finding)
    predicted = _predicted(finding)
    details = f"{low} to {high}, n = {finding['n']}{predicted and f'; predicted: {predicted}'}"
    note = finding["note"]
    return f"{estimate} ({details}){note and f', {note}'}"


def _predicted(finding: dict[str, Any]) -> str:
    """The predicted range, such as "above 2", or nothing."""
    ends = (finding["low"], finding["high"])
    low, high = (None if x is None else _number(x, finding["unit"]) for x in ends)
    if low and high:
        return f"{low} to {high}"
    return f"above {low}" if low else f"below {high}" if high else ""


def _number(value: float, unit: str) -> str:
    """Two or three digits; shares in per cent."""
    value *= 100 if unit.startswith("share") else 1
    text = f"{value:,.0f}" if 99.5 <= abs(value) < 1e6 else f"{value:.2g}"
    return text.replace("-", "−")


def _with_unit(text: str, finding: dict[str, Any]) -> str:
    unit = finding["unit"]
    if unit.startswith("share"):
        is_mean = finding["kind"] in ("bound", "exact", "estimate")
        return f"{text} %{unit.removeprefix('share')}" if is_mean else f"{text} percentage points"
    if unit == "power of n":
        return f"n to the power of {text}"
    return f"{text} {unit}".removesuffix(" 1") if unit else text


def _plain(text: str) -> str:
    """Literal text in a line of Markdown."""
    return re.sub(r"([\\`*_|\[\]<>#])", r"\\\1", " ".join(text.split()))
