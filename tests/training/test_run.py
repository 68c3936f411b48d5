"""`clearhead.train`: from a recipe and data to a folder with everything in it."""

import csv
import json
import random
import signal
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

import clearhead as ch
from clearhead.data import load_dataset, split_dataset
from clearhead.data.config import AugmentConfig
from clearhead.data.drawn import drawn_digits
from clearhead.errors import ConfigError, DataError, command_line_messages
from clearhead.inference import (
    certainty_of,
    fit_certainty,
    predict_probabilities,
    pronoun_scores,
)
from clearhead.models import CNNConfig, build
from clearhead.training import (
    TextTrainConfig,
    TrainConfig,
    TrainingState,
    calibrate,
    calibration,
    initial_model,
)
from clearhead.training._folder import TrainingFolder, duration
from clearhead.training.adaptation import _with_sizes, config_for_dataset

from .small_run import MODEL, small_config, small_dataset, small_training

METRICS = {"epoch": 2, "epochs": 5, "loss": 0.25, "accuracy": 0.875, "learning_rate": 0.01}


def test_a_training_leaves_model_metrics_log_and_picture(tmp_path: Path) -> None:
    trained = small_training(tmp_path, 1)
    assert trained.finished
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md",
        "checkpoints",
        "config.json",
        "predictions.png",
        "log.csv",
        "log.jsonl",
        "metrics.json",
        "model.safetensors",
        "run.json",
    }
    measured = ch.evaluate(ch.load(tmp_path), small_dataset(59))
    metrics = json.loads((tmp_path / "metrics.json").read_bytes())
    assert metrics["test"] == measured.to_dict() == trained.to_dict()["evaluation"]
    assert metrics["config"]["epochs"] == 1
    correct, (low, high) = measured.correct, measured.interval
    assert (
        f"**Accuracy**: {correct / 59:.2%} (95 % interval {low:.2%} – {high:.2%}), {correct} of 59 "
        "test images of small;"
    ) in (tmp_path / "README.md").read_text("utf-8")
    with Image.open(tmp_path / "predictions.png") as picture:
        assert picture.width > 1000
    accuracy = f"{measured.accuracy:.2%}"
    assert repr(trained) == f"TrainingResult('{tmp_path}', step 7 of 7, accuracy {accuracy})"
    assert len(json.dumps(trained.to_dict())) > 1000


def test_classes_and_pixel_statistics_are_those_of_the_training_images(tmp_path: Path) -> None:
    trained = small_training(tmp_path, 1)
    config = ch.load(tmp_path).config
    pixels = small_dataset().images.double() / 255
    assert config.mean[0] == pytest.approx(pixels.mean().item(), abs=1e-4)
    assert config.std[0] == pytest.approx(pixels.std().item(), abs=1e-4)
    assert config.class_names == ("a", "b", "c")
    assert trained.config.model == replace(config, doubtful_below=0.6)
    black = small_dataset()
    black.images.zero_()
    assert config_for_dataset(MODEL, black).std == (1e-4,)


def test_held_out_images_calibrate_the_probabilities_and_nothing_else(tmp_path: Path) -> None:
    used = replace(small_dataset(100), name="mnist")  # whose pixel statistics are the defaults
    kept, held_out = split_dataset(used, 0.3)
    options: dict[str, Any] = {"device": "cpu", "progress": False}
    test = small_dataset(59)
    config = small_config(2, label_smoothing=0.4)
    plain = ch.train(config, data=(kept, test), out=tmp_path / "plain", **options)
    trained = ch.train(config, data=(used, test), out=tmp_path / "own", holdout=0.3, **options)
    measured = json.loads((tmp_path / "own" / "metrics.json").read_bytes())["held_out"]
    assert measured["total"] == len(held_out)
    assert measured["nll"] < ch.evaluate(ch.load(tmp_path / "plain"), held_out).nll
    assert measured["nll"] == ch.evaluate(ch.load(tmp_path / "own"), held_out).nll
    for name, expected in plain.model.state_dict().items():
        factor = measured["temperature"] if name.startswith("head.") else 1.0
        assert torch.allclose(trained.model.state_dict()[name] * factor, expected), name
    assert trained.evaluation is not None
    assert plain.evaluation is not None
    assert trained.evaluation.confusion == plain.evaluation.confusion


@pytest.mark.parametrize(("images", "is_enough"), [(100, True), (99, False)])
def test_a_model_is_calibrated_on_its_validation_images_if_they_are_enough(
    images: int, is_enough: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (small_dataset(), small_dataset(59), small_dataset(images))
    ch.train(small_config(1), data=data, out=tmp_path, device="cpu")
    measured = json.loads((tmp_path / "metrics.json").read_bytes())
    assert ("held_out" in measured) == is_enough
    assert (ch.load(tmp_path).config.doubtful_below < 1) == is_enough
    assert ("too few images are held out" in capsys.readouterr().err) != is_enough


def test_predictions_are_doubtful_if_few_of_your_own_images_are_held_out(tmp_path: Path) -> None:
    data = small_dataset(), small_dataset(59)
    trained = ch.train(small_config(1, holdout=0.3), data=data, out=tmp_path, device="cpu")
    measured = json.loads((tmp_path / "metrics.json").read_bytes())["held_out"]
    assert measured["total"] < 100
    assert trained.model.config.doubtful_below == 1.0  # type: ignore[union-attr]


@pytest.mark.parametrize("digits", [False, True])
def test_calibration_flags_one_held_out_image_in_a_hundred_and_is_saved(
    digits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[torch.Tensor] = []

    def fit(features: torch.Tensor, targets: torch.Tensor) -> tuple[float, ...]:
        fitted.append(targets)
        return fit_certainty(features, targets)

    monkeypatch.setattr(calibration, "fit_certainty", fit)
    model, held_out = initial_model(small_config()).eval(), small_dataset(800)
    if digits:
        small = ch.ViTConfig(patch_size=14, embed_dim=4, num_heads=1, depth=1)
        model, held_out = build(small).eval(), drawn_digits(400)
    measured = calibrate(model, held_out)["held_out"]
    assert len(measured["certainty_weights"]) == (11 if digits else 0)
    if digits:  # held out, drawn, and without a digit
        drawn = drawn_digits(120, calibration.CALIBRATION_SEED)
        right = [
            predict_probabilities(model, x.images).argmax(dim=1) == x.labels
            for x in (held_out, drawn)
        ]
        assert torch.equal(fitted[0], torch.cat([*right, torch.zeros(400)]).double())
    model.save_pretrained(tmp_path)
    loaded = ch.load(tmp_path)
    probabilities = predict_probabilities(loaded, held_out.images)
    config = loaded.config
    certainty = certainty_of(
        probabilities, held_out.images, config.threshold_temperature, config.certainty_weights
    )
    for name, share in (("doubtful_below", 0.01), ("rejected_below", 0.0025)):
        threshold = getattr(loaded.config, name)
        assert threshold == measured[name]
        assert abs(int((certainty < threshold - 1e-9).sum()) - share * len(held_out)) <= 1


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Forty pictures of each of three shapes."""
    return draw_shapes(tmp_path, 40)


@pytest.fixture
def few_shapes(tmp_path: Path) -> Path:
    """Ten pictures of each."""
    return draw_shapes(tmp_path, 10)


def draw_shapes(folder: Path, count: int) -> Path:
    """Pictures of three shapes at random positions, sizes and intensities."""
    chance, out = random.Random(13), folder / "shapes"
    for name in ("bar", "disc", "lattice"):
        (out / name).mkdir(parents=True)
        for number in range(count):
            drawing = Image.new("L", (41, 43), chance.randint(0, 60))
            _draw(ImageDraw.Draw(drawing), name, chance)
            drawing.save(out / name / f"{number}.png")
    return out


def _draw(pen: ImageDraw.ImageDraw, name: str, chance: random.Random) -> None:
    x, y, size = chance.randint(14, 27), chance.randint(14, 27), chance.randint(8, 12)
    ink = chance.randint(150, 255)
    if name == "bar":
        pen.rectangle((x - size, y - 2, x + size, y + 2), fill=ink)
    elif name == "disc":
        pen.ellipse((x - size, y - size, x + size, y + size), fill=ink)
    else:
        for step in range(-size, size + 1, 6):
            pen.line((x + step, y - size, x + step, y + size), fill=ink, width=2)


@pytest.mark.slow
def test_a_recipe_learns_from_a_folder_of_a_hundred_images(shapes: Path, tmp_path: Path) -> None:
    trained = ch.train(
        "quick",
        data=shapes,
        out=tmp_path / "out",
        model=ch.ViTConfig(image_size=14, depth=1),
        augment=AugmentConfig(),
        compile=False,
    )
    assert (trained.config.batch_size, trained.config.epochs) == (12, 50)
    assert trained.evaluation is not None
    assert trained.evaluation.total == 24
    assert trained.evaluation.correct >= 15  # by chance 8; 15 or more once in 310
    assert ch.load(tmp_path / "out").config.class_names == ("bar", "disc", "lattice")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["tiny", "small"])
def test_recipes_for_other_images_learn_colour_images_of_32_pixels(
    recipe: str, shapes: Path, tmp_path: Path
) -> None:
    chance = random.Random(17)
    for path in sorted(shapes.rglob("*.png")):
        dark, light = (tuple(chance.randint(low, low + 100) for _ in range(3)) for low in (0, 155))
        with Image.open(path) as drawing:
            ImageOps.colorize(drawing.resize((32, 32)), dark, light).save(path)
    trained = ch.train(
        recipe, data=shapes, out=tmp_path / "out", compile=False, epochs=10, batch_size=8
    )
    config = ch.load(tmp_path / "out").config
    assert (config.image_size, config.in_channels) == (32, 3)
    assert trained.evaluation is not None
    assert trained.evaluation.correct >= 15  # of 24; by chance 8; 15 or more once in 310


def test_settings_that_are_given_are_not_adapted_to_few_images(
    few_shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {
        "epochs": 1,
        "batch_size": 512,
        "learning_rate": 0.001,
        "model": CNNConfig(widths=(3,)),
        "compile": False,
    }
    trained = ch.train("quick", data=few_shapes, out=tmp_path / "out", progress=False, **given)
    assert (trained.config.batch_size, trained.config.epochs) == (512, 1)
    assert trained.config.learning_rate == 0.001
    own = TrainConfig(**given, data=str(few_shapes))
    assert ch.train(own, out=tmp_path / "own", progress=False).total_steps == 1
    assert capsys.readouterr().err == ""


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("quik", {}, r"there is no recipe 'quik'; did you mean quick\?"),
        ("quick", {"epoch": 3}, r"there is no setting 'epoch'; did you mean epochs\?"),
        ("quick", {"epochs": 0}, "epochs must be an integer of at least 1"),
        ("digits_finish", {}, "digits_finish needs start: a saved model to start from"),
        ("quick", {"device": "gpu"}, "device must be"),
        ("sentences", {"data": "mnist"}, "leave out data and root"),
        (TextTrainConfig(), {"root": Path("x")}, "leave out data and root"),
        ("quick", {"model": 3}, "model must be an instance of clearhead.models.V"),
        ("quick", {"model": {"deptz": 1}}, r"no setting 'deptz'; did you mean depth\?"),
        ("sentences_causal", {"model": ch.ViTConfig()}, "an instance of clearhead.models.Text"),
        ("quick", {"data": 3}, "expected the name of a data set .* got int"),
        (3, {}, "the name of a recipe .quick, .* or a TrainConfig, got 3"),
    ],
)
def test_an_invalid_start_is_an_error_of_one_line_and_writes_nothing(
    recipe: Any, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        ch.train(recipe, out=tmp_path / "out", **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_a_string_or_a_path() -> None:
    with pytest.raises(ConfigError, match="out is the folder to write, a str or Path, got 3"):
        ch.train("quick", out=3)  # type: ignore[arg-type]


def test_signal_handlers_are_unchanged(tmp_path: Path) -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before, during = handlers(), []

    def stop() -> bool:
        during.append(handlers())
        return False

    small_training(tmp_path, 1, stop=stop)
    assert during == [before] * 7
    assert handlers() == before


def state_at(step: int, **settings: Any) -> TrainingState[ch.VisionTransformer]:
    model = ch.VisionTransformer(MODEL)
    return TrainingState(small_config(5, **settings), model, None, [], 35, step=step)


def test_each_epoch_is_one_line_on_stderr_and_one_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(TrainingFolder(tmp_path)) as run:
        run.on_start(state_at(0))
        run.on_step(state_at(8), 0.3)
        run.on_epoch(state_at(14), METRICS)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "epoch   2/5" in printed.err
    assert "87.50%" in printed.err
    assert printed.err.count("\n") == 1
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert METRICS.items() <= line.items()
    assert line["step"] == 14


def test_the_speed_is_that_of_the_steps_of_each_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 50.0
    monkeypatch.setattr("clearhead.training._folder.time.monotonic", lambda: now)
    with closing(TrainingFolder(tmp_path)) as run:
        run.on_start(state_at(6))
        for step in (20, 27):
            now += 2
            run.on_step(state_at(step), 0.3)
            now += 5  # validation
            run.on_epoch(state_at(step), METRICS)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [x["images_per_second"] for x in lines] == [13 * 14 / 2, 13 * 7 / 2]
    assert [x["seconds"] for x in lines] == [7, 14]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.4, "0:00:00"), (59.6, "0:01:00"), (119.4, "0:01:59"), (7380, "2:03:00")],
)
def test_durations_are_hours_minutes_and_seconds(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_the_time_left_counts_early_steps_by_their_share_and_not_the_first(
    tmp_path: Path,
) -> None:
    now = 100.0
    run = TrainingFolder(tmp_path)
    run.console.get_time = lambda: now
    half = {"early_patches": 0.5}  # of 35 steps, in the first 24
    run.on_start(state_at(4, **half))
    now += 60  # compilation
    run.on_step(state_at(5, **half), 0.3)
    assert run._left() == ""
    now += 3 * 0.5
    run.on_step(state_at(8, **half), 0.3)
    assert run._left() == f"{duration(16 * 0.5 + 11)} left"
    run.on_step(state_at(35, **half), 0.3)
    assert run._left() == "0:00:00 left"


def test_the_accuracy_on_validation_images_is_logged_after_each_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validation = small_dataset(37)
    data = small_dataset(), small_dataset(59), validation
    trained = ch.train(small_config(2), data=data, out=tmp_path, device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    expected = ch.evaluate(ch.load(tmp_path), validation)
    assert lines[-1]["validation_accuracy"] == expected.accuracy
    assert lines[-1]["validation_loss"] == pytest.approx(expected.nll)
    assert f"validation accuracy {expected.accuracy:.2%}" in capsys.readouterr().err
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [float(row["validation_loss"]) for row in rows] == [x["validation_loss"] for x in lines]
    plain = ch.train(small_config(2), data=data[:2], out=tmp_path / "plain", device="cpu")
    assert torch.equal(trained.model.head.weight, plain.model.head.weight)


def test_a_fifth_is_for_the_test_and_a_share_for_validation_where_there_are_no_others(
    tmp_path: Path,
) -> None:
    config = small_config(1, validation=0.25, batch_size=10)
    trained = ch.train(config, data=small_dataset(200), out=tmp_path, device="cpu")
    assert trained.evaluation is not None
    assert trained.evaluation.total == 40
    assert trained.total_steps == 11  # 119 of the other 160 are for training
    assert trained.config.data == "small"  # type: ignore[union-attr]
    # the validation images are a share of the training images, and not test images
    _, validation = split_dataset(load_dataset(small_dataset(200), "train"), 0.25, seed=1)
    expected = ch.evaluate(ch.load(tmp_path), validation)
    logged = json.loads((tmp_path / "log.jsonl").read_text())
    assert logged["validation_loss"] == pytest.approx(expected.nll)


def test_a_class_without_test_images_is_named_before_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = small_dataset(59)
    used = test.labels != 1
    test = replace(test, images=test.images[used], labels=test.labels[used])
    ch.train(small_config(1), data=(small_dataset(), test), out=tmp_path, device="cpu")
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == (
        "no test images of b: the accuracy says nothing about it; add some to the test split"
    )


@pytest.mark.parametrize("split", ["test", "val"])
def test_images_with_other_classes_than_those_of_the_training_are_refused(
    split: str, tmp_path: Path
) -> None:
    other = replace(small_dataset(59), class_names=("a", "c", "b"))
    data = {"train": small_dataset(), "test": small_dataset(59)} | {split: other}
    with pytest.raises(ConfigError, match="class 1 is 'b' in the model and 'c' in small"):
        ch.train(small_config(1), data=tuple(data.values()), out=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_download_reports_its_progress_to_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []

    def open_dataset(_: object, *, root: Path, progress: Any) -> None:
        progress(str(root), 5)
        raise DataError("interrupted")

    monkeypatch.setattr("clearhead.training.adaptation.open_dataset", open_dataset)
    for report in (None, lambda *arguments: seen.append(arguments)):
        with pytest.raises(DataError, match="interrupted"):
            ch.train("quick", out=tmp_path / "out", root=Path("files"), report=report)
    assert seen == [("files", 5)]


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "learning_rate": 1e36},
        {"start": "nowhere"},
        {"freeze": ("nothing.*",)},
        {"teachers": ("nowhere",)},
    ],
)
def test_a_failed_start_leaves_no_folder_behind(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises((ch.ClearheadError, ArithmeticError)):
        small_training(tmp_path / "new" / "out", 1, tensorboard=True, **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_after_a_checkpoint_keeps_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("clearhead.training._folder._write_csv", fail)
    monkeypatch.setattr("clearhead.training.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(OSError, match="full"):
        small_training(tmp_path / "out", 2)
    assert (tmp_path / "out" / "run.json").exists()


def test_a_training_from_before_a_setting_existed_is_continued(tmp_path: Path) -> None:
    small_training(tmp_path, 1)
    described = json.loads((tmp_path / "run.json").read_bytes())
    del described["config"]["freeze"]
    (tmp_path / "run.json").write_text(json.dumps(described))
    assert small_training(tmp_path, 1).finished


def test_log_lines_of_steps_that_are_repeated_are_dropped(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"step": 7}\n{"st\xff\n3\n{}\n{"step": 14}\n{"step": 21}\n{"step": 2')
    TrainingFolder(tmp_path).on_start(state_at(14))
    assert log.read_text() == '{"step": 7}\n{"step": 14}\n'


def test_only_rank_0_prints_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with closing(TrainingFolder(tmp_path / "none")) as run:
        run.on_start(state_at(0))
        run.on_step(state_at(1), 0.3)
        run.on_epoch(state_at(7), METRICS)
        run.on_message("hello")
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "none").exists()


def test_tensorboard_gets_the_same_metrics(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with closing(TrainingFolder(tmp_path, tensorboard=True)) as run:
        run.on_start(state_at(0))
        run.on_epoch(state_at(14), METRICS)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Scalars("train/loss")[0].value == 0.25
    assert events.Scalars("train/accuracy")[0].step == 14


def test_a_sentence_model_is_trained_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = partial(pronoun_scores, num_sets=20)
    monkeypatch.setattr("clearhead.training.results.pronoun_scores", few)
    model = ch.TextConfig(embed_dim=14, num_heads=7, depth=1, causal=True)
    causal = ch.train(
        "sentences_causal", out=tmp_path / "causal", model=model, texts=301, epochs=2, device="cpu"
    )
    assert causal.scores
    metrics = json.loads((tmp_path / "causal" / "metrics.json").read_text())
    assert [score.to_dict() for score in causal.scores] == metrics["all"]
    assert (metrics["test"]["pairs"], metrics["test"]["question"]) == ("unseen", "place")
    assert metrics["test"] in metrics["all"]
    assert metrics["test"]["accuracy"] == causal.accuracy
    assert set(json.loads((tmp_path / "causal" / "run.json").read_text())) == {"config", "texts"}
    first = ch.load(tmp_path / "causal")
    assert "hungry" in first.config.vocabulary

    settings = TextTrainConfig(
        model=ch.TextConfig(embed_dim=14, num_heads=7, depth=1),
        texts=301,
        epochs=1,
        start=str(tmp_path / "causal"),
        learning_rate=1e-12,
    )
    calls: list[int] = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) == 3

    stopped = ch.train(settings, out=tmp_path / "both", stop=stop)
    assert (stopped.finished, stopped.step, stopped.scores) == (False, 2, ())
    both = ch.train(settings, out=tmp_path / "both").model
    assert not both.config.causal  # type: ignore[union-attr]
    for name, tensor in both.state_dict().items():
        torch.testing.assert_close(tensor, first.state_dict()[name], rtol=0, atol=1e-9)


def test_neither_a_saved_model_nor_the_images_are_overwritten(
    tmp_path: Path, few_shapes: Path
) -> None:
    build(MODEL).save_pretrained(tmp_path / "model")
    saved = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="a saved model that was not trained there"):
        ch.train("quick", data=few_shapes, out=tmp_path / "model", epochs=1)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == saved
    for out in (few_shapes, few_shapes / "runs" / "a"):
        with pytest.raises(ConfigError, match="out is in the folder of the images"):
            ch.train("quick", data=few_shapes, out=out, epochs=1)


@pytest.mark.parametrize(("data", "average"), [("mnist", 0.999), ("own", 0.988)])
def test_the_average_of_the_weights_is_shorter_in_a_short_training_on_your_own_images(
    data: str, average: float
) -> None:
    config = TrainConfig(epochs=400, average=0.999, data=data)
    assert _with_sizes(config, 1, 2, {}, lambda _: None).average == average
    assert _with_sizes(config, 1, 2, {"average": 0.999}, lambda _: None).average == 0.999


def test_only_sizes_that_were_adapted_are_reported() -> None:
    messages: list[str] = []
    _with_sizes(TrainConfig(epochs=400), 1, 2, {}, messages.append)
    with command_line_messages():
        _with_sizes(TrainConfig(epochs=400), 24, 1, {}, messages.append)
    assert messages == [
        "1 image to train on and 2 to test on: batch_size=8 instead of 512; set it to change that",
        "24 images to train on and 1 to test on: --batch-size 8 instead of 512; set it to change "
        "that",
    ]
