"""Engines: programs that compute the forward pass of an image classifier.

torch computes it operation by operation. `compile` makes one C++ library of it with torch's
AOTInductor; ONNX Runtime and OpenVINO are packages of their own.
"""

import os
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.export import ExportedProgram

from clearhead._atomic import replaced_atomic, sha256, write_atomic
from clearhead.data import cache_folder
from clearhead.errors import ConfigError, StorageError, check_one_of, require
from clearhead.inference._graph import IMAGES, example_images, quiet_export, to_onnx, trace
from clearhead.inference._model import (
    Engine,
    EngineModel,
    ModelLike,
    digest_of,
    evaluation_mode,
    weights_of,
)
from clearhead.inference._names import EngineChoice, EngineName
from clearhead.models.pretrained import ImageModel

TOLERANCE = 1e-4  # of a logit, or of the largest one if that is above 1
CHECKED_SIZES = (1, 5)
ROUNDS = 5
MICRO_BATCH = 32  # images of one call and thread: their activations fit into its cache


Run = Callable[[Tensor], tuple[Tensor, ...]]
"""Maps normalised images to logits, and to attention weights if the file has them."""


def load_engine(
    model: ModelLike, engine: EngineChoice = "auto", *, batch_size: int = MICRO_BATCH
) -> EngineModel:
    """Prepare an engine for a model, and check its logits against torch's.

    Compiled libraries and ONNX models are kept in the cache folder; the first use of a model takes
    up to a minute with "compile" and about 5 seconds with ONNX Runtime and OpenVINO.

    Args:
        model: An image classifier.
        engine: "auto" measures all engines that are installed and takes the fastest one whose
            logits agree with torch's. It does not compile, but uses what was compiled before.
        batch_size: Images in a forward pass, for which "auto" measures.

    Returns:
        The model with this engine.

    Raises:
        ConfigError: The engine is unknown or not installed, cannot compute this model, or returns
            other logits than torch.
    """
    check_one_of("engine", engine, get_args(EngineChoice))
    if isinstance(model, EngineModel):
        if engine in ("auto", model.name):
            return model
        model = model.model
    if engine == "auto":
        return _fastest(model, batch_size)
    run = ENGINES[engine](model)
    difference = _difference(run, model)
    if not difference <= TOLERANCE:
        raise ConfigError(
            f"engine {engine!r} returns other logits than torch (relative difference "
            f'{difference:.1e}, at most {TOLERANCE:.0e} is expected); use engine="torch"'
        )
    return EngineModel(model=model, name=engine, run=run)


def _fastest(model: ImageModel, batch_size: int) -> EngineModel:
    engines: dict[EngineName, Engine] = {}
    unused: dict[str, str] = {}
    for name in get_args(EngineName):
        if name == "compile" and not _cached(model, ".pt2").exists():
            unused[name] = "not compiled yet, which the engine compile does once"
            continue
        try:
            engines[name] = load_engine(model, name).run
        except (ConfigError, StorageError) as error:
            unused[name] = str(error)
    seconds = _seconds(engines, example_images(model, batch_size))
    best = min(seconds, key=lambda name: seconds[name])
    ratios = {name: seconds["torch"] / seconds[name] for name in engines}
    slower = {name: f"{ratio:.2f} × torch" for name, ratio in ratios.items() if name != best}
    return EngineModel(
        model=model,
        name=best,
        run=engines[best],
        speedup=ratios[best],
        unused=unused | slower,
    )


def _seconds(engines: Mapping[EngineName, Engine], images: Tensor) -> dict[EngineName, float]:
    """Median seconds of a forward pass, the engines in turn."""
    taken: dict[EngineName, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        engine(images)
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine(images)
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in taken.items()}


def _difference(run: Engine, model: ImageModel) -> float:
    """Largest difference of logits from torch's, relative to the largest logit above 1."""
    errors = []
    for size in CHECKED_SIZES:
        images = example_images(model, size)
        expected = _torch(model)(images)
        errors.append((run(images) - expected).abs().max() / expected.abs().max().clamp(min=1))
    return float(torch.stack(errors).amax())  # NaN if one is


def _torch(model: ImageModel) -> Engine:
    def run(images: Tensor) -> Tensor:
        with evaluation_mode(model), torch.inference_mode():
            logits: Tensor = model(images)
            return logits

    return run


def _compile(model: ImageModel) -> Engine:
    _check_float32(model, "compile", devices=("cpu", "cuda"))
    path = _cached(model, ".pt2")
    if not path.exists():
        if not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")):
            raise ConfigError(
                'engine "compile" needs a C++ compiler, none was found: install g++ or clang++, '
                "or set CXX"
            )
        with replaced_atomic(path) as file:
            compile_program(trace(model), file)
    return run_package(path)


def compile_program(program: ExportedProgram, file: Path) -> None:
    """Compile a program into a package of AOTInductor, a .pt2 file."""
    # the number of threads is otherwise a constant of the library
    options = {"cpp.dynamic_threads": True}
    with torch.no_grad(), quiet_export():
        try:
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(file), inductor_configs=options
            )
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            raise ConfigError(f'engine "compile" failed ({reason}); use another engine') from error


def run_package(file: Path) -> Engine:
    """A package of AOTInductor; on a CPU, large batches are split to fit into its cache."""
    package = torch._inductor.aoti_load_package(str(file))

    def run(images: Tensor) -> Tensor:
        size = MICRO_BATCH * torch.get_num_threads()
        if len(images) <= size or images.device.type != "cpu":
            logits: Tensor = package(images)
            return logits
        return torch.cat([package(part) for part in images.split(size)])

    return run


def _by_onnx(model: ImageModel, name: str, make: Callable[[bytes], Run]) -> Engine:
    """An engine that runs the model as ONNX, whose bytes are kept in the cache."""
    path = _cached(model, ".onnx")
    require(f"engine {name!r}", name, *(() if path.exists() else ("onnx", "onnxscript")))
    _check_float32(model, name)
    if path.exists():
        content = path.read_bytes()
    else:
        content = to_onnx(trace(model)).SerializeToString()
        with suppress(StorageError):  # the cache saves time, and may be read-only
            write_atomic(path, content)
    run = make(content)
    return lambda images: run(images)[0]


def run_onnx(content: bytes) -> Run:
    """All outputs of an ONNX model, by ONNX Runtime on as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> tuple[Tensor, ...]:
        outputs = session.run(None, {IMAGES: images.contiguous().numpy(force=True)})
        return tuple(map(torch.from_numpy, outputs))

    return run


def run_openvino(source: Path | bytes, precision: Literal["f32", "bf16"] = "f32") -> Run:
    """All outputs of a model file or its bytes, by OpenVINO on as many threads as torch has."""
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": precision,  # by default, bfloat16 on some processors
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(source), "CPU", settings)
    request, lock = compiled.create_infer_request(), threading.Lock()

    def run(images: Tensor) -> tuple[Tensor, ...]:
        inputs = [images.contiguous().numpy(force=True)]
        with lock:  # the results lie in the request's own memory
            results = request.infer(inputs, share_inputs=True, share_outputs=True)
            return tuple(torch.from_numpy(results[output].copy()) for output in compiled.outputs)

    return run


ENGINES: Mapping[EngineName, Callable[[ImageModel], Engine]] = {
    "torch": _torch,
    "compile": _compile,
    "onnxruntime": lambda model: _by_onnx(model, "onnxruntime", run_onnx),
    "openvino": lambda model: _by_onnx(model, "openvino", run_openvino),
}


def _check_float32(model: ImageModel, engine: str, devices: tuple[str, ...] = ("cpu",)) -> None:
    like = next(model.parameters())
    if like.device.type not in devices or like.dtype != torch.float32:
        raise ConfigError(
            f"engine {engine!r} needs a float32 model on {' or '.join(devices)}, got "
            f'{like.dtype} on {like.device}; move the model, or use engine="torch"'
        )


def _cached(model: ImageModel, suffix: str) -> Path:
    """The file in the cache for these weights, this torch and this processor."""
    device = next(model.parameters()).device
    build = (torch.__version__, torch.backends.cpu.get_cpu_capability(), device.type)
    digest = sha256(f"{build} {digest_of(model, weights_of(model))}".encode())
    return cache_folder() / "engines" / f"{digest[:32]}{suffix}"
