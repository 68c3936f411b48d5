"""A report on studies as one HTML file: no script, no request, the raw data in it."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from itertools import compress
from string import Template

from clearhead.explanation.sealed import SCROLL, data_link, part, policy, table
from clearhead.studies.reporting import words as words
from clearhead.studies.reporting.data import study_data, to_csv
from clearhead.studies.reporting.found import Section, StudyReport
from clearhead.studies.study import ComparisonData, EvidenceData
from clearhead.studies.verdict import Finding

EVIDENCE_HEAD = (
    *("evidence", "outcome", "n", "predicted"),
    *("mean (check: median)", "95 % interval (check: range)"),
    *("effect size", "p", "adjusted p", "seen"),
)
MOST_ROWS = 100


def to_html(report: StudyReport) -> str:
    """The whole page."""
    style = part("base.css") + part("studies.css")
    return Template(part("studies.html")).substitute(
        policy=policy(style),
        style=style,
        title="Claims about attention, put to the test",
        note=_budget(words.budget_note(report.results)),
        lead=escape(_lead(report)),
        verdicts=_verdicts(report.sections),
        sections="\n".join(map(_section, report.sections)),
        methods=_pairs(words.methods(report.results, report.family)),
    )


def _lead(report: StudyReport) -> str:
    judged = [section.judged.verdict for section in report.sections if section.judged.verdict]
    told = f"{len(judged)} of {len(report.sections)} studies are finished and judged together"
    return f"{told}, by one rule (Methods). Budget: {report.results.budget}."


def _budget(note: str) -> str:
    if not note:
        return ""
    first, _, rest = note.partition(":")
    return f'<p class="note quick"><strong>{escape(first)}:</strong>{escape(rest)}</p>'


def _verdicts(sections: Iterable[Section]) -> str:
    rows = "".join(
        f'<tr><th scope="row"><a href="#{_anchor(section)}">{escape(_claim(section))}</a>'
        f"<small>{escape(words.decisive(section.judged))}</small></th>"
        f'<td><span class="answer">{escape(words.answer(section.judged))}</span></td></tr>'
        for section in sections
    )
    return (
        '<table class="verdicts"><caption>Verdicts, and what decided each</caption>'
        '<thead><tr><th scope="col">claim</th><th scope="col">verdict</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _section(section: Section) -> str:
    study = section.judged.result.study
    fixed = _pairs(
        (
            ("Hypothesis", study.hypothesis),
            ("Conditions", study.conditions),
            ("Measure", study.measure),
            ("Trials", f"{len(section.judged.result.outcomes)}"),
        )
    )
    anchor = _anchor(section)
    return "\n".join(
        (
            f'<section id="{anchor}" aria-labelledby="{anchor}-title">',
            f'<h2 id="{anchor}-title">{escape(_claim(section))}</h2>',
            f'<p class="statement">Verdict: <span class="answer">'
            f"{escape(words.answer(section.judged))}</span></p>",
            *(f'<p class="note">{escape(problem)}</p>' for problem in section.problems),
            _list("said", section.sentences),
            f"<dl>{fixed}</dl>",
            _evidence_table(section),
            _figure(section),
            *(["<h3>References</h3>"] if study.references else []),
            _list("references", study.references),
            _raw(section),
            "</section>",
        )
    )


def _evidence_table(section: Section) -> str:
    if section.judged.verdict is None:
        return ""
    head, *rows = evidence_rows(section.judged.verdict.findings)
    return f"{SCROLL}{table('Evidence', head, rows)}</div>"


def evidence_rows(findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    """Headings, then a row a finding, without the columns that would be empty."""
    rows = [EVIDENCE_HEAD, *map(_evidence_row, findings)]
    said = [any(row[place] for row in rows[1:]) for place in range(len(EVIDENCE_HEAD))]
    return [tuple(compress(row, said)) for row in rows]


def _evidence_row(finding: Finding) -> tuple[str, ...]:
    return (
        finding.name,
        finding.outcome,
        f"{finding.n}",
        words.predicted(finding),
        words.with_unit(words.number(finding.estimate), finding),
        words.interval(finding.interval),
        words.number(finding.effect_size),
        words.probability(finding.p),
        words.probability(finding.adjusted_p),
        finding.seen,
    )


def _figure(section: Section) -> str:
    """As a picture: styles inside an SVG that stands in the page would need a looser policy."""
    if not section.svg:
        return ""
    source = data_link(section.svg, "image/svg+xml")
    return f'<img class="plot" src="{source}" alt="{escape(section.alt)}">'


def _raw(section: Section) -> str:
    kept = json.dumps(study_data(section), ensure_ascii=False, allow_nan=False).encode()
    links = (
        (data_link(kept, "application/json"), f"{section.name}.json", "JSON"),
        (data_link(to_csv(section).encode(), "text/csv"), f"{section.name}.csv", "CSV"),
    )
    told = "".join(
        f'<a download="{escape(name)}" href="{address}">{escape(name)}</a>'
        for address, name, _ in links
    )
    pairs = "".join(_numbers(one) for one in section.judged.evidence)
    return (
        f"<details><summary>Raw data: {len(section.judged.result.outcomes)} trials</summary>"
        f'<p class="keep">Every trial with all its values: {told}</p>{pairs}</details>'
    )


def _numbers(evidence: EvidenceData) -> str:
    """What a piece of evidence was computed from, up to a hundred rows."""
    if isinstance(evidence, ComparisonData):
        head = ["seed", "first", "second", "difference"]
        sides = (evidence.first.seeds, evidence.first.values, evidence.second.values)
        columns = zip(*sides, evidence.differences, strict=True)
        rows = [list(map(repr, row)) for row in columns]
    else:
        head = ["trial", "value"]
        rows = [[f"{k}", repr(value)] for k, value in enumerate(evidence.values, start=1)]
    caption = f"{evidence.name}, {evidence.unit}".rstrip(", ")
    if len(rows) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS} of {len(rows):,})"
    return f"{SCROLL}{table(caption, head, rows[:MOST_ROWS])}</div>"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in pairs
    )


def _list(kind: str, texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def _claim(section: Section) -> str:
    study = section.judged.result.study
    return f"{study.claim}. {study.statement}"


def _anchor(section: Section) -> str:
    kept = "".join(sign if sign.isalnum() else "-" for sign in section.name)
    return f"study-{kept}"
