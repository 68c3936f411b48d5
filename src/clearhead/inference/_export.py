"""Exported classifiers: files for other programs, checked against torch before they are written."""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast, get_args

import torch
from jaxtyping import UInt8
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor
from torch.export import ExportedProgram

from clearhead._atomic import check_path, write_all_atomic
from clearhead.data import ImageDataset, normalize
from clearhead.errors import ConfigError, check_one_of, require
from clearhead.inference._engines import Run, run_onnx, run_openvino
from clearhead.inference._evaluate import Evaluation, evaluate
from clearhead.inference._graph import (
    IMAGES,
    example_images,
    model_metadata,
    quiet_export,
    to_onnx,
    trace,
)
from clearhead.inference._model import EngineModel, check_image_model, evaluation_mode
from clearhead.inference._names import ExportFormat, Precision
from clearhead.models import VisionTransformer, build, timm_config, to_timm_state_dict
from clearhead.models._libraries import load_timm
from clearhead.models.pretrained import CONFIG, WEIGHTS, ImageModel
from clearhead.recording import capture

CHECKED_SIZES = (1, 2, 7, 64)
TOLERANCE = 1e-5  # of an output, or of its largest value if that is above 1
WITH_ATTENTION = ("onnx", "openvino", "torch-export")
WITH_INT8 = ("onnx", "openvino")
PACKAGES: Mapping[ExportFormat, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
SUFFIXES: Mapping[ExportFormat, str] = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "torch-export": ".pt2",
    "timm": "-timm",
    "safetensors": ".safetensors",
}


class Options(NamedTuple):
    """What to write."""

    precision: Precision
    attention: bool
    calibration: UInt8[Tensor, "n channels height width"] | None


@dataclass(frozen=True, kw_only=True)
class Export:
    """An exported model.

    Attributes:
        paths: The files that were written.
        size: Their size in bytes.
        difference: Largest difference of logits from torch's, over batches of 1, 2, 7 and 64 images
            of noise.
        evaluation: The exported model on the data set, if one was given.
        reference: The model itself on the data set.
    """

    paths: tuple[Path, ...]
    size: int
    difference: float
    evaluation: Evaluation | None = None
    reference: Evaluation | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON types.

        Returns:
            All fields by name.
        """
        return {
            "paths": [str(path) for path in self.paths],
            "size": self.size,
            "difference": self.difference,
            "evaluation": self.evaluation and self.evaluation.to_dict(),
            "reference": self.reference and self.reference.to_dict(),
        }


def export(
    model: ImageModel,
    path: str | Path,
    to: ExportFormat,
    *,
    precision: Precision = "float32",
    attention: bool = False,
    dataset: ImageDataset | None = None,
    calibration: UInt8[Tensor, "n channels height width"] | None = None,
) -> Export:
    """Write a classifier for other programs.

    The file holds the preprocessing constants, class names and thresholds of the model as metadata.
    Input and output are float32: normalised images of shape (batch, channels, height, width), and
    logits of shape (batch, classes). Any batch size is accepted. Before a file is written it is
    loaded again and compared with torch, ONNX also with its checker.

    Args:
        model: An image classifier.
        path: The file; for OpenVINO the .xml file, which gets a .bin file beside it; for timm a
            folder.
        to: "onnx", "openvino", "torch-export" (a program of `torch.export`), "timm" (a folder that
            `timm.create_model("local-dir:…", pretrained=True)` loads), or "safetensors" (weights
            alone).
        precision: Of weights and computation: "float32", "float16", or "int8" (ONNX and OpenVINO:
            weights and inputs of the linear layers and convolutions). "float16" is the format of
            the weights alone for OpenVINO, timm and safetensors.
        attention: Whether the attention weights of all layers are a second output, "attention", of
            shape (batch, layers, heads, queries, keys).
        dataset: On which the accuracies of the file and of the model are measured.
        calibration: Images from which the ranges of activations are taken, for "int8" with OpenVINO
            or convolutions: pixels (0 to 255) of a few hundred training images.

    Returns:
        Files, difference from torch, and accuracies.

    Raises:
        ConfigError: A package is not installed, an option does not fit the format, or the result
            differs from torch's by more than 1e-5 in float32. Nothing is written.
        InputError: The model is not one of Clearhead's image models.
        StorageError: A file cannot be written.
    """
    path = Path(path)
    check_export(model, path, to, precision=precision, attention=attention)
    like = next(model.parameters())
    if like.device.type != "cpu" or like.dtype != torch.float32:
        raise ConfigError(
            f"export needs a float32 model on the CPU, got {like.dtype} on {like.device}; "
            "use model.cpu().float()"
        )
    with (
        tempfile.TemporaryDirectory() as temporary,
        evaluation_mode(model),
        torch.random.fork_rng(devices=[]),  # the file is loaded into a model with random weights
    ):
        file = Path(temporary) / path.name
        run = WRITERS[to](model, file, Options(precision, attention, calibration))
        difference = _compare(run, model, attention, TOLERANCE if precision == "float32" else None)
        evaluated = EngineModel(model=model, name="torch", run=lambda images: run(images)[0])
        evaluation = None if dataset is None else evaluate(evaluated, dataset)
        written = [found for found in Path(temporary).rglob("*") if found.is_file()]
        written.sort(key=lambda found: found != file)
        contents = {
            path.parent / found.relative_to(temporary): found.read_bytes() for found in written
        }
    write_all_atomic(contents)
    return Export(
        paths=tuple(contents),
        size=sum(map(len, contents.values())),
        difference=difference,
        evaluation=evaluation,
        reference=None if dataset is None else evaluate(model, dataset),
    )


def check_packages(to: ExportFormat, precision: Precision) -> None:
    """Raise `ConfigError` if a format, with this precision, is unknown or needs other packages."""
    check_one_of("to", to, get_args(ExportFormat))
    check_one_of("precision", precision, get_args(Precision))
    if precision == "int8" and to not in WITH_INT8:
        raise ConfigError(f"int8 is for {' and '.join(WITH_INT8)}, got {to!r}; use float16")
    packages = {*PACKAGES.get(to, ()), *(("onnxruntime",) if precision == "int8" else ())}
    require(f"{to} in {precision}", *sorted(packages))


def check_export(
    model: ImageModel, path: Path, to: ExportFormat, *, precision: Precision, attention: bool
) -> None:
    """Raise `export`'s errors about packages, options and the path, before any work is done."""
    check_image_model(model, "export")
    check_packages(to, precision)
    if attention and to not in WITH_ATTENTION:
        raise ConfigError(
            f"{to!r} holds weights alone and has no outputs; for attention weights use one of "
            f"{', '.join(WITH_ATTENTION)}"
        )
    if attention and not isinstance(model, VisionTransformer):
        raise ConfigError(f"a {type(model).__name__} has no attention; expected a Transformer")
    if to == "timm" and not isinstance(model, VisionTransformer):
        raise ConfigError(f"timm has no {type(model).__name__}; expected a VisionTransformer")
    if to == "openvino" and path.suffix != ".xml":
        raise ConfigError(f"an OpenVINO model is an .xml file, got {path.name}")
    check_path(path)


def _compare(run: Run, model: ImageModel, attention: bool, tolerance: float | None) -> float:
    """Largest difference of the logits from torch's; above the tolerance, an error."""
    largest = 0.0
    for size in CHECKED_SIZES:
        images = example_images(model, size)
        with torch.no_grad(), capture() if attention else nullcontext() as recording:
            expected: tuple[Tensor, ...] = (model(images),)
        if recording is not None:
            expected += (torch.stack(list(recording.to_hf()), dim=1),)
        for output, reference in zip(run(images), expected, strict=True):
            difference = float((output - reference).abs().max())
            allowed = (tolerance or 0) * max(1.0, float(reference.abs().max()))
            if output.shape != reference.shape or (tolerance and not difference <= allowed):
                raise ConfigError(
                    f"the exported model differs from torch by {difference:.1e} for {size} images, "
                    f"at most {allowed:.1e} is expected; nothing was written"
                )
        largest = max(largest, float((run(images)[0] - expected[0]).abs().max()))
    return largest


def _traced(model: ImageModel, options: Options) -> ExportedProgram:
    float16 = options.precision == "float16"
    module = deepcopy(model) if float16 else model
    return trace(module, attention=options.attention, float16=float16)


def _write_onnx(model: ImageModel, file: Path, options: Options) -> Run:
    import onnx

    proto = to_onnx(_traced(model, options))
    if options.precision == "int8":
        convolutions = any(node.op_type == "Conv" for node in proto.graph.node)
        proto = _quantized(proto, model, options.calibration, static=convolutions)
    onnx.helper.set_model_props(proto, model_metadata(model))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, file)
    return run_onnx(file.read_bytes())


def _write_openvino(model: ImageModel, file: Path, options: Options) -> Run:
    import openvino

    proto = to_onnx(trace(model, attention=options.attention))
    if options.precision == "int8":
        proto = _quantized(proto, model, options.calibration, static=True)
    network = openvino.Core().read_model(proto.SerializeToString())
    for name, value in model_metadata(model).items():
        network.set_rt_info(value, ["clearhead", name])
    openvino.save_model(network, file, compress_to_fp16=options.precision == "float16")
    return run_openvino(file)


def _quantized(proto: Any, model: ImageModel, calibration: Tensor | None, *, static: bool) -> Any:
    """Integer matrix products; the ranges of activations are those of each batch, or fixed."""
    import onnx
    from onnxruntime import quantization

    if static and calibration is None:
        raise ConfigError(
            "int8 for OpenVINO, and for convolutions, needs images for calibration; give "
            "calibration=, such as 256 training images"
        )
    with tempfile.TemporaryDirectory() as folder, quiet_export(name=None):  # it has the root logger
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, source)
        common = {"per_channel": True, "extra_options": {"MatMulConstBOnly": True}}
        if calibration is None or not static:
            quantization.quantize_dynamic(
                source,
                target,
                op_types_to_quantize=["MatMul", "Gemm"],
                weight_type=quantization.QuantType.QInt8,
                **common,
            )
        else:
            batches = (
                {IMAGES: normalize(part, model.config).numpy()} for part in calibration.split(32)
            )
            quantization.quantize_static(
                source,
                target,
                SimpleNamespace(get_next=lambda: next(batches, None)),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["MatMul", "Gemm", "Conv"],
                **common,
            )
        return onnx.load(target)


def _write_torch_export(model: ImageModel, file: Path, options: Options) -> Run:
    program = _traced(model, options)
    extra = {"metadata.json": json.dumps(model_metadata(model), indent=2)}
    with quiet_export():
        torch.export.save(program, file, extra_files=extra)
        loaded = torch.export.load(file).module()
    return _run_module(loaded)


def _write_safetensors(model: ImageModel, file: Path, options: Options) -> Run:
    metadata = model_metadata(model)
    file.write_bytes(write_tensors(_stored(model.state_dict(), options), metadata))
    copy = build(model.config)
    copy.load_state_dict(read_tensors(file.read_bytes()))
    return _run_module(copy.eval())


def _write_timm(model: ImageModel, folder: Path, options: Options) -> Run:
    model = cast(VisionTransformer, model)
    folder.mkdir()
    state = _stored(to_timm_state_dict(model), options)
    (folder / WEIGHTS).write_bytes(write_tensors(state, {"format": "pt"}))
    config = timm_config(model.config) | {"clearhead": model_metadata(model)}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    try:
        return _run_module(load_timm(str(folder)).eval())
    except ConfigError:  # without timm, the same parameters in the layers that equal timm's
        copy = VisionTransformer(replace(model.config, attention_scale="sqrt"))
        copy.load_state_dict(read_tensors((folder / WEIGHTS).read_bytes()))
        return _run_module(copy.eval())


def _stored(state: Mapping[str, Tensor], options: Options) -> dict[str, Tensor]:
    dtype = torch.float16 if options.precision == "float16" else None
    return {
        name: tensor.to(dtype if tensor.is_floating_point() else None).contiguous()
        for name, tensor in state.items()
    }


def _run_module(module: Callable[[Tensor], Any]) -> Run:
    def run(images: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            outputs = module(images)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    return run


WRITERS: Mapping[ExportFormat, Callable[[ImageModel, Path, Options], Run]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "torch-export": _write_torch_export,
    "timm": _write_timm,
    "safetensors": _write_safetensors,
}
