import json
import re
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clearhead.cli.evaluate import trained_on
from clearhead.cli.main import main
from clearhead.cli.options import with_engine
from clearhead.cli.output import percent, percent_range
from clearhead.data import load_dataset
from clearhead.inference import evaluate
from clearhead.models import build, load
from clearhead.models.config import ViTConfig

NAMES = ("[red]ant", "bee", "cow")
PICTURES = {"train": 2, "test": 5}


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colour pictures of three classes, in train and test folders."""
    folder = tmp_path_factory.mktemp("animals")
    random = np.random.default_rng(0)
    for split, count in PICTURES.items():
        for name in NAMES:
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 256, (14, 21, 3), dtype=np.uint8)
                path = folder / split / name / f"{index}.png"
                Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    config = ViTConfig(
        image_size=(14, 21), in_channels=3, num_classes=3, mean=(0.5,), std=(0.3,),
        embed_dim=12, num_heads=3, depth=1,
    )  # fmt: skip
    torch.manual_seed(1)
    network = build(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    folder = tmp_path_factory.mktemp("model")
    network.save_pretrained(folder)
    return str(folder)


def call(model: str, data: Path, *options: str) -> int:
    return main(["evaluate", "--model", model, "--data", str(data), *options])


def test_json_is_the_evaluation_as_data(
    model: str, animals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(model, animals, "--json") == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    dataset = load_dataset(animals, "test", image_size=(14, 21), in_channels=3)
    expected = evaluate(load(model), dataset).to_dict()
    heading = {"model": model, "data": dataset.name, "split": "test"}
    assert shown.err == ""
    assert found["total"] == 15
    assert found == heading | expected


@pytest.mark.parametrize(
    ("content", "data"),
    [
        (b'{"config": {"data": "fashion-mnist"}}', "fashion-mnist"),
        (b'{"config": {}}', "mnist"),
        (b"[]", "mnist"),
        (b"{", "mnist"),
        (None, "mnist"),
    ],
)
def test_the_data_set_is_that_of_the_training_or_mnist(
    content: bytes | None, data: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    assert trained_on(tmp_path) == data


@pytest.mark.parametrize("engine", ["torch", "auto", "openvino"])
def test_the_engine_that_auto_has_chosen_is_printed(
    engine: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier: Any = object()
    ready = SimpleNamespace(choice=lambda: "the fastest")
    calls: list[object] = []

    def load_engine(*arguments: object, batch_size: int) -> Any:
        calls.append((*arguments, batch_size))
        return ready

    monkeypatch.setattr("clearhead.inference.load_engine", load_engine)
    found: object = with_engine(classifier, engine, batch_size=7)
    assert found is (classifier if engine == "torch" else ready)
    assert calls == ([] if engine == "torch" else [(classifier, engine, 7)])
    assert capsys.readouterr().err == ("clearhead: the fastest\n" if engine == "auto" else "")


@pytest.mark.unchecked
@pytest.mark.slow
def test_auto_prints_its_choice_and_any_engine_has_the_same_result(
    model: str,
    animals: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path))
    assert call(model, animals, "--json") == 0
    expected = json.loads(capsys.readouterr().out)
    assert call(model, animals, "--json", "--engine", "auto") == 0
    shown = capsys.readouterr()
    assert re.match(r"clearhead: engine (torch|onnxruntime|openvino), [\d.]+ × torch \(", shown.err)
    found = json.loads(shown.out)
    assert found["confusion"] == expected["confusion"]
    assert found["nll"] == pytest.approx(expected["nll"], rel=1e-4)


def test_the_split_is_the_chosen_one(
    model: str, animals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(model, animals, "--json", "--split", "train") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["split"], found["total"]) == ("train", 6)


def test_the_tables_show_the_numbers_of_the_json(
    model: str, animals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(model, animals, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert call(model, animals) == 0
    shown = capsys.readouterr()
    lines = [line.split() for line in shown.out.splitlines()]
    assert shown.err == ""
    accuracy = f"{100 * data['correct'] / 15:.2f}"
    assert ["accuracy", accuracy, "%", f"({data['correct']}", "of", "15)"] in lines
    low, high = (f"{100 * bound:.2f}" for bound in data["interval"])
    assert ["95", "%", "interval", low, "–", high, "%"] in lines
    assert f"calibration error {100 * data['ece']:.2f} % (ECE, 15 bins)".split() in lines
    for name, counts in zip(data["class_names"], data["confusion"], strict=True):
        assert [name, *(str(count) if count else "·" for count in counts)] in lines
        (row,) = [line for line in lines if line[:2] == [name, "5"] and len(line) > 5]
        assert row[2] == f"{100 * counts[data['class_names'].index(name)] / 5:.2f}"
        scores = data["per_class"][data["class_names"].index(name)]
        assert row[2:] == [
            *(percent(scores["recall"]), *percent_range(scores["recall_interval"]).split()),
            *(percent(scores["precision"]), *percent_range(scores["precision_interval"]).split()),
            percent(scores["f1"]),
        ]
    for part in filter(lambda part: part["count"], data["reliability"]):
        edges = percent_range((part["low"], part["high"])).split()
        means = [percent(part["confidence"]), percent(part["accuracy"])]
        assert [*edges, str(part["count"]), *means] in lines


def test_output_to_a_file_is_not_truncated(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    names = [f"{letter * 40} end" for letter in "abc"]
    for name in names:
        (tmp_path / name).mkdir()
        for index in range(5):
            Image.new("RGB", (21, 14)).save(tmp_path / name / f"{index}.png")
    assert call(model, tmp_path) == 0
    shown = capsys.readouterr().out
    assert all(shown.count(name) == 3 for name in names)
    assert "…" not in shown


def test_the_picture_is_drawn_and_the_result_still_shown(
    model: str, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out" / "animals.png"
    assert call(model, animals, "--json", "--picture", str(path)) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["total"] == 15
    assert shown.err == f"clearhead: wrote {path}\n"
    with Image.open(path) as picture:
        assert picture.format == "PNG"


def test_an_unsupported_picture_format_is_refused_before_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("nowhere", tmp_path, "--picture", str(tmp_path / "a.jpg")) == 2
    expected = f"clearhead: the picture is a PNG; name it {tmp_path / 'a.png'}\n"
    assert capsys.readouterr().err == expected


def test_many_classes_are_shown_as_their_most_frequent_confusions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    names = tuple(f"class{index:02}" for index in range(13))
    config = ViTConfig(num_classes=13, class_names=names, embed_dim=12, num_heads=3, depth=1)
    build(config).save_pretrained(tmp_path / "model")
    for place, name in enumerate(names):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(10 if place % 2 else 5):
            Image.new("L", (28, 28)).save(tmp_path / "data" / name / f"{index}.png")
    assert call(str(tmp_path / "model"), tmp_path / "data") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    start = lines.index(["true", "predicted", "images"])
    confusions = list(takewhile(bool, lines[start + 2 :]))
    # all images are alike, so all predictions are the same class
    (predicted,) = {predicted for _, predicted, _ in confusions}
    assert {true for true, _, _ in confusions} == set(names) - {predicted}
    counts = [int(count) for _, _, count in confusions]
    assert counts == sorted(counts, reverse=True)
    assert set(counts) == {1, 2}


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(0.99997, ">99.99"), (1.0, "100.00"), (0.99994, "99.99"), (3e-5, "<0.01"), (0.0, "0.00"),
     (None, "")],
)  # fmt: skip
def test_only_certainty_itself_is_shown_as_such(fraction: float | None, shown: str) -> None:
    assert percent(fraction) == shown
