"""Reports on studies whose results are known."""

import csv
import gzip
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from clearhead.errors import ConfigError, CorruptDataError
from clearhead.studies import (
    Cell,
    Outcome,
    Paper,
    PartVerdict,
    Planned,
    Results,
    StudyReport,
    StudyResult,
    Verdict,
    bound,
    difference,
    equivalence,
    estimate,
    exact,
    judge_samples,
    non_inferiority,
    parts,
    read_published,
    report_studies,
    write_study_report,
)
from clearhead.studies._report_text import (
    evidence_table,
    literature_table,
    number,
    p_value,
    plan_table,
    predicted,
    raw_table,
    result_line,
    sensitivity_table,
    shared_trainings,
    smallest_text,
)
from clearhead.studies.claims import find_source
from clearhead.studies.registration import fingerprint, history
from clearhead.studies.store import spreads, study_trials
from clearhead.studies.verdict import Outcome as VerdictOutcome
from tests.accessible import violations
from tests.studies.toy_studies import forget_toys, write_toys

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ViewportSize

BEGIN = {
    "event": "begin",
    "command": "clearhead study run --all",
    "engine": "local",
    "workers": 2,
    "machine": {"processor": "A", "cores": 2, "memory_gib": 8, "system": "Linux"},
}
LOG = (BEGIN, {"event": "trial", "elapsed": 59.0}, {"event": "end", "elapsed": 90.0})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    """Two complete studies and one that lacks a trial; the figure of "null" fails."""
    folder = tmp_path_factory.mktemp("studies")
    write_toys(folder)
    forget_toys()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        studies = [_measured(f"{name}:STUDY") for name in ("alone", "toy", "null")]
        studies[0] = replace(studies[0], outcomes=studies[0].outcomes[:-1])
        yield Results(
            folder=folder,
            budget="quick",
            first_seed=0,
            versions={"python": "3.11"},
            registration={"date": "2026-01-02", "commit": "abc"},
            studies=tuple(studies),
            log=LOG,
        )
    forget_toys()


def _measured(source: str) -> StudyResult:
    planned = study_trials(source, "quick", 0)
    outcomes = [Outcome(trial=x, values=dict(planned.study.run(x))) for x in planned.trials]
    return StudyResult(
        source,
        planned.study,
        planned.trials,
        tuple(outcomes),
        fingerprint=fingerprint(planned.study, "quick"),
    )


@pytest.fixture(scope="module")
def report(results: Results) -> StudyReport:
    return report_studies(results)


@pytest.fixture(scope="module")
def page(report: StudyReport) -> str:
    return report.to_html()


def downloads(page: str) -> dict[str, str]:
    found = re.findall(r'<a download="([^"]*)" href="data:[^,]*,([^"]*)"', page)
    return {name: b64decode(content).decode() for name, content in found}


def test_sections_have_verdicts_or_the_reason_why_there_is_none(report: StudyReport) -> None:
    alone, toy, null = report.sections
    assert [x.study.name for x in report.sections] == ["alone", "toy", "null"]
    assert alone.outcome == "unfinished: 7 of 8 trials are measured"
    assert (alone.decisive, alone.findings, alone.figures.svg) == ("", (), b"")
    assert (toy.outcome, null.outcome) == ("supported", "contradicted")
    assert toy.decisive.startswith("Score, with minus without: ")
    assert report.num_judged == 2
    assert toy.verdict is not None
    ((part, declared, *others),) = sensitivity_table(toy.verdict)[1]
    assert (part, declared) == ("the score is higher with it", "supported")
    assert others == list(toy.verdict.parts[0].sensitivity.values())
    assert any(" 2 comparisons" in name for name in toy.verdict.parts[0].sensitivity)
    assert repr(report).endswith("X1 supported, X2 contradicted)")


def test_a_study_that_lacks_one_side_of_a_pair_is_reported_without_values(results: Results) -> None:
    toy = results.studies[1]
    made = report_studies(replace(results, studies=(replace(toy, outcomes=toy.outcomes[1:]),)))
    (data,) = made.to_dict()["studies"]
    assert data["unjudged"] == "unfinished: 23 of 24 trials are measured"
    assert data["parts"][0]["hypotheses"][0]["values"] is None
    assert len(data["trials"]) == 23


def test_every_table_has_rows_of_the_length_of_its_head(report: StudyReport) -> None:
    for section in report.sections:
        for title, (head, rows) in section.tables:
            assert rows, title
            assert {len(row) for row in rows} == {len(head)}


def test_changes_of_the_projects_designs_are_printed_with_its_own_studies_alone(
    report: StudyReport,
) -> None:
    (claim, *_) = next(x["claims"] for x in history()[1] if x["claims"])
    own = report.sections[1]
    named: Any = replace(own.result, study=replace(own.study, claim=claim))
    ours = replace(named, source=find_source(claim))
    counts = [len(replace(own, result=x).tables) for x in (own.result, named, ours)]
    assert counts == [counts[0], counts[0], counts[0] + 1]


def test_only_comparisons_that_have_an_interval_are_drawn(results: Results) -> None:
    toy: Any = results.studies[1]
    score = Cell("with", "score")
    every = exact("every score", "points", score, low=0.0)
    study = replace(toy.study, parts=parts({"all": every}), panels=())
    single = replace(toy.study, seeds={"quick": 1})
    first = [x for x in toy.outcomes if x.trial.seed == 0]
    studies = (
        replace(toy, study=study),
        replace(toy, study=single, trials=tuple(x.trial for x in first), outcomes=tuple(first)),
    )
    for section in report_studies(replace(results, studies=studies)).sections:
        assert section.verdict is not None
        assert section.problems == ()
        assert section.figures.small_svg == b""


def test_a_verdict_that_cannot_be_computed_is_named_and_others_are_given(results: Results) -> None:
    toy: Any = results.studies[1]
    broken = [replace(x, values=x.values | {"score": "high"}) for x in toy.outcomes]
    studies = (replace(toy, outcomes=tuple(broken)), *results.studies[1:])
    first, *others = report_studies(replace(results, studies=studies)).sections
    assert first.verdict is None
    assert first.outcome.startswith("its verdict cannot be computed (ValueError: ")
    assert first.to_dict()["parts"][0]["hypotheses"][0]["values"] is None
    assert [x.outcome for x in others] == ["supported", "contradicted"]


def test_a_figure_that_fails_is_a_problem_of_its_study_only(report: StudyReport) -> None:
    _, toy, null = report.sections
    assert toy.problems == ()
    assert toy.figures.svg
    assert toy.figures.alt.startswith("Figure: score (points) against condition")
    assert null.figures.small_svg  # the comparison is drawn all the same
    assert "text or figure cannot be made (InputError" in null.problems[0]


def test_the_page_contains_verdicts_evidence_and_methods(page: str) -> None:
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    for part in (
        "2 of 3 studies are finished",
        "X1. With it, the score is higher",
        "Supported: the score is higher with it.",
        "By how much is the score higher with it?",
        "Verdict: contradicted",
        "Score (points): with 2.88",
        "above 1 points",
        "1 trials in 1.5 minutes, 2 at a time (local), on A, 2 cores",
        "Nobody (2020), A paper",
    ):
        assert part in text
    claims = re.findall('<h2><a href="#([^"]*)"', page)
    assert claims == ["study-alone", "study-toy", "study-null"]
    assert all(f'<section id="study-{name}"' in page for name in ("alone", "toy", "null"))
    assert page.count("data:image/svg+xml;base64,") == 3
    assert "<script" not in page
    assert "//" not in re.sub(r'"data:[^"]*"', "", page)


def test_downloads_in_the_page_hold_every_trial(report: StudyReport, page: str) -> None:
    files = downloads(page)
    outcomes = report.sections[1].result.outcomes
    assert files.keys() == {
        f"{name}.{kind}" for name in ("alone", "toy", "null") for kind in ("json", "csv")
    }
    toy = json.loads(files["toy.json"])
    assert (toy["seeds"], toy["num_trials"]) == (8, 24)
    trials = toy["trials"]
    assert [x["values"] for x in trials] == [x.values for x in outcomes]
    rows = list(csv.DictReader(StringIO(files["toy.csv"])))
    values: dict[str, list[Any]] = {"score": [], "all": []}
    for row in rows:
        values[row["measure"]].append(json.loads(row["value"]))
    assert values == {key: [x.values[key] for x in outcomes] for key in values}
    assert rows[0]["settings"] == '{"size": 3}'


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_a_report_is_made_again_from_its_json(
    report: StudyReport, tmp_path: Path, suffix: str
) -> None:
    content = json.dumps(report.to_dict()).encode()
    path = tmp_path / f"published{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    read = read_published(path)
    for name in ("budget", "first_seed", "versions", "registration", "log"):
        assert getattr(read, name) == getattr(report.results, name)
    again = report_studies(read)
    assert again.to_dict() == report.to_dict()
    assert again.to_html() == report.to_html()


def test_a_published_report_stays_the_same_when_its_studies_change(
    report: StudyReport, tmp_path: Path
) -> None:
    path = tmp_path / "old.json"
    data = report.to_dict()
    data["studies"][1]["fingerprint"] = "of an earlier design"
    data["studies"][2]["source"] = "module_that_is_gone:STUDY"
    figure = b"<svg/>"
    (tmp_path / "toy.svg").write_bytes(figure)
    path.write_text(json.dumps(data))
    again = report_studies(read_published(path))
    differences = np.array(report.sections[1].samples[0].values)
    found = spreads(path)["toy"]["score, with minus without"]
    assert found == pytest.approx(np.std(differences, ddof=1))
    for old, new in zip(report.sections[1:], again.sections[1:], strict=True):
        assert new.verdict == old.verdict
        assert (new.tables, new.figures.lines) == (old.tables, old.figures.lines)
        assert new.figures.small_svg == old.figures.small_svg
        assert new.figures.svg == (figure if new.study.name == "toy" else b"")
        assert any("was changed after this run" in x for x in new.problems)


def test_a_spread_needs_three_seeds(report: StudyReport, tmp_path: Path) -> None:
    data = report.to_dict()
    hypotheses = [x["parts"][0]["hypotheses"][0] for x in data["studies"][1:]]
    for seeds, hypothesis in zip((2, 3), hypotheses, strict=True):
        for key in ("values", "seeds", "first", "second"):
            hypothesis[key] = list(hypothesis[key])[:seeds]
    path = tmp_path / "few.json"
    path.write_text(json.dumps(data))
    expected = float(np.std(hypotheses[1]["values"], ddof=1))
    assert spreads(path) == {"alone": {}, "toy": {}, "null": {"a minus b": pytest.approx(expected)}}


@pytest.mark.slow
def test_the_published_report_is_generated_from_the_published_trials() -> None:
    """If not: clearhead study report --results docs/results/trials.json.gz --markdown …"""
    docs = Path(__file__).parents[2] / "docs"
    report = report_studies(read_published(docs / "results" / "trials.json.gz"))
    for name, content in report.to_markdown("results").items():
        if not name.endswith(".svg"):
            assert content == (docs / (name or "results.md")).read_bytes(), name


@pytest.mark.parametrize(
    ("name", "content"), [("x.json", b"{"), ("x.json", b"[]"), ("x.json", b"{}"), ("x.gz", b"{}")]
)
def test_a_file_that_is_not_a_report_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorruptDataError, match=f"{name} is not the JSON of a report"):
        read_published(tmp_path / name)


def test_texts_of_studies_are_escaped(results: Results) -> None:
    toy = results.studies[1]
    study: Any = toy.study
    study = replace(study, statement="<b>*a* | b & `c`</b>", question="<script>1</script>")
    made = report_studies(replace(results, studies=(replace(toy, study=study),)))
    assert "&lt;b&gt;*a* | b &amp; `c`&lt;/b&gt;" in made.to_html()
    assert "<script" not in made.to_html()
    first = made.to_markdown("figures")[""].decode()
    assert r"## X1. \<b\>\*a\* \| b & \`c\`\</b\>" in first


def test_page_and_markdown_are_written_with_figures(report: StudyReport, tmp_path: Path) -> None:
    page, markdown = tmp_path / "a.html", tmp_path / "text.md"
    assert write_study_report(report, page, markdown=markdown) == (page, markdown)
    first = markdown.read_text("utf-8")
    assert "**Supported:** the score is higher with it." in first
    assert "**Unfinished: 7 of 8 trials are measured.**" in first
    assert "(text/toy-results.svg)" in first
    assert "(text/toy.md)" in first
    assert "Quick budget" in first
    text = (tmp_path / "text/toy.md").read_text("utf-8")
    assert re.search(r"\n\n\| part \| hyp.*\n(\| --- )+\|\n\| the score is .*\|\n\n##", text)
    assert "(../text.md)" in text
    assert "(toy.svg)" in text
    assert (tmp_path / "text/toy.svg").read_bytes() == report.sections[1].figures.svg
    assert (tmp_path / "text/toy-results.svg").read_bytes() == report.sections[1].figures.small_svg
    with pytest.raises(ConfigError, match=r"an HTML file such as report\.html, got 'a\.txt'"):
        write_study_report(report, tmp_path / "a.txt")
    with pytest.raises(ConfigError, match=r"a Markdown file such as report\.md, got 'a\.html'"):
        write_study_report(report, page, markdown=page)


def test_numbers_p_values_and_predicted_ranges_as_text() -> None:
    values = (None, 0.0, -1.23456, 12345.6, -12345.6, 999.9, 1e-7)
    texts = ["", "0", "−1.23", "12,346", "−12,346", "1,000", "1e−07"]
    assert [number(x) for x in values] == texts
    assert [p_value(p) for p in (None, 1.0, 0.0156, 1e-9)] == ["", "1", "0.016", "<0.0001"]
    cell = Cell("a", "x")
    exacts = [
        exact("", "%", cell, low=0, high=2),
        exact("", "1", cell, low=0),
        exact("", "s", cell, high=2),
    ]
    findings = judge_samples([replace(x, values=(1.0, 1.0)) for x in exacts])
    assert [predicted(x) for x in findings] == ["0 to 2 %", "at least 0", "at most 2 s"]
    assert result_line(findings[0]) == ": 1 % (all values 1 to 1)"
    assert result_line(judge_samples(exacts)[0]) == ": not measured"
    compared = (
        difference("", "s", cell, margin=1),
        equivalence("", "s", cell, margin=1),
        non_inferiority("", "s", cell, margin=1),
        bound("", "s", cell, high=2),
        estimate("", "s", cell),
    )
    texts = [predicted(x) for x in judge_samples(compared)]
    assert texts == ["above 1 s", "within ± 1 s", "above −1 s", "below 2 s", ""]
    part = PartVerdict(name="part", outcome="mixed", findings=findings, sensitivity={})
    head, rows = evidence_table([part])
    assert head == ("part", "outcome", "n", "predicted", *head[4:])
    assert not {"p", "p against", "effect size", "note"} & set(head)
    assert rows[0] == ("part", "by construction", "2", "0 to 2 %", "1 %", "1 to 1")
    part = replace(part, premises=findings[:1], findings=findings[1:])
    names = [(row[0], row[3]) for row in evidence_table([part])[1]]
    assert names == [
        ("premise of: part", "0 to 2 %"),
        ("part", "at least 0"),
        ("part", "at most 2 s"),
    ]
    paired = compared[0].paired({3: 5.0, 4: 7.0}, {3: 1.0, 4: 2.0})
    assert raw_table(paired)[1:] == (
        ("seed", "first", "second", "difference"),
        [("3", "5.0", "1.0", "4.0"), ("4", "7.0", "2.0", "5.0")],
    )
    _, _, raw = raw_table(replace(exacts[0], values=(1.0,) * 101))
    assert (raw[99], len(raw)) == (("100", "1.0"), 100)


@pytest.mark.parametrize(
    ("means", "expected"),
    [((9.0, 9.0), "one"), ((9.0, 1.0), "two"), ((9.0, 5.0), "two"), ((5.0, 1.0), "two")],
)
def test_the_decisive_result_is_the_first_against_the_claim(
    report: StudyReport, means: tuple[float, float], expected: str
) -> None:
    offsets = np.linspace(-0.1, 0.1, 12)
    samples = [
        replace(
            difference(name, "1", Cell("a", "x"), margin=5.0),
            values=tuple((mean + offsets).tolist()),
        )
        for name, mean in zip(("one", "two"), means, strict=True)
    ]
    part = PartVerdict(name="", outcome="mixed", findings=judge_samples(samples), sensitivity={})
    verdict = Verdict(outcome="mixed", parts=(part,), family=2)
    section = replace(report.sections[0], verdict=verdict)
    assert section.decisive.startswith(f"{expected.title()}: ")


def test_the_smallest_effect_is_given_in_the_unit_with_the_spread_of_the_run() -> None:
    facts: dict[str, Any] = {"part": "p", "kind": "difference", "unit": "s", "high": None}
    planned = Planned(name="known", low=1.0, seeds=6, distance_in_sd=2.0, distance=3.0, **facts)
    unknown = replace(planned, name="unknown", distance=None)
    _, rows = plan_table([planned, unknown, replace(unknown, name="other")], {"unknown": 5.0})
    assert [row[-1] for row in rows] == [
        "2 standard deviations (3 s)",
        "2 standard deviations (10 s with the spread of this run)",
        "2 standard deviations",
    ]
    for high, is_narrow in ((6.9, True), (7.0, False)):  # both ends cannot be 3 s away
        text = smallest_text(replace(planned, high=high))
        assert ("less power" in text) == is_narrow
    few = replace(planned, seeds=5, distance_in_sd=None, distance=None)
    assert "too few seeds" in smallest_text(few)
    assert smallest_text(replace(few, kind="estimate")) == ""


@pytest.mark.parametrize(
    ("outcome", "parts", "expected"),
    [
        (
            "supported",
            {"one": "supported", "two": "described"},
            ("Supported:", "one. Described, without a verdict: two."),
        ),
        (
            "mixed",
            {"one": "contradicted", "two": "supported"},
            ("Mixed.", "Contradicted: one. Supported: two."),
        ),
        ("by construction", {"one": "by construction"}, ("By construction:", "one.")),
    ],
)
def test_a_headline_names_an_outcome_once(
    report: StudyReport,
    outcome: VerdictOutcome,
    parts: dict[str, VerdictOutcome],
    expected: tuple[str, str],
) -> None:
    judged_parts = tuple(
        PartVerdict(name=name, outcome=x, findings=(), sensitivity={}) for name, x in parts.items()
    )
    verdict = Verdict(outcome=outcome, parts=judged_parts, family=1)
    assert replace(report.sections[0], verdict=verdict).headline == expected


def test_studies_that_share_trainings_are_listed() -> None:
    log: list[dict[str, Any]] = [
        {"event": "trial", "study": "a", "trainings": ["1", "2"]},
        {"event": "trial", "study": "b", "trainings": ["1"]},
        {"event": "trial", "study": "a", "trainings": ["1"]},
        {"event": "trial", "study": "c", "trainings": ["3"]},
        {"event": "trial", "study": "b"},
    ]
    claims = {"a": "C1", "b": "C2", "c": "C3"}
    assert shared_trainings(log, claims) == ["C1, C2: the same 1 trained models"]


def test_papers_are_printed_beside_what_was_found_here(report: StudyReport) -> None:
    section = report.sections[1]
    study = replace(
        section.study,
        literature=(
            Paper(source="A 2020", found="3 points", beside="score, with minus without"),
            Paper(source="B 2021", found="nothing"),
        ),
    )
    head, rows = literature_table(study, section.findings)
    assert head == ("paper", "found there", "found here")
    assert rows[0][2].startswith("score, with minus without: ")
    assert rows[1] == ("B 2021", "nothing", "")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_the_page_in_a_browser_fits_loads_nothing_and_is_accessible(
    browser: "Browser", report: StudyReport, page: str, tmp_path: Path, width: int, scheme: Any
) -> None:
    file = tmp_path / "page.html"
    file.write_text(page, "utf-8")
    size: ViewportSize = {"width": width, "height": 800}
    tab = browser.new_page(viewport=size, color_scheme=scheme, bypass_csp=True)  # axe is a script
    events: list[str] = []
    tab.on("request", lambda request: events.append(request.url))
    tab.on("console", lambda message: events.append(message.text))
    tab.goto(file.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(x => { x.open = true })")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate("document.querySelector('.plot').naturalWidth") > 0
    wide = tab.locator(".scroll").evaluate_all(
        "tables => tables.some((x) => x.scrollWidth > x.clientWidth)"
    )
    assert not wide or width < 1000  # on a large screen every column is visible
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(18, 22, 29)") == (scheme == "dark")
    assert [x for x in events if not x.startswith(("file:", "data:"))] == []
    assert violations(tab) == []
    with tab.expect_download() as download:
        tab.get_by_text("toy.csv").click()
    assert download.value.path().read_text() == report.sections[1].to_csv()
    tab.close()
