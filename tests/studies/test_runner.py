"""Every trial is measured once: after resuming, damage, failures, and alone."""

import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from clearhead.errors import ConfigError, CorruptDataError
from clearhead.studies._section import judge
from clearhead.studies._worker import Task, measure
from clearhead.studies.runner import _loky, run_studies
from clearhead.studies.store import file_name, log, read_results
from clearhead.studies.table import Trial

TRIALS = 24


def records(folder: Path) -> dict[str, bytes]:
    """Everything in a folder of results but its log."""
    apart = ("log.jsonl", ".lock")
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in apart
    }


def started_trials() -> list[str]:
    path = Path("started.txt")
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.usefixtures("toys", "in_this_process")
def test_all_trials_are_measured_recorded_and_judged() -> None:
    results = run_studies(["toy:STUDY"], workers=2, out="r")
    toy: Any = importlib.import_module("toy")
    (result,) = results.studies
    assert result.is_complete
    assert results.failures == ()
    assert len(set(started_trials())) == len(started_trials()) == TRIALS
    for outcome in result.outcomes:
        assert outcome.values == toy.run(outcome.trial)
    used = {tuple(event["trainings"]) for event in results.log if event["event"] == "trial"}
    assert used == {(f"training {seed}",) for seed in range(8)}
    (section,) = judge(results)
    assert section.verdict is not None
    assert section.verdict.outcome == "supported"
    finding = section.verdict.findings[0]
    assert finding.n == 8
    assert finding.p is not None
    assert finding.p < 0.025


@pytest.mark.usefixtures("toys", "in_this_process")
def test_damaged_records_are_named_and_measured_again(capfd: pytest.CaptureFixture[str]) -> None:
    run_studies(["toy:STUDY"], workers=1, out="r")
    whole = records(Path("r"))
    harmed = sorted(Path("r/toy").glob("with-*.json"))[:6]
    content = harmed[0].read_bytes()
    place = content.index(b"score") + 10
    harms = (
        content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        content[:-7],
        b"",
        (whole["toy/" + harmed[5].name]),
        b'{"record": {"values": 3}}',
    )
    for path, harm in zip(harmed, harms, strict=False):
        path.write_bytes(harm)
    for folder in ("r", "r/toy"):
        Path(folder, ".clearhead-tmp-7-x").write_bytes(b"left by a killed process")
    read = read_results("r")
    assert len(read.studies[0].damaged) == 5
    for path, message in zip(harmed, read.studies[0].damaged, strict=False):
        assert message.startswith(f"{path} is damaged")
    assert judge(read)[0].verdict is None
    assert judge(read)[0].unjudged == "unfinished: 19 of 24 trials are measured"
    capfd.readouterr()
    run_studies(["toy:STUDY"], workers=1, out="r")
    message = capfd.readouterr().err
    assert all(f"clearhead: {path} is damaged" in message for path in harmed[:5])
    assert f"trial {TRIALS}/{TRIALS} " in message
    assert records(Path("r")) == whole
    assert len(started_trials()) == TRIALS + 5
    run_studies(["toy:STUDY"], workers=1, out="r")
    assert len(started_trials()) == TRIALS + 5


@pytest.mark.parametrize("processes", ["in_this_process", pytest.param("", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("toys")
def test_failures_name_study_trial_and_error_and_other_trials_continue(
    processes: str, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    if processes:
        request.getfixturevalue(processes)
    results = run_studies(["faulty:STUDY", "toy:STUDY"], workers=2, out="r")
    failed = {line.split("trial ")[1].split("-0-")[0]: line for line in results.failures}
    assert set(failed) == {"raises", "dies", "NaN", "no dict"}
    assert failed["raises"].startswith("study faulty, trial raises-0-")
    assert failed["raises"].endswith("ValueError: two lines [with markup]")
    assert "its process died 3 times" in failed["dies"]
    assert "ValueError" in failed["NaN"]
    assert failed["no dict"].endswith("TypeError: a trial returns a dict of values, got list")
    faulty, toy = results.studies
    assert len(faulty.outcomes) == 4
    assert toy.is_complete
    # Once or not with others, or twice if results before it were lost with a worker; then alone.
    times = range(3, 4) if processes else range(2, 5)
    assert started_trials().count("dies") in times
    assert started_trials().count("raises") <= 2
    printed = capfd.readouterr()
    assert "{}" not in printed.out
    assert all(f"clearhead: {line}\n" in printed.err for line in results.failures)
    log = [json.loads(line) for line in Path("r/log.jsonl").read_text().splitlines()]
    traces = [event["trace"] for event in log if event["event"] == "error"]
    assert any("in run" in trace for trace in traces)


@pytest.mark.usefixtures("toys")
def test_a_trial_whose_process_is_killed_is_measured_again_in_another() -> None:
    study = Path("faulty.py")
    others = '"raises", "dies", "dies once", "NaN", "no dict", "prints"'
    study.write_text(study.read_text().replace(others, '"dies once"'))
    results = run_studies(["faulty:STUDY"], workers=2, out="r")
    assert results.failures == ()
    found = {outcome.trial.condition: outcome.values for outcome in results.studies[0].outcomes}
    assert found == {name: {"score": 1.0} for name in ("fine", "dies once", "draws")}
    assert started_trials().count("dies once") == 2


@pytest.mark.slow
@pytest.mark.usefixtures("toys")
def test_trials_that_measure_time_run_alone_after_all_others() -> None:
    run_studies(["alone:STUDY", "toy:STUDY"], workers=2, out="r")
    lines = started_trials()
    first = lines.index("alone begins")
    assert first == TRIALS
    assert lines[first:] == ["alone begins", "alone ends"] * 8


@pytest.mark.slow
@pytest.mark.usefixtures("toys")
def test_another_first_seed_measures_other_trials_and_needs_another_folder() -> None:
    first = run_studies(["toy:STUDY"], workers=1, out="r")
    with pytest.raises(ConfigError, match=r"results with first seed 0, not 100"):
        run_studies(["toy:STUDY"], workers=1, out="r", first_seed=100)
    second = run_studies(["toy:STUDY"], workers=1, out="s", first_seed=100)
    seeds = {outcome.trial.seed for outcome in second.studies[0].outcomes}
    assert seeds == set(range(100, 108))
    assert first.studies[0].outcomes[0].values != second.studies[0].outcomes[0].values
    with pytest.raises(ConfigError, match=r"results with budget quick, not full"):
        run_studies(["toy:STUDY"], workers=1, out="r", budget="full")


@pytest.mark.slow
@pytest.mark.usefixtures("toys")
def test_results_of_another_version_or_commit_give_a_warning(
    capfd: pytest.CaptureFixture[str],
) -> None:
    run_studies(["toy:STUDY"], workers=1, out="r")
    path = Path("r/settings.json")
    settings = json.loads(path.read_text())
    settings["versions"] |= {"torch": "1.0", "commit": "abc"}
    path.write_text(json.dumps(settings))
    next(Path("r/toy").glob("with-*.json")).unlink()
    capfd.readouterr()
    assert run_studies(["toy:STUDY"], workers=1, out="r").studies[0].is_complete
    error = capfd.readouterr().err
    assert "earlier results in r were measured with torch 1.0, now" in error
    assert "commit abc, now" in error


@pytest.mark.slow
@pytest.mark.usefixtures("toys")
def test_restart_measures_everything_again() -> None:
    run_studies(["toy:STUDY"], workers=1, out="r")
    whole = records(Path("r"))
    run_studies(["toy:STUDY"], workers=1, out="r", restart=True)
    assert records(Path("r")) == whole
    assert len(started_trials()) == 2 * TRIALS


@pytest.mark.usefixtures("toys")
def test_a_folder_is_locked_against_a_second_run() -> None:
    from filelock import FileLock

    Path("r").mkdir()
    with FileLock("r/.lock"), pytest.raises(ConfigError, match="another process works in r"):
        run_studies(["toy:STUDY"], workers=1, out="r")


@pytest.mark.usefixtures("toys")
def test_invalid_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="workers must be at least 1, got 0"):
        run_studies(["toy:STUDY"], workers=0)
    with pytest.raises(ConfigError, match="runner must be one of"):
        run_studies(["toy:STUDY"], runner="dask")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="first_seed must be at least 0"):
        run_studies(["toy:STUDY"], first_seed=-1)
    with pytest.raises(ConfigError, match="there is no module 'nowhere'"):
        run_studies("nowhere:STUDY")
    with pytest.raises(ConfigError, match="toy has no seeds for the budget 'large'; it has quick"):
        run_studies(["toy:STUDY"], budget="large")  # type: ignore[arg-type]
    changed = "from dataclasses import replace\nimport toy\nSTUDY = replace(toy.STUDY"
    Path("again.py").write_text(f"{changed})")
    with pytest.raises(ConfigError, match="two of the studies have the name 'toy'"):
        run_studies(["toy:STUDY", "again:STUDY"])
    Path("empty.py").write_text(f"{changed}, grid=(), parts=())")
    with pytest.raises(ConfigError, match="study toy has no trials for the budget 'quick'"):
        run_studies(["empty:STUDY"])
    with pytest.raises(ConfigError, match="'toy:trials' is not a Study"):
        run_studies(["toy:trials"])
    with pytest.raises(ConfigError, match="there are no results in void"):
        read_results("void")


@pytest.mark.parametrize("processes", ["in_this_process", pytest.param("", marks=pytest.mark.slow)])
@pytest.mark.usefixtures("toys")
def test_values_do_not_depend_on_the_order_of_trials(
    processes: str, request: pytest.FixtureRequest
) -> None:
    """A study that draws from hidden random state: with two workers, and some trials by one."""
    if processes:
        request.getfixturevalue(processes)
    drawn = "random.random() + float(numpy.random.random()) + float(torch.rand(()))"
    source = Path("toy.py").read_text().replace("generator.gauss(level, 0.5)", drawn)
    Path("hidden.py").write_text(f"import numpy\nimport torch\n{source}", encoding="utf-8")
    run_studies(["hidden:STUDY"], workers=2, out="r")
    whole = records(Path("r"))
    for path in sorted(Path("r/toy").glob("w*.json"))[3:6]:
        path.unlink()
    run_studies(["hidden:STUDY"], workers=1, out="r")
    assert records(Path("r")) == whole
    assert len(started_trials()) == TRIALS + 3


@pytest.mark.parametrize(
    ("name", "content"),
    [("settings.json", b'{"budget"'), ("settings.json", b"[]"), ("toy/study.json", b"\xff")],
)
@pytest.mark.usefixtures("toys", "in_this_process")
def test_damaged_files_of_a_folder_are_named(name: str, content: bytes) -> None:
    run_studies(["toy:STUDY"], workers=1, out="r")
    with Path("r/log.jsonl").open("ab") as file:
        file.write(b'["no event"]\n{"event": "e')
    results = read_results("r")
    assert [x["event"] for x in results.log] == ["begin", *TRIALS * ["trial"], "end"]
    log(Path("r"), "interrupted")
    assert read_results("r").log[-1]["event"] == "interrupted"
    assert repr(results) == "Results('r', budget='quick', 1 studies)"
    path = Path("r", name)
    path.write_bytes(content)
    with pytest.raises(CorruptDataError, match=rf"^{path} is damaged \(.*; restore or remove it"):
        read_results("r")


@pytest.mark.usefixtures("toys", "in_this_process")
def test_studies_are_in_the_order_of_the_numbers_of_their_claims() -> None:
    for name, claim in (("a", "C10"), ("b", "own"), ("c", "C2")):
        changes = f"name={name!r}, claim={claim!r}, seeds={{'quick': 1}}"
        code = f"from dataclasses import replace\nimport toy\nSTUDY = replace(toy.STUDY, {changes})"
        Path(f"again_{name}.py").write_text(code)
    run_studies([f"again_{name}:STUDY" for name in "abc"], workers=1, out="r")
    assert [x.study.claim for x in read_results("r").studies] == ["C2", "C10", "own"]


def test_a_long_name_of_a_file_keeps_its_end() -> None:
    names = {file_name(f"{'condition ' * 50}-{seed}-0f3a") for seed in (1, 2)}
    assert len(names) == 2
    assert all(len(name) <= 120 and name.endswith("-0f3a") for name in names)
    assert file_name("../1/d_k of <b>") == "_1_d_k_of_b_"


@pytest.mark.usefixtures("toys")
def test_a_worker_finds_studies_in_the_folders_of_the_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path("elsewhere").absolute()
    folder.mkdir()
    Path("toy.py").rename(folder / "toy.py")
    monkeypatch.setattr(sys, "path", [x for x in sys.path if x not in ("", str(Path.cwd()))])
    trial = Trial(study="toy", condition="with", seed=0)
    assert "no module 'toy'" in measure(Task("toy:STUDY", trial)).facts["error"]
    found = measure(Task("toy:STUDY", trial), [str(folder)])
    assert found.values is not None
    assert found.facts["trainings"] == ["training 0"]


def test_only_the_warning_of_replaced_workers_is_silent() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with _loky():
            warnings.warn(
                "A worker stopped while some jobs were given to the executor.", stacklevel=1
            )
            warnings.warn("Another warning", stacklevel=1)
    assert [str(x.message) for x in shown] == ["Another warning"]
