"""A report on studies whose results are known."""

import csv
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from clearhead.errors import ConfigError
from clearhead.explanation.sealed import policy
from clearhead.studies.reporting.data import to_csv, to_json
from clearhead.studies.reporting.found import StudyReport, report_studies
from clearhead.studies.reporting.html import evidence_rows, to_html
from clearhead.studies.reporting.markdown import to_markdown
from clearhead.studies.reporting.words import decisive, number, predicted, probability
from clearhead.studies.reporting.write import write_study_report
from clearhead.studies.runner import run_studies
from clearhead.studies.store import Judged, read_results
from clearhead.studies.study import CheckData
from clearhead.studies.verdict import judge_evidence
from tests.accessible import violations
from tests.studies.toy_studies import forget_toys, write_toys

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ViewportSize


class Page(HTMLParser):
    """Elements with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("studies")
    write_toys(folder)
    forget_toys()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        run_studies(["toy:STUDY", "null:STUDY", "alone:STUDY"], workers=1, out=folder / "r")
        next((folder / "r/alone").glob("a-3*.json")).unlink()
        yield folder


@pytest.fixture(scope="module")
def report(folder: Path) -> StudyReport:
    return report_studies(read_results(folder / "r"))


@pytest.fixture(scope="module")
def page(report: StudyReport) -> Page:
    return Page(to_html(report))


def test_the_page_says_what_was_found(page: Page) -> None:
    told = " ".join(page.text.split())
    assert "Quick budget:" in told
    assert "X1. With it, the score is higher" in told
    assert "Verdict: supported" in told
    assert "Verdict: contradicted" in told
    assert "Seen is what the interval shows, whatever was expected" in told
    assert "Score (points): with 2.88" in told
    assert "at least 1 points" in told
    assert "over all 2 comparisons" in told
    assert re.search(r"at once \(local\), on .* cores", told)
    assert "Nobody (2020), A paper" in told


def test_the_last_column_says_what_was_seen(report: StudyReport) -> None:
    tables = to_html(report).split("<caption>Evidence</caption>")[1:]
    seen = [
        re.findall(r"<td[^>]*>([^<]*)</td></tr>", table.split("</table>")[0]) for table in tables
    ]
    assert seen == [["more"], ["no difference"]]


def test_the_table_of_verdicts_has_one_row_a_study(report: StudyReport) -> None:
    table = to_html(report).split('<table class="verdicts">')[1].split("</table>")[0]
    assert re.findall(r'<span class="answer">(.*?)</span></td></tr>', table) == [
        "unfinished: 7 of 8 trials are measured",
        "supported",
        "contradicted",
    ]
    assert [link["href"] for link in Page(table).all("a")] == [
        *("#study-alone", "#study-toy", "#study-null"),
    ]


def test_an_unfinished_study_is_named_and_not_judged(report: StudyReport, page: Page) -> None:
    assert report.sections[0].name == "alone"
    assert report.sections[0].judged.verdict is None
    assert "Verdict: unfinished: 7 of 8 trials are measured" in " ".join(page.text.split())
    assert report.family == 2


def test_figures_stand_in_the_page_with_words(page: Page) -> None:
    (picture,) = page.all("img")  # null's figure fails
    source = picture["src"] or ""
    assert source.startswith("data:image/svg+xml;base64,")
    svg = b64decode(source.partition(",")[2])
    assert b"<svg" in svg
    assert b"viewBox" in svg
    assert (picture["alt"] or "").startswith("Figure: score (points) against condition; ")


def test_a_figure_that_fails_is_named_and_costs_nothing_else(report: StudyReport) -> None:
    null = report.sections[2]
    assert null.name == "null"
    assert null.sentences == ("Both conditions are the same.",)
    assert "not all could be shown (InputError" in null.problems[0]
    assert null.judged.verdict is not None


def test_the_raw_data_lie_in_the_page(report: StudyReport, page: Page) -> None:
    links = {link["download"]: link["href"] or "" for link in page.all("a") if "download" in link}
    kinds = ("json", "csv")
    assert links.keys() == {f"{name}.{kind}" for name in ("toy", "null", "alone") for kind in kinds}
    data = json.loads(b64decode(links["toy.json"].partition(",")[2]))
    outcomes = report.sections[1].judged.result.outcomes
    assert [trial["values"] for trial in data["trials"]] == [one.values for one in outcomes]
    rows = list(csv.DictReader(StringIO(b64decode(links["toy.csv"].partition(",")[2]).decode())))
    scores = [float(row["value"]) for row in rows if row["measure"] == "score"]
    assert scores == [one.values["score"] for one in outcomes]


def test_the_verdict_can_be_had_again_from_the_raw_data(report: StudyReport) -> None:
    data = json.loads(to_json(report))
    toy = data["studies"][1]
    score = {
        (trial["condition"], trial["seed"]): trial["values"]["score"] for trial in toy["trials"]
    }
    differences = [score["with", seed] - score["without", seed] for seed in range(8)]
    (finding,) = toy["verdict"]["findings"]
    assert finding["estimate"] == pytest.approx(sum(differences) / 8)
    assert finding["p"] == 2 / 2**8
    assert finding["adjusted_p"] == 4 / 2**8
    assert data["studies"][0]["verdict"] is None


def test_the_page_asks_for_nothing_and_runs_nothing(report: StudyReport) -> None:
    text = to_html(report)
    page = Page(text)
    assert not page.all("script")
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    policies = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policies == [policy(style)]
    assert "script-src 'none'" in str(policies[0])
    outside = [a for _, attributes in page.found for a in attributes.values() if a and "//" in a]
    assert outside == []
    assert not any("style" in attributes for _, attributes in page.found)


def test_texts_are_shown_as_they_are(folder: Path) -> None:
    from dataclasses import replace

    from clearhead.studies.store import Results

    results: Results = read_results(folder / "r")
    toy = results.studies[1]
    study: Any = toy.study
    wild = replace(study, statement="<b>*a* | b & `c`</b>", hypothesis="<script>1</script>")
    made = report_studies(replace(results, studies=(replace(toy, study=wild),)))
    page = Page(to_html(made))
    assert "<b>*a* | b & `c`</b>" in page.text
    assert not page.all("script")
    assert not page.all("b")
    text = to_markdown(made, "figures")
    assert r"\<b\>\*a\* \| b & \`c\`\</b\>" in text


def test_markdown_has_the_same_verdicts_and_its_figures_beside_it(folder: Path) -> None:
    made = report_studies(read_results(folder / "r"))
    written = write_study_report(made, folder / "a.html", markdown=folder / "text.md")
    assert written == (folder / "a.html", folder / "text.md")
    text = written[1].read_text("utf-8")
    assert "| X1 | With it, the score is higher | **supported** |" in text
    assert "**unfinished: 7 of 8 trials are measured**" in text
    assert "(text/toy.svg)" in text
    assert (folder / "text/toy.svg").read_bytes() == made.sections[1].svg
    with pytest.raises(ConfigError, match=r"named like report\.html"):
        write_study_report(made, folder / "a.txt")
    with pytest.raises(ConfigError, match=r"--markdown names a \.md file"):
        write_study_report(made, folder / "a.html", markdown=folder / "a.html")


def test_csv_keeps_lists_as_json(report: StudyReport) -> None:
    first, second, *_ = csv.DictReader(StringIO(to_csv(report.sections[1])))
    assert (first["measure"], second["measure"]) == ("all", "score")
    values = report.sections[1].judged.result.outcomes[0].values
    assert json.loads(first["value"]) == values["all"]
    assert first["settings"] == '{"size": 3}'


def test_the_full_budget_carries_no_warning(report: StudyReport) -> None:
    from dataclasses import replace

    full = replace(report, results=replace(report.results, budget="full"))
    assert "Quick budget" not in to_html(full)
    assert "Quick budget" in to_html(report)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.0, "0"), (-1.23456, "−1.23"), (12345.6, "12,346"), (1e-7, "1e−07")],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_p_values_and_predictions_read_as_people_write_them() -> None:
    assert [probability(p) for p in (None, 1.0, 0.0156, 0.0078125, 1e-9)] == [
        *("", "1", "0.016", "0.0078", "<0.0001"),
    ]
    checks = [
        CheckData(name="", unit="%", values=(1.0, 1.0), low=0, high=2),
        CheckData(name="", unit="", values=(1.0, 1.0), low=0),
        CheckData(name="", unit="s", values=(1.0, 1.0), high=2),
    ]
    findings = judge_evidence({"a": checks})["a"].findings
    assert [predicted(one) for one in findings] == ["0 to 2 %", "at least 0", "at most 2 s"]


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_screen_and_says_nothing_wrong(
    browser: "Browser", report: StudyReport, folder: Path, width: int, scheme: Any
) -> None:
    file = folder / "page.html"
    file.write_text(to_html(report), "utf-8")
    size: ViewportSize = {"width": width, "height": 800}
    tab = browser.new_page(viewport=size, color_scheme=scheme, bypass_csp=True)  # axe is a script
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: asked.append(message.text))
    tab.goto(file.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate("document.querySelector('.plot').naturalWidth") > 0
    tables = tab.locator(".scroll").evaluate_all(
        "tables => tables.map((one) => one.scrollWidth > one.clientWidth)"
    )
    assert not any(tables) or width < 1000  # where there is room, no column is out of sight
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(20, 24, 31)") == (scheme == "dark")
    assert [one for one in asked if not one.startswith(("file:", "data:"))] == []
    assert violations(tab) == []
    with tab.expect_download() as kept:
        tab.get_by_text("toy.csv").click()
    assert kept.value.path().read_text() == to_csv(report.sections[1])
    tab.close()


def test_each_finding_stands_under_its_headings_and_empty_columns_are_left_out(
    report: StudyReport,
) -> None:
    for section in report.sections:
        if section.judged.verdict is None:
            continue
        findings = section.judged.verdict.findings
        head, *rows = evidence_rows(findings)
        told = [dict(zip(head, row, strict=True)) for row in rows]
        for one, finding in zip(told, findings, strict=True):
            assert (one["evidence"], one["outcome"]) == (finding.name, finding.outcome)
            assert (one["n"], one["seen"]) == (str(finding.n), finding.seen)
        assert ("p" in head) == any(finding.p is not None for finding in findings)


@pytest.mark.parametrize(
    ("values", "expected"),
    [((1.0, 1.0), "first"), ((1.0, 5.0), "second"), ((5.0, 5.0), "first")],
)
def test_what_decided_is_the_part_that_failed(
    report: StudyReport, values: tuple[float, float], expected: str
) -> None:
    checks = [
        CheckData(name=name, unit="1", values=(value, value), high=2.0)
        for name, value in zip(("first", "second"), values, strict=True)
    ]
    verdict = judge_evidence({"s": checks})["s"]
    judged = Judged(result=report.sections[0].judged.result, verdict=verdict)
    assert decisive(judged).startswith(f"{expected}: ")
