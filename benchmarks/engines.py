"""Images per second of small Vision Transformers on a CPU: engines, libraries and number types.

All models have the digit classifier's sizes (28 × 28 pixels, 16 patches, 64 dimensions, 6 layers of
4 heads); timm's also has its weights. Each row is measured in a process of its own, with empty
compiler caches, and is kept in `runs/engines`: a run that was interrupted, or has reached
`--minutes`, continues when it is started again; `--again` starts over. Start-up is the time from
the start of the process to the first logits. The share is that of the rate of float32 matrix
products (1024 × 1024), measured in the same process.

    python -m benchmarks.engines            # about 10 idle minutes; writes docs/engines.md
    python -m benchmarks.engines --quick    # three rows in short runs; writes nothing
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._document import ROOT, markdown_table, processor, write_between_markers

RESULTS = ROOT / "runs" / "engines"
SIZES = {"dim": 64, "depth": 6, "heads": 4, "mlp": 256}
BATCHES = (1, 32, 512)
REPEATS, SECONDS = 5, 0.3
MATRIX = 1024
SECONDS_OF_A_ROW = 40
MAX_SECONDS_OF_A_ROW = 240
PACKAGES = ("torch", "onnxruntime", "openvino", "timm", "transformers", "vit-pytorch")
LIBRARIES = ("Clearhead", "timm", "transformers", "vit-pytorch")
ENGINES = ("eager", "torch.compile", "AOTInductor", "ONNX Runtime", "OpenVINO")
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """What is measured in one process."""

    library: str
    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.library}, {self.engine}, {self.precision}"

    @property
    def file(self) -> Path:
        """Its result."""
        name = f"{self.library}_{self.engine}_{self.precision}".replace(" ", "-")
        return RESULTS / f"{name}.json"


ROWS = (
    *(Row("Clearhead", engine, "float32") for engine in ENGINES),
    *(Row("Clearhead", engine, "bfloat16") for engine in (*ENGINES[:3], "OpenVINO")),
    *(Row("Clearhead", engine, "int8") for engine in ENGINES[3:]),
    *(Row(library, engine, "float32") for library in LIBRARIES[1:] for engine in ENGINES),
)
QUICK = (ROWS[0], ROWS[3], ROWS[11])


def digit_classifier() -> Any:
    import clearhead as ch

    return ch.load()


def make_torchvision_importable() -> None:
    """timm, transformers and vit-pytorch import it, which fails with a torch for CPUs alone."""
    import_module("tests.torchvision_operators")


def timm_model() -> nn.Module:
    make_torchvision_importable()
    import timm

    from clearhead.models import timm_config, to_timm_state_dict

    ours = digit_classifier()
    config = timm_config(ours.config)
    model: nn.Module = timm.models.VisionTransformer(
        num_classes=config["num_classes"], **config["model_args"]
    )
    model.load_state_dict(to_timm_state_dict(ours))
    return model


class Logits(nn.Module):
    """A classifier of transformers that returns only its logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images."""
        logits: Tensor = self.model(images).logits
        return logits


def transformers_model() -> nn.Module:
    make_torchvision_importable()
    from transformers import ViTConfig, ViTForImageClassification

    settings: dict[str, Any] = {"num_labels": 10}
    config = ViTConfig(
        image_size=28, patch_size=7, num_channels=1, **settings, hidden_size=SIZES["dim"],
        num_hidden_layers=SIZES["depth"], num_attention_heads=SIZES["heads"],
        intermediate_size=SIZES["mlp"],
    )  # fmt: skip
    return Logits(ViTForImageClassification(config))


def vit_pytorch_model() -> nn.Module:
    make_torchvision_importable()
    from vit_pytorch.simple_vit import SimpleViT

    model: nn.Module = SimpleViT(
        image_size=28, patch_size=7, num_classes=10, channels=1, dim=SIZES["dim"],
        depth=SIZES["depth"], heads=SIZES["heads"], mlp_dim=SIZES["mlp"],
        dim_head=SIZES["dim"] // SIZES["heads"],
    )  # fmt: skip
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "Clearhead": digit_classifier,
    "timm": timm_model,
    "transformers": transformers_model,
    "vit-pytorch": vit_pytorch_model,
}


def program_of(model: nn.Module) -> torch.export.ExportedProgram:
    like = next(model.parameters())
    images = torch.randn(6, 1, 28, 28, dtype=like.dtype)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        return torch.export.export(model, (images,), dynamic_shapes=({0: batch},), strict=False)


def prepare(row: Row, folder: Path) -> tuple[Run, int]:
    """The forward pass, and the bytes of the files that it needs."""
    from clearhead.inference import export
    from clearhead.inference._engines import run_onnx, run_openvino
    from clearhead.inference._graph import to_onnx

    model = MODELS[row.library]().eval()
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    file = folder / "model"
    if row.precision == "int8":
        from clearhead.data import load_dataset

        images = load_dataset("mnist", "train").images[:256]
        to: Any = "onnx" if row.engine == "ONNX Runtime" else "openvino"
        file = file.with_suffix(".onnx" if to == "onnx" else ".xml")
        size = export(model, file, to, precision="int8", calibration=images).size  # type: ignore[arg-type]
        run = run_onnx(file.read_bytes()) if to == "onnx" else run_openvino(file)
        return lambda images: run(images)[0], size
    if row.engine in ("ONNX Runtime", "OpenVINO"):
        content = to_onnx(program_of(model)).SerializeToString()
        file.with_suffix(".onnx").write_bytes(content)
        if row.engine == "ONNX Runtime":
            run = run_onnx(content)
        else:
            precision: Any = {"float32": "f32", "bfloat16": "bf16"}[row.precision]
            run = run_openvino(file.with_suffix(".onnx"), precision)
        return lambda images: run(images)[0], len(content)
    if row.precision == "bfloat16":
        model, weights = model.bfloat16(), weights // 2
    forward, size = _torch_forward(row.engine, model, file, weights)
    dtype = next(model.parameters()).dtype

    def torch_run(images: Tensor) -> Tensor:
        with torch.inference_mode():
            return forward(images.to(dtype)).float()

    return torch_run, size


def _torch_forward(engine: str, model: nn.Module, file: Path, weights: int) -> tuple[Run, int]:
    if engine == "eager":
        return model, weights
    if engine == "torch.compile":
        return torch.compile(model), weights
    from clearhead.inference._engines import compile_program, run_package

    compile_program(program_of(model), file.with_suffix(".pt2"))
    size = file.with_suffix(".pt2").stat().st_size
    return run_package(file.with_suffix(".pt2")), size


def measure_row(row: Row, started: float, *, quick: bool) -> dict[str, Any]:
    """Start-up, and images per second for each batch size."""
    repeats, seconds = (1, 0.05) if quick else (REPEATS, SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        run, size = prepare(row, Path(folder))
        run(torch.zeros(1, 1, 28, 28))
        start_up = time.time() - started
        rates = {}
        matrix = [matrix_rate(seconds)]
        for batch in BATCHES[: 2 if quick else None]:
            images = torch.randn(batch, 1, 28, 28)
            rates[batch] = [batch / seconds_per_call(run, images, seconds) for _ in range(repeats)]
            matrix.append(matrix_rate(seconds))
        accuracy = accuracy_of(run) if row.library == "Clearhead" and not quick else None
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        MODELS[row.library]().eval()(torch.zeros(1, 1, 28, 28))
    return {
        "flops": counter.get_total_flops(),
        "matrix": statistics.median(matrix),
        "rates": {str(batch): values for batch, values in rates.items()},
        "start_up": start_up,
        "size": size,
        "accuracy": accuracy,
        "threads": torch.get_num_threads(),
        "date": date.today().isoformat(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def seconds_per_call(run: Run, images: Tensor, seconds: float) -> float:
    """Median over calls within this time, at least three; the first calls are not counted."""
    for _ in range(3):
        run(images)
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(taken) < 3:
        began = time.perf_counter()
        run(images)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def matrix_rate(seconds: float) -> float:
    """Floating-point operations per second of a float32 matrix product."""
    left, right = torch.randn(2, MATRIX, MATRIX)
    return 2 * MATRIX**3 / seconds_per_call(lambda x: x @ right, left, seconds)


def accuracy_of(run: Run) -> float:
    """On the 10,000 test digits."""
    import clearhead as ch
    from clearhead.data import normalize

    dataset, config = ch.load_dataset("mnist", "test"), ch.ViTConfig()
    predicted = [run(normalize(part, config)).argmax(dim=1) for part in dataset.images.split(500)]
    return float((torch.cat(predicted) == dataset.labels).float().mean())


@contextmanager
def empty_caches() -> Iterator[dict[str, str]]:
    """An environment in which compilers find nothing that was compiled before."""
    with tempfile.TemporaryDirectory() as folder:
        yield {**os.environ, "TORCHINDUCTOR_CACHE_DIR": folder}


def run_row(row: Row, *, quick: bool) -> dict[str, Any] | None:
    """The result of a row in a process of its own; None if it fails."""
    fields = (row.library, row.engine, row.precision)
    command = [sys.executable, "-m", "benchmarks.engines", "--row", *fields]
    with empty_caches() as environment, suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            [*command, "--started", str(time.time()), *(["--quick"] if quick else [])],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
            timeout=MAX_SECONDS_OF_A_ROW,
        )  # fmt: skip
        if not done.returncode:
            result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return result
        print(f"{row} failed: {done.stderr.strip().splitlines()[-1]}", flush=True)
        return None
    print(f"{row} took more than {MAX_SECONDS_OF_A_ROW} s", flush=True)
    return None


def table(results: dict[Row, dict[str, Any]]) -> str:
    """The results as Markdown."""
    head = ["model", "engine", "type", *(f"batch {size}" for size in BATCHES)]
    head += ["start-up", "size", "accuracy"]
    rows = []
    for row, result in results.items():
        cells = [row.library, row.engine, row.precision]
        for rates in result["rates"].values():
            rate = statistics.median(rates)
            share = rate * result["flops"] / result["matrix"]
            cells.append(f"{rate:,.0f} ({share:.0%})")
        cells += [""] * (len(BATCHES) - len(result["rates"]))
        accuracy = result["accuracy"]
        cells += [f"{result['start_up']:.1f} s", f"{result['size'] / 1e6:.2f} MB"]
        cells.append("" if accuracy is None else f"{accuracy:.2%}")
        rows.append(cells)
    return markdown_table(head, rows, left=3)


def caption(results: dict[Row, dict[str, Any]]) -> str:
    """Machine, versions, date and matrix rate."""
    first = next(iter(results.values()))
    matrix = statistics.median(result["matrix"] for result in results.values())
    repeats = len(next(iter(first["rates"].values())))
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    return (
        f"{processor()}, {first['threads']} threads, {first['date']}; {versions}. Images per "
        f"second (median of {repeats} repeats), and in brackets the share of the rate of float32 "
        f"matrix products, {matrix / 1e9:,.0f} GFLOP/s."
    )


def comparison(results: dict[Row, dict[str, Any]]) -> str:
    """The fastest of Clearhead's engines that are part of torch, relative to the fastest of all."""
    ours = [row for row in results if (row.library, row.precision) == ("Clearhead", "float32")]
    ratios = []
    for size in map(str, BATCHES):
        rates = {row.engine: statistics.median(results[row]["rates"][size]) for row in ours}
        own = max(rate for engine, rate in rates.items() if engine in ENGINES[:3])
        ratios.append(f"{own / max(rates.values()):.2f} at batch {size}")
    return (
        "The fastest of eager, torch.compile and AOTInductor, relative to the fastest engine "
        f"(Clearhead, float32): {', '.join(ratios)}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="three rows in short runs")
    parser.add_argument("--again", action="store_true", help="measure rows that have a result, too")
    parser.add_argument("--minutes", type=float, default=12, help="start no row after this time")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        result = measure_row(Row(*options.row), options.started, quick=options.quick)
        print(json.dumps(result))
        return
    results: dict[Row, dict[str, Any]] = {}
    until = time.time() + 60 * options.minutes - SECONDS_OF_A_ROW
    for row in QUICK if options.quick else ROWS:
        if row.file.exists() and not (options.again or options.quick):
            results[row] = json.loads(row.file.read_text())
            continue
        began = time.time()
        if began > until:
            print(f"{row}: left for the next run", flush=True)
            continue
        measured = run_row(row, quick=options.quick)
        if measured is None:
            continue
        results[row] = measured
        print(f"{row}: {time.time() - began:.0f} s", flush=True)
        if not options.quick:
            RESULTS.mkdir(parents=True, exist_ok=True)
            row.file.write_text(json.dumps(measured))
    if not results:
        sys.exit("no row could be measured")
    text = f"{table(results)}\n\n{caption(results)}"
    if not options.quick:
        text += f"\n\n{comparison(results)}"
    print(text)
    if not options.quick:
        write_between_markers("engines.md", text)


if __name__ == "__main__":
    main()
