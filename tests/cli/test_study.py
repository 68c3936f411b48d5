"""`clearhead study` as people type it."""

import json
import shlex
from pathlib import Path

import pytest

from clearhead.cli.main import main
from clearhead.studies import registry
from clearhead.studies.registry import Entry
from tests.studies.conftest import toys

__all__ = ["toys"]


def test_list_names_claims_and_statements(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = Entry("c07_heads", "heads", "Heads specialise")
    monkeypatch.setattr(registry, "ENTRIES", (entry,))
    assert main(["study", "list"]) == 0
    assert capsys.readouterr().out == "C7   heads  Heads specialise\n"
    assert main(["study", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "heads", "claim": "C7", "statement": "Heads specialise"}
    ]


@pytest.mark.usefixtures("toys")
def test_run_prints_verdicts_and_report_writes_the_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["study", "run", "toy:STUDY", "--workers", "1"]) == 0
    shown = capsys.readouterr()
    assert "trial 24/24  toy" in shown.err
    lines = shown.out.splitlines()
    assert lines[0] == "Verdicts, budget quick: few seeds, for a first look"
    assert lines[1] == "  X1   toy  supported"
    assert lines[2].startswith("       score, with minus without: ")
    assert "95 % interval" in lines[2]
    assert lines[3].startswith("p values are adjusted (Holm) over all comparisons in runs/studies/")
    assert lines[-1] == "`clearhead study report` shows the evidence"
    assert main(["study", "report", "--markdown", "out.md"]) == 0
    assert capsys.readouterr().out == "wrote report.html\nwrote out.md\n"
    assert Path("report.html").is_file()
    assert Path("out/toy.svg").is_file()
    assert main(["study", "report", "--json", "-o", "other.html"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["studies"][0]["verdict"]["outcome"] == "supported"
    assert len(data["studies"][0]["trials"]) == 24


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        (("--out", "my scans"), "my scans"),
        (("--first-seed", "7"), "runs/studies/quick-from-seed-7"),
    ],
)
@pytest.mark.usefixtures("toys")
def test_the_last_line_is_the_command_that_shows_what_was_measured(
    options: tuple[str, ...], folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "run", "toy:STUDY", "--workers", "1", *options]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    command = shlex.split(last.split("`")[1])
    assert command == ["clearhead", "study", "report", "--results", folder]
    assert main(command[1:]) == 0
    assert Path("report.html").is_file()


@pytest.mark.usefixtures("toys")
def test_quick_results_are_named_where_report_would_read_full_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("runs/studies/full").mkdir(parents=True)
    assert main(["study", "run", "toy:STUDY", "--workers", "1"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("`clearhead study report --results runs/studies/quick` shows")


@pytest.mark.usefixtures("toys")
def test_failures_exit_1_and_the_study_stays_unfinished(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["study", "run", "faulty:STUDY", "--workers", "1", "--out", "r"]) == 1
    shown = capsys.readouterr()
    assert "clearhead: study faulty, trial raises-0-" in shown.err
    assert "unfinished: 4 of 8 trials are measured" in shown.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "zzz"], "there is no study 'zzz'"),
        (["run", "toy:STUDY", "--workers", "0"], "workers must be at least 1, got 0"),
        (["report"], "there are no results in runs/studies/quick"),
        (["report", "--results", "void"], "there are no results in void"),
    ],
)
@pytest.mark.usefixtures("toys")
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", *arguments]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"clearhead: {told}")
    assert shown.err.count("\n") == 1


def test_wrong_usage_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study"]) == 2
    assert main(["study", "run"]) == 2
    assert "`clearhead study list`) or --all" in capsys.readouterr().err
    assert main(["study", "rn"]) == 2
    assert main(["study", "run", "x", "--budget", "huge"]) == 2
    assert "Traceback" not in capsys.readouterr().err
