"""Exported files: read by other programs, they compute the same and carry the same constants."""

import importlib.util
import json
import logging
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

import clearhead as ch
from clearhead.data import ImageDataset
from clearhead.errors import ConfigError
from clearhead.inference import _export, export
from clearhead.inference._engines import Run
from clearhead.inference._graph import example_images, to_onnx, trace
from clearhead.inference._model import digest_of, weights_of
from clearhead.models import CNNConfig, ViTConfig, build
from clearhead.models.pretrained import ImageModel

pytestmark = pytest.mark.unchecked

SMALL = ViTConfig(
    image_size=(6, 9), patch_size=3, in_channels=2, embed_dim=8, depth=2, num_heads=2,
    num_classes=3, class_names=("ä", "b", "c"), mean=(0.25, 0.5), std=(0.125,), pool="class",
    doubtful_below=0.75, rejected_below=0.5, threshold_temperature=2.0,
    certainty_weights=tuple(range(11)), attention_scale="learned",
)  # fmt: skip


def random_model(config: Any = SMALL) -> ImageModel:
    torch.manual_seed(0)
    model: ImageModel = build(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.fixture(scope="module", autouse=True)
def one_graph_of_equal_models() -> Iterator[None]:
    """Formats share the program of a model, and its ONNX model, each of which takes seconds."""
    programs: dict[object, Any] = {}
    protos: dict[int, Any] = {}

    def traced(model: ImageModel, *, attention: bool, float16: bool = False) -> Any:
        key = (digest_of(model, weights_of(model)), attention, float16)
        if key not in programs:
            programs[key] = trace(model, attention=attention, float16=float16)
        return programs[key]

    def converted(program: Any) -> Any:
        if id(program) not in protos:
            protos[id(program)] = to_onnx(program)
        return deepcopy(protos[id(program)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_export, "trace", traced)
        patch.setattr(_export, "to_onnx", converted)
        yield


def noise(count: int) -> ImageDataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 2, 6, 9), dtype=torch.uint8, generator=generator)
    return ImageDataset("noise", images, torch.arange(count) % 3, ("ä", "b", "c"))


def logits_and_weights(model: ImageModel, images: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad(), ch.capture() as recording:
        logits = model(images)
    return logits, torch.stack([record.weights for record in recording.values()], dim=1)


def test_an_onnx_file_returns_logits_and_attention_for_any_batch_size(tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    model = random_model()
    result = export(model, tmp_path / "a" / "model.onnx", "onnx", attention=True)
    assert result.paths == (tmp_path / "a" / "model.onnx",)
    assert result.size == result.paths[0].stat().st_size
    session = onnxruntime.InferenceSession(result.paths[0])
    assert [output.name for output in session.get_outputs()] == ["logits", "attention"]
    for size in (1, 5):
        images = example_images(model, size)
        found = session.run(None, {"images": images.numpy()})
        for output, expected in zip(found, logits_and_weights(model, images), strict=True):
            np.testing.assert_allclose(output, expected, atol=1e-5)
    proto = onnx.load(result.paths[0])
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    settings = json.loads(metadata["config"])
    assert ViTConfig(**settings) == SMALL
    for name in (
        *("class_names", "mean", "std", "doubtful_below", "rejected_below"),
        *("threshold_temperature", "certainty_weights"),
    ):
        assert json.loads(metadata[name]) == settings[name]
    assert str(Path.cwd()).encode() not in result.paths[0].read_bytes()


def test_an_openvino_file_returns_logits_and_attention_and_has_the_constants(
    tmp_path: Path,
) -> None:
    import openvino

    model = random_model()
    result = export(model, tmp_path / "model.xml", "openvino", attention=True)
    assert [path.name for path in result.paths] == ["model.xml", "model.bin"]
    network = openvino.Core().read_model(result.paths[0])
    assert json.loads(network.get_rt_info(["clearhead", "std"]).value) == [0.125]
    compiled = openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = example_images(model, 5)
    found = compiled([images.numpy()])
    for index, expected in enumerate(logits_and_weights(model, images)):
        np.testing.assert_allclose(found[index], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 1e-5), pytest.param("float16", 0.05, marks=pytest.mark.slow)],
)
def test_a_program_of_torch_export_returns_logits_and_attention(
    tmp_path: Path, precision: Any, tolerance: float
) -> None:
    model = random_model()
    result = export(model, tmp_path / "m.pt2", "torch-export", precision=precision, attention=True)
    extra = {"metadata.json": ""}
    program = torch.export.load(result.paths[0], extra_files=extra)
    assert json.loads(extra["metadata.json"])["architecture"] == "VisionTransformer"
    images = example_images(model, 5)
    found = program.module()(images)
    for output, expected in zip(found, logits_and_weights(model, images), strict=True):
        torch.testing.assert_close(output, expected, rtol=0, atol=tolerance)
    assert next(model.parameters()).dtype == torch.float32


def test_weights_alone_are_a_safetensors_file_with_the_constants(tmp_path: Path) -> None:
    model = random_model()
    before = torch.get_rng_state()
    result = export(model, tmp_path / "m.safetensors", "safetensors", precision="float16")
    assert torch.get_rng_state().equal(before)
    with safe_open(result.paths[0], "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        assert json.loads(file.metadata()["mean"]) == [0.25, 0.5]
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensors[name].float(), tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("has_timm", [True, False])
def test_a_folder_for_timm_is_loaded_by_timm(
    tmp_path: Path, has_timm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.torchvision_operators import TORCHVISION

    assert TORCHVISION is None or TORCHVISION
    import timm

    model = random_model()
    if not has_timm:

        def missing(source: str) -> None:
            raise ConfigError(f"{source} needs the library timm")

        monkeypatch.setattr(_export, "load_timm", missing)
    result = export(model, tmp_path / "model", "timm")
    assert result.difference < 1e-5
    loaded = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    images = example_images(model, 5)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("to", ["openvino", "onnx"])
@pytest.mark.slow
def test_int8_is_smaller_and_its_accuracy_is_measured(tmp_path: Path, to: Any) -> None:
    model = random_model(
        ViTConfig(image_size=(6, 9), patch_size=3, in_channels=2, embed_dim=64, depth=1,
                  num_heads=2, num_classes=3, class_names=("ä", "b", "c"))
    )  # fmt: skip
    dataset = noise(50)
    path = tmp_path / "model.xml"
    result = export(model, path, to, precision="int8", dataset=dataset, calibration=dataset.images)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert max(found.stat().st_size for found in result.paths) < 3 * parameters
    assert result.reference == ch.evaluate(model, dataset)
    assert result.evaluation is not None
    assert result.evaluation.accuracy == pytest.approx(result.reference.accuracy, abs=0.2)
    assert 0 < result.difference < 2


@pytest.mark.slow
def test_convolutions_are_exported_in_all_precisions(tmp_path: Path) -> None:
    model = random_model(CNNConfig(image_size=(6, 9), in_channels=2, widths=(2, 3), num_classes=3))
    images = noise(20).images
    for precision in ("float32", "float16", "int8"):
        result = export(
            model, tmp_path / precision, "onnx", precision=cast(Any, precision), calibration=images
        )
        assert result.difference < 0.3
    with pytest.raises(ConfigError, match="calibration"):
        export(model, tmp_path / "no", "onnx", precision="int8")


def test_a_file_with_other_results_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model()

    def write(model: ImageModel, file: Path, options: Any) -> Run:
        file.write_bytes(b"wrong")
        with torch.no_grad():
            return lambda images: (model(images).detach() + 3e-4 * (len(images) == 7),)

    monkeypatch.setitem(cast(dict[str, Any], _export.WRITERS), "onnx", write)
    with pytest.raises(ConfigError, match=r"differs from torch by .* for 7 images"):
        export(model, tmp_path / "model.onnx", "onnx")
    assert not [*tmp_path.iterdir()]


def test_the_accuracies_are_those_of_the_file_and_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, dataset = random_model(), noise(31)

    def write(model: ImageModel, file: Path, options: Any) -> Run:
        file.write_bytes(b"classes in reverse order")
        return lambda images: (model(images).detach().flip(1),)

    monkeypatch.setitem(cast(dict[str, Any], _export.WRITERS), "onnx", write)
    result = export(model, tmp_path / "m.onnx", "onnx", precision="float16", dataset=dataset)
    assert result.reference == ch.evaluate(model, dataset)
    assert result.evaluation is not None
    reversed_rows = tuple(row[::-1] for row in result.reference.confusion)
    assert result.evaluation.confusion == reversed_rows != result.reference.confusion


def test_the_images_that_are_compared_differ_and_are_always_the_same() -> None:
    images = example_images(random_model(), 7)
    assert torch.equal(images, example_images(random_model(), 7))
    assert len({tuple(image.flatten().tolist()) for image in images}) == 7
    assert float(images.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "onnxx"}, "to must be one of onnx"),
        ({"to": "onnx", "precision": "int4"}, "precision must be one of"),
        ({"to": "timm", "attention": True}, "weights alone"),
        ({"to": "torch-export", "precision": "int8"}, "int8 is for onnx and openvino"),
        ({"to": "openvino"}, r"is an \.xml file, got model$"),
    ],
)
def test_options_that_do_not_fit_are_errors(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        export(random_model(), tmp_path / "model", **options)
    with pytest.raises(ConfigError, match=r"on the CPU, got torch\.float16"):
        export(random_model().half(), tmp_path / "model", "onnx")
    convolutional = build(CNNConfig(image_size=6, widths=(2,)))
    with pytest.raises(ConfigError, match="has no attention"):
        export(convolutional, tmp_path / "model", "onnx", attention=True)
    with pytest.raises(ConfigError, match="timm has no ConvNet"):
        export(convolutional, tmp_path / "model", "timm")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("to", "precision", "packages"),
    [
        ("onnx", "float32", "onnx onnxruntime onnxscript"),
        ("openvino", "float32", "onnx onnxscript openvino"),
        ("openvino", "int8", "onnx onnxruntime onnxscript openvino"),
    ],
)
def test_missing_packages_are_named_before_any_work(
    tmp_path: Path, to: Any, precision: Any, packages: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_export, "trace", pytest.fail)
    for missing in (packages, *packages.split()):
        found = {name: None if name in missing.split() else name for name in packages.split()}
        monkeypatch.setattr("clearhead.errors.find_spec", found.get)
        with pytest.raises(ConfigError, match=f": pip install {missing}$"):
            export(random_model(), tmp_path / "model.xml", to, precision=precision)


def test_an_export_as_json_has_its_files_and_evaluations(tmp_path: Path) -> None:
    result = export(random_model(), tmp_path / "m.safetensors", "safetensors", dataset=noise(5))
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data == result.to_dict()
    assert data["paths"] == [str(tmp_path / "m.safetensors")]
    assert data["evaluation"]["total"] == data["reference"]["total"] == 5
    assert replace(result, evaluation=None, reference=None).to_dict()["reference"] is None


@pytest.mark.slow
def test_onnx_without_torchvision_logs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    sought: list[str] = []

    def find_spec(name: str, package: str | None = None) -> Any:
        sought.append(name)
        return None if name == "torchvision" else find(name, package)

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    logger = logging.getLogger("torch.onnx")
    records: list[logging.LogRecord] = []
    monkeypatch.setattr(logger, "level", logging.WARNING)
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", records.append)
    logger.addHandler(handler)
    try:
        to_onnx(trace(random_model()))
    finally:
        logger.removeHandler(handler)
    assert "torchvision" in sought
    assert not records
    assert logger.level == logging.WARNING
