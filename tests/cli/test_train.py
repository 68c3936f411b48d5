"""`clearhead train` as people type it."""

import signal
from pathlib import Path

import pytest
from PIL import Image

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
    assert "after step 1 of 12" in said
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
