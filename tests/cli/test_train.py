"""`clearhead train` as people type it."""

import json
import random
import re
import signal
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from clearhead.cli.main import main
from clearhead.training import loop
from clearhead.training.step import train_step

SMALL = [
    "--model.image-size",
    "6",
    "--model.patch-size",
    "3",
    "--model.embed-dim",
    "20",
    "--model.num-heads",
    "5",
    "--model.depth",
    "1",
    "--no-compile",
    "--epochs",
    "3",
    "--batch-size",
    "5",
    "--device",
    "cpu",
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(15):
            path = tmp_path / "pictures" / name / f"{number}.png"
            Image.new("L", (9, 11), level + number).save(path)
    return tmp_path / "pictures"


def command(pictures: Path, out: Path) -> list[str]:
    return ["train", "quick", "--data", str(pictures), "--out", str(out), *SMALL]


def test_a_folder_of_pictures_becomes_a_model_that_predicts(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(pictures, tmp_path / "out")) == 0
    said = capsys.readouterr()
    assert "accuracy 100.00 %, 95 % interval" in said.out
    assert "6 of 6 test images" in said.out
    assert "epoch   3/3" in said.err
    light = str(pictures / "light" / "3.png")
    assert main(["predict", light, "--model", str(tmp_path / "out"), "--json"]) == 0
    assert '"label": "light"' in capsys.readouterr().out


def test_an_interrupted_training_says_how_to_go_on_and_does(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted_step(*args: object, **options: object) -> float:
        signal.raise_signal(signal.SIGINT)
        return train_step(*args, **options)  # type: ignore[arg-type]

    typed = command(pictures, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted_step)
        patch.setattr("sys.argv", ["clearhead", *typed])
        assert main(typed) == 130
    said = capsys.readouterr().err
    assert f"go on with: clearhead train quick --data {pictures}" in said
    assert "stopping after this step; Ctrl-C again stops at once\n" in said
    assert "after step 1 of 12" in said
    light = str(pictures / "light" / "3.png")
    assert main(["predict", light, "--model", str(tmp_path / "out")]) == 1
    assert f"the training in {tmp_path / 'out'} is not finished" in capsys.readouterr().err
    assert main(typed) == 0


def test_a_training_that_is_done_only_tells_its_result_again(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(pictures, tmp_path / "out"))
    first = capsys.readouterr()
    assert main(command(pictures, tmp_path / "out")) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "epoch" not in again.err


def test_another_setting_in_the_same_folder_is_one_line_and_exit_1(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(pictures, tmp_path / "out"))
    capsys.readouterr()
    assert main([*command(pictures, tmp_path / "out"), "--seed", "5"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("clearhead: ")
    assert "config.seed" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["quick"], ["nope", "--out", "x"], ["quick", "--out", "x", "--epochs", "two"]]
)
def test_wrong_usage_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *arguments]) == 2
    assert capsys.readouterr().err


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Twenty pictures of each of three things, all of them elsewhere, some smaller and dimmer."""
    chance = random.Random(13)
    for name in ("bar", "disc", "lattice"):
        folder = tmp_path / "shapes" / name
        folder.mkdir(parents=True)
        for number in range(20):
            drawing = Image.new("L", (41, 43), chance.randint(0, 60))
            _draw(ImageDraw.Draw(drawing), name, chance)
            drawing.save(folder / f"{number}.png")
    return tmp_path / "shapes"


def _draw(pen: ImageDraw.ImageDraw, name: str, chance: random.Random) -> None:
    x, y, size = chance.randint(14, 27), chance.randint(14, 27), chance.randint(8, 12)
    ink = chance.randint(150, 255)
    if name == "bar":
        pen.rectangle((x - size, y - 2, x + size, y + 2), fill=ink)
    elif name == "disc":
        pen.ellipse((x - size, y - size, x + size, y + size), fill=ink)
    else:
        for place in range(-size, size + 1, 6):
            pen.line((x + place, y - size, x + place, y + size), fill=ink, width=2)


def test_a_few_dozen_pictures_are_enough_for_a_recipe_to_learn_from_them(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["train", "quick", "--data", str(shapes), "--out", str(tmp_path / "out")]
    typed += ["--no-compile", "--device", "cpu"]
    assert main(typed) == 0
    said = capsys.readouterr()
    assert (
        "clearhead: 48 images to train on: batches of 8 and 67 epochs, not 512 and 7; "
        "--batch-size and --epochs change that\n"
    ) in said.err
    measured = json.loads((tmp_path / "out" / "metrics.json").read_bytes())["test"]
    assert measured["total"] == 12
    assert measured["correct"] >= 9  # by chance 4; 9 or more once in 260
    kept = json.loads((tmp_path / "out" / "run.json").read_bytes())["config"]
    assert (kept["batch_size"], kept["epochs"]) == (8, 67)
    assert main(typed) == 0
    assert capsys.readouterr().out == said.out


def test_numbers_that_were_typed_are_taken_as_they_are(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(pictures, tmp_path / "out")) == 0
    assert "images to train on" not in capsys.readouterr().err
    kept = json.loads((tmp_path / "out" / "run.json").read_bytes())["config"]
    assert (kept["batch_size"], kept["epochs"]) == (5, 3)


@pytest.mark.parametrize("recipe", ["quick", "digits_finish", "sentences"])
def test_the_help_has_words_for_every_setting(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", recipe, "--help"]) == 0
    shown = " ".join(line.strip("│ ") for line in capsys.readouterr().out.splitlines())
    before = re.findall(r"(\S+) \((?:default|required)", shown)
    assert len(before) > 30
    assert [word for word in before if re.fullmatch(r"[A-Z]+|.*[\]}]|--.*", word)] == []
    assert "--compile, --no-compile " in shown


def test_a_recipe_that_goes_on_from_a_model_asks_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "digits_finish", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "--start" in said
    assert not (tmp_path / "out").exists()


def test_a_place_that_is_no_folder_is_one_line_that_names_it(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = pictures / "dark" / "0.png"
    content = photo.read_bytes()
    for more in ([], ["--restart"]):
        assert main([*command(pictures, photo), *more]) == 1
        assert capsys.readouterr().err == (
            f"clearhead: cannot write {photo}/run.json: {photo} is a file, not a folder; "
            "choose another folder\n"
        )
    assert photo.read_bytes() == content
