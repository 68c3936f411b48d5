"""Everything a report on studies says, as plain data: page, Markdown, JSON are made of it."""

from dataclasses import dataclass

from clearhead.insight.plots import figure_bytes
from clearhead.studies.store import Judged, Results, judge


@dataclass(frozen=True, kw_only=True)
class Section:
    """One study: its verdict, its sentences and its figure."""

    judged: Judged
    sentences: tuple[str, ...] = ()
    svg: bytes = b""
    alt: str = ""
    """The figure in words: its titles and axes"""
    problems: tuple[str, ...] = ()
    """What could not be made, or was left out, one line each"""

    @property
    def name(self) -> str:
        """Of the study."""
        return self.judged.result.study.name


@dataclass(frozen=True, kw_only=True)
class StudyReport:
    """All studies of a folder of results."""

    results: Results
    sections: tuple[Section, ...]

    @property
    def family(self) -> int:
        """How many comparisons the p values were adjusted for."""
        verdicts = (section.judged.verdict for section in self.sections)
        return next((verdict.family for verdict in verdicts if verdict is not None), 0)


def report_studies(results: Results) -> StudyReport:
    """Judge the results, and let each finished study draw and speak."""
    return StudyReport(results=results, sections=tuple(_section(one) for one in judge(results)))


def _section(judged: Judged) -> Section:
    problems = list(judged.result.damaged)
    if judged.verdict is None:
        return Section(judged=judged, problems=tuple(problems))
    study, outcomes = judged.result.study, judged.result.outcomes
    sentences: tuple[str, ...] = ()
    svg, alt = b"", ""
    try:
        sentences = study.text(outcomes)
        figure = study.figure(outcomes)
        svg, alt = figure_bytes(figure, "svg"), _in_words(figure)
    except Exception as error:  # noqa: BLE001 - one study's defect must not hide the others
        problems.append(f"not all could be shown ({type(error).__name__}: {error})")
    return Section(judged=judged, sentences=sentences, svg=svg, alt=alt, problems=tuple(problems))


def _in_words(figure: "object") -> str:
    """What a figure's axes say they show."""
    from matplotlib.figure import Figure

    if not isinstance(figure, Figure):
        raise TypeError(f"figure gives a matplotlib Figure, got {type(figure).__name__}")
    parts = [figure.get_suptitle()]
    for axes in figure.axes:
        across, up = axes.get_xlabel(), axes.get_ylabel()
        parts.append(axes.get_title())
        parts.append(f"{up} against {across}" if across and up else across or up)
    told = "; ".join(dict.fromkeys(" ".join(part.split()) for part in parts if part.strip()))
    return f"Figure: {told}" if told else "Figure"
