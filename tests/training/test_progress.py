"""What a training says, and what it writes down."""

import json
from pathlib import Path

import pytest

from clearhead.training.progress import Reporter

RECORD = {"epoch": 2, "epochs": 5, "loss": 0.25, "accuracy": 0.875, "learning_rate": 0.01}


def test_an_epoch_is_a_line_to_people_and_a_line_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Reporter(tmp_path, total_steps=35, first_step=7) as reporter:
        reporter.step(8, 1, 5, 0.3)
        reporter.epoch(14, RECORD, 13)
    said = capsys.readouterr()
    assert said.out == ""
    assert "epoch   2/5" in said.err
    assert "87.50%" in said.err
    assert said.err.count("\n") == 1
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert RECORD.items() <= line.items()
    assert line["step"] == 14
    assert line["images_per_second"] > 0


def test_lines_of_steps_that_are_done_again_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 7}\n{"step": 14}\n{"step": 21}\n{"step": 2')
    with Reporter(tmp_path, total_steps=35, first_step=14):
        pass
    assert log.read_text() == '{"step": 7}\n{"step": 14}\n'


def test_a_silent_reporter_says_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Reporter(tmp_path / "none", total_steps=35, first_step=0, silent=True) as reporter:
        reporter.step(1, 0, 5, 0.3)
        reporter.epoch(7, RECORD, 13)
        reporter.say("hello")
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "none").exists()


def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Reporter(tmp_path, total_steps=35, first_step=0, tensorboard=True) as reporter:
        reporter.epoch(14, RECORD, 13)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Scalars("train/loss")[0].value == 0.25
    assert events.Scalars("train/accuracy")[0].step == 14
