import io
import json
import os
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

import clearhead as ch
from clearhead.cli.main import main
from clearhead.insight.plots import new_figure
from clearhead.models import ViTConfig, build


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    model = build(ViTConfig(depth=5, embed_dim=12, num_heads=2, patch_size=14))
    with torch.no_grad():
        model.head.bias[7] = 9.0
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A seven, a blank sheet and a text file; the current folder is another one, beside a model."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    image = Image.new("L", (40, 50), 255)
    image.save(folder / "more" / "seven.png")
    ImageDraw.Draw(image).line([(10, 10), (30, 10), (18, 40)], fill=0, width=4)
    image.save(folder / "seven.png")
    (folder / "notes.txt").write_text("no picture")
    (tmp_path / "model").symlink_to(model)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return folder


def call(*arguments: str | Path) -> int:
    return main(["explain", "--model", "../model", *map(str, arguments)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_page_is_written_here_and_the_prediction_printed(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(pictures / "seven.png") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    title, prediction, wrote = shown.out.splitlines()
    predicted = ch.predict(ch.load("../model"), pictures / "seven.png")
    assert title == str(pictures / "seven.png")
    assert prediction.split() == [
        *("prediction", f"{predicted.label},", f"{100 * predicted.probability:.2f}", "%,"),
        f"{predicted.status};",
        *("then", f"{predicted.runner_up},", f"{100 * predicted.runner_up_probability:.2f}", "%"),
    ]
    assert wrote.split() == ["wrote", "seven-explained.html"]
    assert names(Path.cwd()) == ["seven-explained.html"]


def test_out_names_the_page_and_the_files_beside_it(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clearhead.explanation.figures.picture_figure", lambda _: new_figure(1, 1))
    options = ("--out", "a/report.html", "--csv", "--json", "--svg", "--png", "--layers", "5")
    assert call(pictures / "seven.png", *options) == 0
    files = [f"report.{suffix}" for suffix in ("html", "png", "svg", "json", "csv")]
    assert names(Path("a")) == sorted(files)
    (line,) = capsys.readouterr().out.splitlines()
    row = json.loads(line)
    assert row["files"] == [f"a/{file}" for file in files]
    data = json.loads(Path("a/report.json").read_text())
    assert (row["label"], row["probability"]) == (data["label"], data["probability"])
    assert [layer["name"] for layer in data["layers"]] == ["blocks.4.attn"]


def test_each_picture_gets_a_page_and_an_unreadable_one_fails_alone(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(pictures / "notes.txt", pictures, "nowhere.png", "--out", "pages", "--json") == 1
    assert names(Path("pages")) == [
        f"{stem}-explained.{x}" for stem in ("seven-2", "seven") for x in ("html", "json")
    ]
    shown = capsys.readouterr()
    rows = [json.loads(line) for line in shown.out.splitlines()]
    given = ["notes.txt", "more/seven.png", "seven.png"]
    assert [row["image"] for row in rows] == [*(str(pictures / x) for x in given), "nowhere.png"]
    assert [set(row) == {"image", "error"} for row in rows] == [True, False, False, True]
    assert rows[1]["warnings"] == ["no digit found"]
    assert rows[2]["files"] == [f"pages/seven-2-explained.{x}" for x in ("html", "json")]
    left_out, *errors = shown.err.splitlines()
    assert "notes.txt: left out" in left_out
    assert errors == [f"clearhead: {row['image']}: {row['error']}" for row in (rows[0], rows[3])]


def test_several_pictures_add_their_names_to_the_page(pictures: Path) -> None:
    assert call(pictures, "--out", "report.html") == 0
    assert names(Path.cwd()) == ["report-seven-2.html", "report-seven.html"]


@pytest.mark.slow
def test_each_of_several_digits_gets_a_page(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seven, two = Image.open(pictures / "seven.png"), Image.new("L", (80, 50), 255)
    two.paste(seven, (0, 0))
    two.paste(seven, (40, 0))
    two.save(pictures / "more" / "two.png")
    (pictures / "more" / "seven.png").unlink()
    for _ in range(2):  # the second time with the figures of the first among the pictures
        assert call(pictures / "more", "--png", "--json", "--out", pictures / "more") == 0
    files = [f"two-explained-digit-{n}.{x}" for n in (1, 2) for x in ("html", "png", "json")]
    assert names(pictures / "more") == sorted([*files, "two.png"])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == second
    assert first["label"] == "77"
    assert [Path(x).name for x in first["files"]] == files
    two.save(pictures / "two-digit-1.png")
    assert call(pictures / "two-digit-1.png", pictures / "more/two.png", "--out", "x.html") == 2
    assert "x-two-digit-1.html would be overwritten" in capsys.readouterr().err
    assert names(Path.cwd()) == []


def test_pictures_are_given_as_for_predict(pictures: Path) -> None:
    with tarfile.open(pictures / "shard.tar", "w") as shard:
        shard.add(pictures / "seven.png", "first.png")
    assert call(pictures / "sev*.png", pictures / "shard.tar", "--out", "pages") == 0
    assert names(Path("pages")) == ["first-explained.html", "seven-explained.html"]


def test_the_column_of_pictures_in_a_parquet_file_can_be_named(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    picture = (pictures / "seven.png").read_bytes()
    table = pa.table({"front": [picture], "back": [picture]})
    pq.write_table(table, pictures / "cards.parquet")
    assert call(pictures / "cards.parquet") == 2
    assert "front, back" in capsys.readouterr().err
    assert call(pictures / "cards.parquet", "--image-column", "back") == 0
    assert names(Path.cwd()) == ["cards-explained.html"]


def test_a_dash_is_a_picture_on_stdin(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = io.BytesIO((pictures / "seven.png").read_bytes())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))
    assert call("-") == 0
    assert names(Path.cwd()) == ["stdin-explained.html"]
    assert capsys.readouterr().out.startswith("-\n")


def test_a_picture_may_have_a_name_that_is_not_utf_8(pictures: Path) -> None:
    data = (pictures / "seven.png").read_bytes()
    name = os.fsdecode(b"\xff.png")
    Path(name).write_bytes(data)
    assert call(name, "--json", "--csv", "--out", "x.html") == 0
    assert "?.png" in Path("x.html").read_text("utf-8")


def test_layers_are_numbers_from_one_names_and_patterns(pictures: Path) -> None:
    layers = ("--layers", "1,-2", "blocks.2.*")
    assert call(pictures / "seven.png", *layers, "--json", "--out", "x.html") == 0
    kept = [layer["name"] for layer in json.loads(Path("x.json").read_text())["layers"]]
    assert kept == ["blocks.0.attn", "blocks.2.attn", "blocks.3.attn"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "head*"], "there is no layer 'head*' among the 5: blocks.0.attn"),
        (["--layers", "--1"], "there is no layer '--1' among the 5: blocks.0.attn"),
        (["--layers", "²"], "there is no layer '²' among the 5: blocks.0.attn"),
        (["--layers", "9" * 5000], "there is no layer '999"),
        (["--out", "x.pdf"], "--out names an HTML file or a folder, got 'x.pdf'"),
        (["--model", "hf:"], "hf: names no model"),
        (["--model", "sentences"], "../pictures/seven.png is a file, expected a text; for"),
        (["--word", "it"], "--word and --head are for texts"),
        (["--image-column", "x"], "--image-column x is for Parquet files, and none was given"),
        (["--image-column", "x", "--model", "sentences"], "--image-column is for pictures"),
        (["--model", "nowhere"], "no model at 'nowhere'"),
    ],
)
def test_errors_are_one_line(
    pictures: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("../pictures/seven.png", *options) in (1, 2)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"clearhead: {message}")
    assert shown.err.count("\n") == 1
    assert names(Path.cwd()) == []


def test_without_a_picture_the_error_says_what_is_expected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in ("explain", "predict"):
        assert main([command]) == 2
        assert capsys.readouterr().err.startswith("clearhead: expected a picture file, a folder")


def test_a_picture_is_never_overwritten(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (pictures / "seven.png").read_bytes()
    assert call(pictures / "seven.png", "--png", "--out", pictures / "seven.html") == 2
    assert "would be overwritten; give another --out" in capsys.readouterr().err
    assert (pictures / "seven.png").read_bytes() == before
    assert not (pictures / "seven.html").exists()
