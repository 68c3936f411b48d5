"""Time and memory of recording attention on ViT-B/16, by Clearhead and by other methods.

    python benchmarks/capture_cost.py [--batch 8] [--rounds 9] [--threads 2]

Each method is compared with the plain forward pass of the same model in the same library (random
weights, 224 × 224, float32, no gradients). Time: methods alternate in one process; the result is
the median over the rounds of the ratio to plain. Memory: each method runs in its own process; the
result is the ratio of peak resident memory to plain. The last table has the processor time of
capture in graphs of torch.compile, four layers of 196 tokens each. Needs timm, transformers and
vit-pytorch.

| method | result |
|---|---|
| clearhead | queries, keys, values and output of every layer; weights on access |
| clearhead + all weights | the same, and every layer's weights computed in turn |
| clearhead + verify | the same, and the verification of every layer |
| timm AttentionExtract | every layer's weights; needs fused attention switched off |
| hooks + recomputation | every layer's weights, recomputed from the layer's input |
| HF output_attentions | every layer's weights; needs the eager implementation |
| vit-pytorch Recorder | every layer's weights; its own models only |
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from tests.torchvision_operators import TORCHVISION  # before timm and transformers

assert TORCHVISION is None or TORCHVISION.ns == "torchvision"
from timm import create_model
from timm.layers.config import set_fused_attn
from timm.models.vision_transformer import Block
from timm.utils.attention_extract import AttentionExtract
from transformers import ViTConfig, ViTModel
from vit_pytorch import ViT
from vit_pytorch.recorder import Recorder

import clearhead as ch

Method = Callable[[Tensor], Any]


def plain(model: Method) -> Method:
    return model


def captured(model: Method) -> Method:
    def run(images: Tensor) -> ch.Recording:
        with ch.capture() as recording:
            model(images)
        return recording

    return run


def with_weights(model: Method) -> Method:
    run = captured(model)
    return lambda images: [record.weights.shape for record in run(images).records]


def verified(model: Method) -> Method:
    run = captured(model)
    return lambda images: run(images).verify()


def timm_model(fused: bool = True) -> Any:
    set_fused_attn(enable=fused)
    model = create_model("vit_base_patch16_224").eval()
    set_fused_attn(enable=True)
    return model


def hooked(model: Any) -> Method:
    def run(images: Tensor) -> list[Tensor]:
        weights: list[Tensor] = []

        def recompute(module: Any, inputs: tuple[Tensor, ...], _: Any) -> None:
            (x,) = inputs[:1]
            qkv = module.qkv(x).reshape(*x.shape[:2], 3, module.num_heads, -1)
            query, key, _ = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            weights.append((query * module.scale @ key.transpose(-2, -1)).softmax(-1))

        hooks = [block.attn.register_forward_hook(recompute) for block in model.blocks]
        model(images)
        for hook in hooks:
            hook.remove()
        return weights

    return run


def transformers_model(implementation: str = "sdpa") -> Any:
    config = ViTConfig()
    config._attn_implementation = implementation
    model: Any = ViTModel(config, add_pooling_layer=False)
    return model.eval()


def vit_pytorch_model() -> Any:
    sizes = {"dim": 768, "depth": 12, "heads": 12, "mlp_dim": 3072}
    return ViT(image_size=224, patch_size=16, num_classes=1000, **sizes).eval()


def recorded(model: Any) -> Method:
    recorder = Recorder(model)

    def run(images: Tensor) -> Any:
        result = recorder(images)
        recorder.clear()
        return result

    return run


# The methods of each library; models are built on demand, as memory is measured for each alone.
METHODS: dict[str, dict[str, Callable[[], Method]]] = {
    "timm": {
        "plain": lambda: plain(timm_model()),
        "clearhead": lambda: captured(timm_model()),
        "clearhead + all weights": lambda: with_weights(timm_model()),
        "clearhead + verify": lambda: verified(timm_model()),
        "timm AttentionExtract": lambda: AttentionExtract(timm_model(fused=False), method="hook"),
        "hooks + recomputation": lambda: hooked(timm_model()),
    },
    "transformers": {
        "plain": lambda: plain(transformers_model()),
        "clearhead": lambda: captured(transformers_model()),
        "HF output_attentions": lambda: partial(
            transformers_model("eager"), output_attentions=True
        ),
    },
    "vit-pytorch": {
        "plain": lambda: plain(vit_pytorch_model()),
        "clearhead": lambda: captured(vit_pytorch_model()),
        "vit-pytorch Recorder": lambda: recorded(vit_pytorch_model()),
    },
}


def time_ratios(
    methods: dict[str, Method],
    images: Tensor,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median over the rounds of each method's time divided by that of plain in the same round."""
    for run in methods.values():
        run(images)
    ratios: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        seconds = {}
        for name, run in methods.items():
            start = clock()
            run(images)
            seconds[name] = clock() - start
        for name in methods:
            ratios[name].append(seconds[name] / seconds["plain"])
    return {name: median(values) for name, values in ratios.items()}


def compiled_table(rounds: int) -> Table:
    """The processor time of compiled models with capture, divided by that without."""
    table = Table("width", "batch", "clearhead / plain", title="torch.compile")
    for width, batch in ((64, 4), (128, 1), (128, 4), (128, 8), (256, 4)):
        torch.compiler.reset()  # its limit of recompilations is one for all widths
        blocks = nn.Sequential(*(Block(dim=width, num_heads=4) for _ in range(4))).eval()
        compiled = torch.compile(blocks)
        methods = {"plain": plain(compiled), "clearhead": captured(compiled)}
        tokens = torch.randn(batch, 196, width)
        ratios = time_ratios(methods, tokens, 5 * rounds, time.process_time)
        table.add_row(str(width), str(batch), f"{ratios['clearhead']:.2f}")
    return table


def peak_memory(library: str, method: str, options: argparse.Namespace) -> float:
    """Peak resident memory of a process that runs one method, in MB."""
    command = [sys.executable, __file__, "--only", library, method, "--batch", str(options.batch)]
    process = subprocess.run(
        [*command, "--threads", str(options.threads)], capture_output=True, text=True, check=True
    )
    return float(json.loads(process.stdout.splitlines()[-1]))


def run_alone(library: str, method: str, images: Tensor) -> None:
    run = METHODS[library][method]()
    for _ in range(2):
        run(images)  # the result is freed at once, so that two are never in memory
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs=2, metavar=("LIBRARY", "METHOD"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    images = torch.randn(options.batch, 3, 224, 224)
    with torch.no_grad():
        if options.only:
            library, method = options.only
            run_alone(library, method, images)
            return
        print(
            f"ViT-B/16, batch {options.batch}, {options.threads} threads, "
            f"torch {torch.__version__}, {platform.processor() or platform.machine()}"
        )
        for library in METHODS:
            Console().print(table_of(library, images, options))
        Console().print(compiled_table(options.rounds))


def table_of(library: str, images: Tensor, options: argparse.Namespace) -> Table:
    table = Table("method", title=library)
    table.add_column("time / plain", justify="right")
    table.add_column("peak memory / plain", justify="right")
    methods = {name: build() for name, build in METHODS[library].items()}
    times = time_ratios(methods, images, options.rounds)
    plain_memory = peak_memory(library, "plain", options)
    for name, ratio in times.items():
        memory = peak_memory(library, name, options) / plain_memory
        table.add_row(name, f"{ratio:.2f}", f"{memory:.2f}")
    return table


if __name__ == "__main__":
    main()
