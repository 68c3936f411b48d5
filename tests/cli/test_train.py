"""The command `clearhead train`."""

import json
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import clearhead as ch
from clearhead.cli.main import main
from clearhead.inference import NOT_CALIBRATED, PronounScore
from clearhead.training import loop
from clearhead.training.loop import train_step

SMALL = (
    "--model.image-size 6 --model.patch-size 3 --model.embed-dim 20 --model.num-heads 5 "
    "--model.depth 1 --no-compile --epochs 3 --batch-size 5 --device cpu"
).split()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name, level in (("dark", 40), ("light", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(15):
            path = tmp_path / "pictures" / name / f"{number}.png"
            Image.new("L", (9, 11), level + number).save(path)
    return tmp_path / "pictures"


@pytest.fixture(autouse=True)
def _picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these trainings; `tests/training` tests it."""
    monkeypatch.setattr("clearhead.training.results.save_evaluation_plot", lambda *_: None)


def command(pictures: Path, out: Path) -> list[str]:
    return ["train", "quick", "--data", str(pictures), "--out", str(out), *SMALL]


def test_a_folder_of_pictures_becomes_a_model_that_predicts(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(pictures, tmp_path / "out")) == 0
    first = capsys.readouterr()
    assert "accuracy 100.00 %, 95 % interval" in first.out
    assert "6 of 6 test images" in first.out
    assert "epoch   3/3" in first.err
    line = "24 images to train on and 6 to test on: --average 0.583 instead of 0.98; set it to"
    assert line in first.err
    config = json.loads((tmp_path / "out" / "run.json").read_bytes())["config"]
    assert (config["batch_size"], config["epochs"]) == (5, 3)
    light = str(pictures / "light" / "3.png")
    assert main(["predict", light, "--model", str(tmp_path / "out"), "--json"]) == 0
    assert '"label": "light"' in capsys.readouterr().out

    assert main(command(pictures, tmp_path / "out")) == 0  # a finished training: its result again
    again = capsys.readouterr()
    assert again.out == first.out
    assert "epoch" not in again.err

    assert main([*command(pictures, tmp_path / "out"), "--seed", "5"]) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("clearhead: ")
    assert "(--seed); choose another --out, or --restart to" in error


@pytest.mark.unchecked
def test_after_a_training_on_few_pictures_every_prediction_is_doubtful_with_the_reason(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    small = "--model.depth 1 --model.embed-dim 12 --model.num-heads 2 --epochs 12 --device cpu"
    assert main(["train", "tiny", "--data", str(pictures), "--out", out, *small.split()]) == 0
    error = capsys.readouterr().err
    assert "a tenth of the training images is held out for validation" in error
    assert "too few images are held out to calibrate the probabilities (100 are needed)" in error
    light = pictures / "light" / "3.png"
    assert main(["predict", str(light), "--model", out]) == 0
    row = re.split(r"  +", capsys.readouterr().out.splitlines()[1])
    assert (row[1], row[2], row[-1]) == ("doubtful", "light", NOT_CALIBRATED)
    predicted = ch.predict(ch.load(out), light)
    assert (predicted.status, predicted.warnings) == ("doubtful", (NOT_CALIBRATED,))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_training_that_the_same_command_continues(
    number: int,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted_step(*args: Any, **options: Any) -> float:
        signal.raise_signal(number)
        return train_step(*args, **options)

    arguments = command(pictures, tmp_path / "out")
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted_step)
        patch.setattr("sys.argv", ["clearhead", *arguments])
        assert main(arguments) == 130
    assert signal.getsignal(number) is before
    error = capsys.readouterr().err
    assert f"continue with: clearhead train quick --data {pictures}" in error
    assert "stopping after this step; Ctrl-C again stops at once\n" in error
    assert "after step 1 of 12" in error
    light = str(pictures / "light" / "3.png")
    assert main(["predict", light, "--model", str(tmp_path / "out")]) == 1
    assert f"the training in {tmp_path / 'out'} is not finished" in capsys.readouterr().err
    assert main(arguments) == 0


def test_a_training_on_sentences_prints_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    score = PronounScore(
        pairs="unseen", question="noun", total=8, correct=6, accuracy=0.75, top1_accuracy=0.625,
        set_accuracy=0.5,
    )  # fmt: skip
    trained = SimpleNamespace(finished=True, evaluation=None, scores=(score,))
    monkeypatch.setattr("clearhead.train", lambda *_, **__: trained)
    assert main(["train", "sentences", "--out", str(tmp_path / "out")]) == 0
    lines = [re.split(r"  +", line.strip()) for line in capsys.readouterr().out.splitlines()]
    head = ["nouns", "question", "of two nouns", "of counterbalanced sets", "of all words"]
    assert head in lines
    assert ["not paired in training", "noun", "75.00", "50.00", "62.50"] in lines


def test_the_bar_of_a_training_replaces_that_of_the_data_set(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # to rich, stderr is then a terminal
    assert main(command(pictures, tmp_path / "out")) == 0
    before, bar, after = capsys.readouterr().err.partition("starting")
    assert "looking for the data set" in before
    assert bar
    assert "looking for the data set" not in after


def test_a_second_ctrl_c_stops_at_once(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted_step(*args: object, **options: object) -> float:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    monkeypatch.setattr(loop, "train_step", interrupted_step)
    assert main(command(pictures, tmp_path / "out")) == 130


@pytest.mark.parametrize(
    ("options", "remark"),
    [
        (
            "quick --optimizer adamw --matrix-learning-rate 1",
            "--matrix-learning-rate has no effect; it needs --optimizer muon",
        ),
        (
            "quick --distill-temperature 2",
            "--distill-temperature has no effect; it needs --teachers",
        ),
        (
            "quick --label-smoothing 0.3 --teachers digits",
            "--label-smoothing has no effect; it needs a training run without --teachers",
        ),
        (
            "sentences_causal --mask-prob 0.5",
            "--mask-prob has no effect; it needs a bidirectional model",
        ),
        (
            "tiny --data x --model.num-classes 5",
            "--model.num-classes has no effect; it is taken from the images",
        ),
        ("quick --matrix-learning-rate 1", ""),
        ("digits_distil --start digits --label-smoothing 0.3", ""),  # for drawn digits
    ],
)
def test_a_setting_without_effect_is_named(
    options: str,
    remark: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clearhead.train", stop)
    assert main(["train", *options.split(), "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == (f"clearhead: {remark}\n" if remark else "")


def test_only_settings_that_were_typed_are_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(recipe: str, **settings: Any) -> None:
        calls.append((recipe, settings))
        raise KeyboardInterrupt

    calls: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("clearhead.train", kept)
    main(["train", "quick", "--out", str(tmp_path), "--batch-size", "512", "--augment.shift", "1"])
    main(["train", "digits_finish", "--out", str(tmp_path), "--start", "runs/digits"])
    (first, settings), (second, required) = calls
    common = {"out", "root", "device", "restart", "tensorboard", "stop", "report"}
    assert (first, second) == ("quick", "digits_finish")
    assert settings.keys() - common == {"batch_size", "augment"}
    assert settings["batch_size"] == 512
    assert (settings["augment"].shift, settings["augment"].rotate) == (1.0, 5)
    assert required.keys() - common == {"start"}


@pytest.mark.parametrize("option", ["epochs", "batch_size", "warmup"])
@pytest.mark.parametrize("recipe", ["quick", "sentences"])
def test_a_setting_out_of_range_is_an_error_of_one_line(
    recipe: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"--{option.replace('_', '-')}", "-1"]
    assert main(["train", recipe, "--out", str(tmp_path / "out"), *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"clearhead: {option} must be ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("recipe", ["quick", "digits_finish", "sentences"])
def test_the_help_describes_every_setting(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", recipe, "--help"]) == 0
    shown = " ".join(line.strip("│ ") for line in capsys.readouterr().out.splitlines())
    before = re.findall(r"(\S+) \((?:default|required)", shown)
    assert len(before) > 25
    assert [word for word in before if re.fullmatch(r"[A-Z]+|.*[\]}]|--.*", word)] == []
    assert "--compile, --no-compile " in shown
    if recipe == "quick":
        assert "(default: 5, more for few images)" in shown


def test_a_recipe_that_starts_from_a_model_requires_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "digits_finish", "--out", str(tmp_path / "out")]) == 2
    assert "--start MODEL" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [[], ["--restart"]])
def test_an_out_that_is_a_file_is_an_error_that_names_it(
    more: list[str], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(content := (pictures / "dark" / "0.png").read_bytes())
    assert main([*command(pictures, photo), *more]) == 1
    assert capsys.readouterr().err.endswith(
        f"clearhead: cannot write {photo}: {photo} is a file, not a folder; choose another folder\n"
    )
    assert photo.read_bytes() == content
