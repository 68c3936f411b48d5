"""The command `clearhead study`."""

import gzip
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from clearhead.cli.main import main
from clearhead.studies.claims import ENTRIES
from tests.studies.conftest import in_this_process, toys

__all__ = ["in_this_process", "toys"]

pytestmark = pytest.mark.usefixtures("toys")


def test_list_prints_names_claims_and_statements(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["study", "list", "--json"]) == 0
    studies = json.loads(capsys.readouterr().out)
    assert [line.split(maxsplit=2) for line in lines] == [
        [study["claim"], study["name"], study["statement"]] for study in studies
    ]
    assert len(studies) == 17


def test_plan_prints_hypotheses_seeds_and_smallest_effects(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["study", "plan", "toy:STUDY"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "X1   By how much is the score higher with it?",
        "  the score is higher with it",
    ]
    assert re.fullmatch(
        r"    score, with minus without: difference; above 1 points; 12 seeds; decided with 80 % "
        r"power at a distance from the margin of at least 0\.8\d+ standard deviations",
        lines[2],
    )
    assert main(["study", "plan", "toy:STUDY", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["toy"][0]["seeds"] == 12


@pytest.mark.parametrize("is_terminated", [False, True])
def test_options_reach_the_run_and_after_a_signal_the_command_that_continues_is_printed(
    is_terminated: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    calls: list[tuple[list[str], dict[str, Any]]] = []

    def run_studies(names: list[str], **options: Any) -> None:
        calls.append((names, options))
        if is_terminated:
            signal.raise_signal(signal.SIGTERM)
        raise KeyboardInterrupt  # as Ctrl-C does, which processes in the background ignore

    monkeypatch.setattr("clearhead.studies.runner.run_studies", run_studies)
    options = "--all --budget full --first-seed 3 --runner ray --workers 2 --restart --out".split()
    monkeypatch.setattr("sys.argv", ["clearhead", "study", "run", *options, "a b"])
    assert main() == 130
    expected = {"budget": "full", "first_seed": 3, "runner": "ray", "workers": 2, "restart": True}
    assert calls == [([entry.name for entry in ENTRIES], expected | {"out": Path("a b")})]
    command = f"clearhead study run {' '.join(options)} 'a b'"
    assert capsys.readouterr().err.endswith(f"; continue with: {command}\n")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("in_this_process")
def test_run_prints_verdicts_and_report_writes_page_markdown_and_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["study", "run", "toy:STUDY", "--workers", "1"]) == 0
    printed = capsys.readouterr()
    assert "trial 24/24  toy" in printed.err
    lines = printed.out.splitlines()
    assert lines[:2] == [
        "Verdicts, budget quick: few seeds, for a first look",
        "  X1   toy  supported",
    ]
    assert lines[2] == "       Supported: the score is higher with it."
    assert lines[3].startswith("       Score, with minus without: ")
    assert lines[4] == "`clearhead study report --results runs/studies/quick` shows the evidence"

    Path("docs/results").mkdir(parents=True)
    Path("docs/results/trials.json.gz").touch()  # published results come after one's own
    assert main(["study", "report", "--markdown", "out.md"]) == 0
    assert capsys.readouterr().out == "wrote report.html\nwrote out.md\n"
    assert Path("report.html").is_file()
    assert Path("out/toy.svg").is_file()

    assert main(["study", "report", "--results", "runs/studies/quick", "--json"]) == 0
    data = capsys.readouterr().out
    assert len(json.loads(data)["studies"][0]["trials"]) == 24
    Path("trials.json.gz").write_bytes(gzip.compress(data.encode()))
    command = ["study", "report", "--results", "trials.json.gz", "--markdown", "again.md"]
    assert main([*command, "-o", "again.html"]) == 0
    assert Path("again.html").read_bytes() == Path("report.html").read_bytes()
    assert Path("again/toy.svg").read_bytes() == Path("out/toy.svg").read_bytes()

    assert main(["study", "run", "faulty:STUDY", "--workers", "1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("  X")] == ["faulty"]


@pytest.mark.usefixtures("in_this_process")
def test_a_failed_trial_gives_exit_code_1_and_an_unfinished_study(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["study", "run", "faulty:STUDY", "--workers", "1", "--out", "r"]) == 1
    printed = capsys.readouterr()
    assert "clearhead: study faulty, trial raises-0-" in printed.err
    assert "unfinished: 4 of 8 trials are measured" in printed.out


def test_register_writes_to_the_current_folder_and_says_where(
    toys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "register", "toy:STUDY", "--budget", "quick"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith(f"wrote {toys / 'registered.json'};")
    assert json.loads(Path("registered.json").read_bytes())["studies"].keys() == {"toy"}
    assert main(["study", "register", "toy:STUDY", "--out", "elsewhere"]) == 0
    assert Path("elsewhere/registered.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "zzz"], "unknown study 'zzz'"),
        (["run", "toy:STUDY", "--workers", "0"], "workers must be at least 1, got 0"),
        (["report"], "there are no results in runs/studies;"),
        (["report", "--results", "void"], "there are no results in void"),
        (
            ["report", "--results", "toy.py"],
            "toy.py is not the JSON of a report; expected a folder of results, or what",
        ),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", *arguments]) in (1, 2)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"clearhead: {message}")
    assert printed.err.count("\n") == 1


def test_describe_prints_a_line_for_each_measure(capsys: pytest.CaptureFixture[str]) -> None:
    text = "the dog chased the ball because it was hungry ."
    assert main(["study", "describe", text, "--model", "sentences"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("  ")[0] == "C1 departure from variance d_k"
    assert [int(line.split()[0][1:]) for line in lines] == [1, 1, 2, 2, 4, 7, 13]
    assert main(["study", "describe", text, "--model", "sentences", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["C7 heads apart"]) == 2
