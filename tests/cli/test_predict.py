import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from clearhead.cli.main import main
from clearhead.cli.output import print_line, progress
from clearhead.cli.predict import job_progress
from clearhead.inference import Prediction, _jobs
from clearhead.models import build
from clearhead.models.config import CNNConfig


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Always predicts 7 with 90 %, and 1 with the rest."""
    network = build(CNNConfig(widths=(2,)))
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.fill_(-100)
        network.head.bias[7] = np.log(0.9)
        network.head.bias[1] = np.log(0.1)
    folder = tmp_path_factory.mktemp("model")
    network.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    image = Image.new("L", (40, 50), 255)
    image.save(folder / "a blank.png")
    ImageDraw.Draw(image).line([(10, 10), (30, 10), (18, 40)], fill=0, width=4)
    image.save(folder / "b.JPG", "JPEG")
    image.save(folder / "more" / "c.webp")
    image.save(folder / ".hidden.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def call(model: str, *arguments: str | Path) -> int:
    return main(["predict", *map(str, arguments), "--model", model])


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_has_one_line_for_each_picture(
    model: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(model, pictures / "b.JPG", pictures / "a blank.png", "--json") == 0
    output = capsys.readouterr()
    blank = Prediction(class_names=tuple("0123456789"), warnings=("no digit found",)).to_dict()
    seven = {
        "status": "confident",
        "label": "7",
        "probability": pytest.approx(0.9),
        "runner_up": "1",
        "runner_up_probability": pytest.approx(0.1),
        "probabilities": pytest.approx([0, 0.1, 0, 0, 0, 0, 0, 0.9, 0, 0]),
        "warnings": [],
    }
    first, second = lines(output.out)
    assert first["digits"] == [{key: first[key] for key in blank["digits"][0]}]
    first["digits"] = blank["digits"]
    assert first.pop("box") == pytest.approx([8, 8, 33, 43], abs=2)
    assert [first | {"box": None}, second] == [
        {"image": str(pictures / "b.JPG")} | blank | seven,
        {"image": str(pictures / "a blank.png")} | blank,
    ]
    assert output.err == ""


def test_a_folder_stands_for_all_pictures_in_it_sorted(
    model: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "more" / "film.mov").write_bytes(b"")
    assert call(model, pictures, "--json") == 0
    output = capsys.readouterr()
    found = [line["image"] for line in lines(output.out)]
    assert found == [str(pictures / name) for name in ("a blank.png", "b.JPG", "more/c.webp")]
    for line, name in zip(output.err.splitlines(), ("more/film.mov", "notes.txt"), strict=True):
        assert line.startswith(f"clearhead: {pictures / name}: left out")


def test_the_table_has_predictions_and_warnings(
    model: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(model, pictures) == 0
    rows = capsys.readouterr().out.splitlines()
    head, blank, *sevens = [re.split(r"  +", row) for row in rows]
    assert head == ["image", "status", "label", "label %", "runner-up", "runner-up %", "warnings"]
    assert blank == [str(pictures / "a blank.png"), "rejected", "–", "no digit found"]
    assert sevens[0] == [str(pictures / "b.JPG"), "confident", "7", "90.00", "1", "10.00"]
    for column in ("status", " label", "label %", "runner-up %"):
        place = rows[0].index(column)
        assert [row[place] for row in rows[2:]] == [rows[2][place]] * 2


def test_several_digits_are_one_row_unless_single_is_set(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Image.new("L", (240, 90), 255)
    for left, top in ((10, 10), (90, 14), (170, 18)):
        ImageDraw.Draw(page).line([(left, top), (left + 40, top + 3), (left + 15, 70)], 0, width=7)
    page.save(tmp_path / "page.png")
    assert call(model, tmp_path / "page.png") == 0
    cells = re.split(r"  +", capsys.readouterr().out.splitlines()[1])
    assert cells[1:] == ["confident", "777", "72.90", "177", "8.10"]
    assert call(model, tmp_path / "page.png", "--json") == 0
    (row,) = lines(capsys.readouterr().out)
    assert (row["label"], row["probabilities"]) == ("777", [])
    digits: Any = row["digits"]
    assert [digit["label"] for digit in digits] == ["7", "7", "7"]
    assert [digit["box"][0] for digit in digits] == pytest.approx([10, 90, 170], abs=4)
    assert all(len(digit["probabilities"]) == 10 for digit in digits)
    assert call(model, tmp_path / "page.png", "--single", "--json") == 0
    (row,) = lines(capsys.readouterr().out)
    assert (row["label"], row["status"]) == ("7", "doubtful")
    assert row.pop("digits") == [{key: row[key] for key in row if key != "image"}]


def test_a_row_is_printed_before_the_next_picture_is_read(
    model: str,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            printed.append(capsys.readouterr().out)
            return super().read(size)

    printed: list[str] = []
    data = Slow((pictures / "b.JPG").read_bytes())
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=data))
    assert call(model, pictures / "b.JPG", "-") == 0
    assert len(printed[0].splitlines()) == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_the_progress_on_stderr(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(stderr, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    with progress() as show:
        for number in range(3):
            print_line(f"row {number}")
            show(number + 1, 3)
    assert ("3/3" in stderr.getvalue()) == terminal
    assert capsys.readouterr().out.splitlines() == ["row 0", "row 1", "row 2"]


def test_one_unreadable_file_does_not_stop_the_others(
    model: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = pictures / "[b]ad.png"
    bad.write_bytes((pictures / "a blank.png").read_bytes()[:-30])
    names = [bad, pictures / "b.JPG", pictures / "missing.png"]
    assert call(model, *names, "--json") == 1
    output = capsys.readouterr()
    first, second, third = lines(output.out)
    assert (first["image"], second["label"], third["image"]) == (str(bad), "7", str(names[2]))
    assert set(first) == set(third) == {"image", "error"}
    assert "damaged or truncated" in str(first["error"])
    assert output.err.splitlines() == [
        f"clearhead: {bad}: {first['error']}",
        f"clearhead: {names[2]}: {third['error']}",
    ]
    assert call(model, *names) == 1
    output = capsys.readouterr()
    assert str(bad) not in output.out  # it is reported once, on stderr
    assert "90.00" in output.out
    assert output.err.count("\n") == 2


def test_a_folder_without_pictures_is_an_error(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(model, tmp_path, "--json") == 1
    output = capsys.readouterr()
    assert "no pictures" in output.err
    assert lines(output.out)[0].keys() == {"image", "error"}


def test_a_dash_is_a_picture_on_stdin(
    model: str,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = io.BytesIO((pictures / "b.JPG").read_bytes())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))
    assert call(model, "-", "--json") == 0
    (line,) = lines(capsys.readouterr().out)
    assert (line["image"], line["label"]) == ("-", "7")


def test_more_pictures_than_fit_in_one_batch_come_in_order(
    model: str, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [pictures / "b.JPG", pictures / "a blank.png", pictures / "no.png"] * 47
    assert call(model, *names, "--json") == 1
    assert [line["image"] for line in lines(capsys.readouterr().out)] == [str(n) for n in names]


def test_a_missing_model_fails_before_any_picture_is_read(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(str(tmp_path / "none"), pictures) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("clearhead: ")
    assert output.err.count("\n") == 1


def test_a_missing_package_is_found_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clearhead.errors.find_spec", lambda name: None)
    out = tmp_path / "out.parquet"
    assert call(str(tmp_path / "none"), tmp_path, "--out", out) == 2
    assert "pip install pyarrow" in capsys.readouterr().err


def test_out_writes_a_row_for_each_picture_and_the_summary(
    model: str,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(_jobs, "run", lambda units, rows_of, *_: map(rows_of, units))
    out = tmp_path / "answers.jsonl"
    assert call(model, pictures, "--out", out) == 0
    output = capsys.readouterr()
    assert output.out == f"{out}: 3 rows, 0 with an error\n"
    assert "1 × .txt" in output.err
    written = lines(out.read_text())
    assert call(model, pictures, "--json") == 0
    assert lines(capsys.readouterr().out) == written
    assert call(model, pictures, "missing.png", "--out", out, "--restart", "--json") == 1
    output = capsys.readouterr()
    assert json.loads(output.out) == {"out": str(out), "rows": 4, "errors": 1}
    assert call(model, pictures, "--out", out) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["https://host/a.png"], "https://host/a.png is an address; download the picture"),
        (["--restart"], "need --out"),
        (["--runner", "ray"], "need --out"),
        (["--out", "a.txt"], ".jsonl, .csv, .parquet"),
        (["-", "--out", "a.csv"], "stdin"),
        (["--workers", "0", "--out", "a.csv"], "at least 1"),
        (["--image-column", "x"], "--image-column x is for Parquet files, and none was given"),
        (["--image-column", "x", "--out", "a.csv"], "--image-column x is for Parquet files"),
    ],
)
def test_options_that_do_not_fit_are_named(
    model: str, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(model, "a.png", *options) == 2
    assert message in capsys.readouterr().err


def test_single_is_for_models_of_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = CNNConfig(widths=(2,), num_classes=2, class_names=("cat", "dog"))
    build(config).save_pretrained(tmp_path / "pets")
    assert call(str(tmp_path / "pets"), "a.png", "--single") == 2
    assert "--single is for models of digits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("counts", "total", "line"),
    [
        ((1000, 1500, 2000, 7000), 9000, "2,000 of 9,000 pictures, 83/s, 0:01:24 left"),
        ((1, 2, 4, 5), 40, "4 of 40 pictures, 0.2/s, 0:02:24 left"),
    ],
)
def test_without_a_terminal_a_job_prints_lines_with_rate_and_time_left(
    counts: tuple[int, ...],
    total: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with job_progress() as show:
        for done in counts:
            show(done, total)
            now[0] += 6.0
    assert capsys.readouterr().err == f"clearhead: {line}\n"
