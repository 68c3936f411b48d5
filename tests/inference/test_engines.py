"""Engines: the same logits as torch's, a choice by speed, and errors in one line."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import clearhead as ch
from clearhead.data import ImageDataset
from clearhead.errors import ConfigError, InputError
from clearhead.inference import EngineModel, _engines, load_engine, predict_to_file
from clearhead.inference._graph import example_images
from clearhead.models import CNNConfig, ImageModelConfig, ViTConfig, build
from clearhead.models.pretrained import ImageModel
from tests.marks import slow_after

pytestmark = pytest.mark.unchecked

SMALL = ViTConfig(image_size=(6, 9), patch_size=3, embed_dim=8, depth=1, num_heads=2, num_classes=3)
OTHERS = (
    ViTConfig(
        image_size=(6, 9), patch_size=3, in_channels=2, mean=(0.1, 0.3), embed_dim=8, depth=2,
        num_heads=2, pool="class", num_registers=1, patch_overlap=1, attention_scale="learned",
    ),
    ViTConfig(image_size=(66, 3), patch_size=(1, 3), embed_dim=4, depth=1, num_heads=1),
    CNNConfig(image_size=6, widths=(2, 3)),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path_factory.getbasetemp() / "engines"))


def random_model(config: ImageModelConfig = SMALL) -> ImageModel:
    torch.manual_seed(0)
    return build(config).eval()


@pytest.mark.parametrize(
    "config", [SMALL, *(pytest.param(config, marks=pytest.mark.slow) for config in OTHERS)]
)
@pytest.mark.parametrize("name", slow_after(2, ["torch", "onnxruntime", "openvino"]))
def test_an_engine_returns_the_logits_of_the_model_for_any_batch_size(
    name: Any, config: Any
) -> None:
    model = random_model(config)
    engine = load_engine(model, name)
    for size in (1, 2, 7, 64):
        images = example_images(model, size)
        with torch.no_grad():
            torch.testing.assert_close(engine(images), model(images), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_library_returns_the_logits_of_the_model_for_any_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path))  # "auto" uses what it finds there
    model = random_model()
    engine = load_engine(model, "compile")
    for size in (1, 2, 7, 64, 133):
        images = example_images(model, size)
        with torch.no_grad():
            torch.testing.assert_close(engine(images), model(images), rtol=1e-5, atol=1e-5)


def test_predictions_and_evaluations_are_the_same_with_an_engine() -> None:
    model = random_model()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (11, 1, 6, 9), dtype=torch.uint8, generator=generator)
    dataset = ImageDataset("noise", images, torch.arange(11) % 3, ("0", "1", "2"))
    expected = ch.evaluate(model, dataset)
    for evaluation in (
        ch.evaluate(model, dataset, engine="onnxruntime"),
        ch.evaluate(load_engine(model, "onnxruntime"), dataset),
    ):
        assert evaluation.confusion == expected.confusion
        assert evaluation.nll == pytest.approx(expected.nll, abs=1e-5)
    pictures = list(images)
    with_engine = ch.predict(model, pictures, engine="onnxruntime")
    for one, other in zip(with_engine, ch.predict(model, pictures), strict=True):
        assert one.label == other.label
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)


def test_the_rows_of_a_job_are_the_same_with_an_engine(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for index in range(3):
        pixels = generator.integers(0, 256, (6, 9), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    rows = []
    for name in ("torch", "onnxruntime"):
        out = tmp_path / f"{name}.jsonl"
        predict_to_file(
            random_model(), [str(tmp_path / "*.png")], out, engine=cast(Any, name), num_workers=0
        )
        rows.append([json.loads(line) for line in out.read_text().splitlines()])
    assert [row["image"] for row in rows[0]] == [row["image"] for row in rows[1]]
    for one, other in zip(*rows, strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


@pytest.mark.slow
def test_an_engine_needs_no_cache_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path / "file"))
    assert load_engine(random_model(), "onnxruntime").name == "onnxruntime"


def test_another_model_or_build_has_another_file_in_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = random_model()
    before = _engines._cached(model, ".onnx")
    assert _engines._cached(random_model(), ".onnx") == before
    with torch.no_grad():
        model.head.bias[1] += 1
    other_mean = random_model(replace(SMALL, mean=(0.2,)))
    files = {before, _engines._cached(model, ".onnx"), _engines._cached(other_mean, ".onnx")}
    files.add(_engines._cached(model, ".pt2"))
    monkeypatch.setattr(torch, "__version__", "0")
    files.add(_engines._cached(model, ".onnx"))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    files.add(_engines._cached(model, ".onnx"))
    assert len(files) == 6


class Slowed(nn.Module):
    """An engine of known speed; its logits of several images are off by `error`."""

    def __init__(self, model: ImageModel, error: float) -> None:
        super().__init__()
        self.model, self.error = model, error

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.model(images) + (self.error if len(images) > 1 else 0.0)
        return logits


@pytest.fixture
def known_engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Errors of the engines' logits, and seconds of a forward pass in the order of ENGINES."""
    errors = {"onnxruntime": 0.0, "openvino": 0.0}
    engines = {name: (lambda model, name=name: Slowed(model, errors[name])) for name in errors}
    for name, engine in engines.items():
        monkeypatch.setitem(cast(dict[str, Any], _engines.ENGINES), name, engine)
    seconds = {"torch": 4.0, "onnxruntime": 2.0, "openvino": 1.0}
    monkeypatch.setattr(
        _engines, "_seconds", lambda found, images: {name: seconds[name] for name in found}
    )
    return errors


@pytest.mark.usefixtures("known_engines")
def test_auto_takes_the_fastest_engine_and_names_the_others() -> None:
    engine = load_engine(random_model())
    assert (engine.name, engine.speedup) == ("openvino", 4.0)
    assert engine.unused["onnxruntime"] == "2.00 × torch"
    assert "compile" in engine.unused
    assert engine.choice().startswith("engine openvino, 4.00 × torch (")


@pytest.mark.usefixtures("known_engines")
def test_a_model_keeps_its_engine_unless_another_is_named() -> None:
    engine = load_engine(random_model(), "onnxruntime")
    assert load_engine(engine) is load_engine(engine, "onnxruntime") is engine
    other = load_engine(engine, "openvino")
    assert (other.name, other.model) == ("openvino", engine.model)


@pytest.mark.parametrize("error", [0.01, float("nan")])
def test_auto_does_not_take_an_engine_with_other_logits(
    known_engines: dict[str, float], error: float
) -> None:
    known_engines["openvino"] = error
    engine = load_engine(random_model())
    assert engine.name == "onnxruntime"
    assert "other logits" in engine.unused["openvino"]
    with pytest.raises(ConfigError, match="other logits"):
        load_engine(random_model(), "openvino")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clearhead.errors.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install onnxruntime"):
        load_engine(random_model(), "onnxruntime")
    assert load_engine(random_model()).name == "torch"


def test_compile_without_a_compiler_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match="install g"):
        load_engine(random_model(), "compile")


def test_what_an_engine_cannot_compute_is_an_error() -> None:
    engine = load_engine(random_model(), "torch")
    assert isinstance(engine, EngineModel)
    with pytest.raises(InputError, match="images must be"):
        engine(torch.zeros(1, 1, 9, 6))
    with pytest.raises(ConfigError, match="did you mean openvino"):
        load_engine(random_model(), "openvio")  # type: ignore[arg-type]
    half = random_model().bfloat16()
    for name, devices in (("onnxruntime", "cpu"), ("compile", "cpu or cuda")):
        with pytest.raises(ConfigError, match=f"needs a float32 model on {devices}, got"):
            load_engine(half, cast(Any, name))
    assert load_engine(half).name == "torch"


def test_a_failed_compilation_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CppCompileError: no header\nline 2")

    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path))
    monkeypatch.setattr("torch._inductor.aoti_compile_and_package", fail)
    monkeypatch.setattr(_engines, "trace", lambda model: None)
    monkeypatch.setenv("CXX", "g++")
    with pytest.raises(ConfigError, match="no header") as caught:
        load_engine(random_model(), "compile")
    assert "line 2" not in str(caught.value)
    assert not [*tmp_path.rglob("*.pt2")]
