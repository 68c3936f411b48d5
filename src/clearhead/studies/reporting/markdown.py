"""A report on studies as Markdown, its figures as files beside it."""

from collections.abc import Iterable, Sequence

from clearhead.studies.reporting import words as words
from clearhead.studies.reporting.found import Section, StudyReport
from clearhead.studies.reporting.html import evidence_rows
from clearhead.studies.store import file_name

SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_|[]<>#"})


def to_markdown(report: StudyReport, figures: str) -> str:
    """The text; `figures` is the folder of the figures, seen from it."""
    note = words.budget_note(report.results)
    rows = [
        [
            section.judged.result.study.claim,
            section.judged.result.study.statement,
            f"**{plain(words.answer(section.judged))}**",
            words.decisive(section.judged),
        ]
        for section in report.sections
    ]
    methods = [
        f"**{name}.** {plain(text)}" for name, text in words.methods(report.results, report.family)
    ]
    parts = [
        "# Claims about attention, put to the test",
        *([f"**{plain(note)}**"] if note else []),
        f"Budget: {report.results.budget}.",
        _table(("claim", "statement", "verdict", "what decided"), rows, keep=(2,)),
        *(_section(section, figures) for section in report.sections),
        "## Methods",
        *methods,
    ]
    return "\n\n".join(parts) + "\n"


def figure_name(section: Section) -> str:
    """The file of a section's figure."""
    return f"{file_name(section.name)}.svg"


def plain(text: str) -> str:
    """Text in which no sign is taken for Markdown."""
    return " ".join(text.translate(SIGNS).split())


def _section(section: Section, figures: str) -> str:
    study = section.judged.result.study
    parts = [
        f"## {study.claim}. {plain(study.statement)}",
        f"Verdict: **{plain(words.answer(section.judged))}**",
        *(f"Note: {plain(problem)}" for problem in section.problems),
        *([_bullets(section.sentences)] if section.sentences else []),
        _bullets(
            (
                f"Hypothesis: {study.hypothesis}",
                f"Conditions: {study.conditions}",
                f"Measure: {study.measure}",
                f"Trials: {len(section.judged.result.outcomes)}",
            )
        ),
    ]
    if section.judged.verdict is not None:
        head, *rows = evidence_rows(section.judged.verdict.findings)
        parts.append(_table(head, rows))
    if section.svg:
        parts.append(f"![{plain(section.alt)}]({figures}/{figure_name(section)})")
    if study.references:
        parts += ["References:", _bullets(study.references)]
    return "\n\n".join(parts)


def _bullets(texts: Iterable[str]) -> str:
    return "\n".join(f"- {plain(text)}" for text in texts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], keep: Sequence[int] = ()) -> str:
    lines = [list(head), ["---"] * len(head)]
    lines += [
        [text if place in keep else plain(text) for place, text in enumerate(row)] for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
