"""Speed of whole training steps, data included: Clearhead, timm's ViT, and mnistvit's recipe.

All see digits of noise, distorted at random. Clearhead trains with the recipe `digits`; two thirds
of the steps of `quick` see half of the patches, which no other row does. The products of its linear
layers alone are the least that a step in float32 can take. timm's model of the same sizes gets what
a script usually gives it: AdamW, a DataLoader with two workers, and torchvision's transforms of
each image. mnistvit (https://github.com/asnelt/mnistvit) has a larger model and no workers; it is
built here from its published sizes. Each in turn, medians over the rounds; processor time is that
of all processes, and depends less on other work. On an idle machine:
python -m benchmarks.training_speed
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.torchvision_operators import TORCHVISION  # isort: skip

import timm
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from clearhead.data import ImageDataset
from clearhead.models import ViTConfig
from clearhead.models.layers import cut_patches
from clearhead.training import TrainConfig, initial_model
from clearhead.training.batches import ImageBatches
from clearhead.training.distributed import ALONE, compile_blocks, keep_freed_memory
from clearhead.training.loop import train_step
from clearhead.training.recipes import digits
from clearhead.training.start import initial_state

assert TORCHVISION is None or TORCHVISION  # kept for as long as torchvision is used
BATCH, MEAN, STD = 512, (0.1307,), (0.3081,)
Steps = Callable[[int], Iterator[None]]
"""Makes an iterator that does one training step each time it is advanced"""


def noise(images: int) -> ImageDataset:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 1, 28, 28), generator=generator).to(torch.uint8)
    labels = torch.randint(0, 10, (images,), generator=generator)
    return ImageDataset("noise", pixels, labels, tuple("0123456789"))


def clearhead_steps(config: TrainConfig, *, compiled: bool = False) -> Steps:
    batches = ImageBatches(noise(8 * BATCH), config, ALONE)
    model = initial_model(config).train()
    state = initial_state(replace(config, average=0.0), model, 10_000)
    order = torch.randperm(8 * BATCH).split(BATCH)
    if compiled:
        inputs = batches.batch(0, order[0]).inputs
        compile_blocks(model, inputs, bfloat16=state.bfloat16, message=lambda _: None)

    def steps(count: int) -> Iterator[None]:
        for _ in range(count):
            batch = batches.batch(state.step, order[state.step % len(order)])
            train_step(model, state, batch)
            yield

    return steps


class Pictures(Dataset[tuple[Tensor, int]]):
    """Noise as PIL images, each transformed when it is taken."""

    def __init__(self, images: int, transform: Callable[[Image.Image], Tensor]) -> None:
        self.dataset, self.transform = noise(images), transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.dataset.images[index, 0].numpy(), "L")
        return self.transform(picture), int(self.dataset.labels[index])


def usual_steps(
    model: nn.Module, affine: nn.Module, *, batch: int, workers: int, bfloat16: bool = False
) -> Steps:
    transform = transforms.Compose([affine, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()

    def steps(count: int) -> Iterator[None]:
        pictures = Pictures(count * batch, transform)
        for images, labels in DataLoader(pictures, batch, shuffle=True, num_workers=workers):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = model(images)
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
            yield

    return steps


def timm_steps(depth: int, *, bfloat16: bool = False) -> Steps:
    model = timm.models.VisionTransformer(
        img_size=28, patch_size=7, in_chans=1, num_classes=10, embed_dim=64, depth=depth,
        num_heads=4, class_token=False, global_pool="avg", fc_norm=False,
    )  # fmt: skip
    affine = transforms.RandomAffine(12, translate=(0.05, 0.05), scale=(0.88, 1.12), shear=10)
    return usual_steps(model, affine, batch=BATCH, workers=2, bfloat16=bfloat16)


def product_steps(depth: int) -> Steps:
    """The products of the linear layers alone, forward and backward, in float32."""
    rows, width = BATCH * 16, 64
    block = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    products = []
    for inputs, outputs in [(49, width), *depth * block]:
        weight, x, gradient = (
            torch.randn(shape) for shape in ((inputs, outputs), (rows, inputs), (rows, outputs))
        )
        for left, right in ((x, weight), (gradient, weight.T), (x.T, gradient)):
            products.append((left, right, left @ right))

    def steps(count: int) -> Iterator[None]:
        for _ in range(count):
            for left, right, product in products:
                torch.mm(left, right, out=product)
            yield

    return steps


class LargeViT(nn.Module):
    """Of mnistvit's default sizes: 49 patches, a class token, 9 layers, 11 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        width = 15 * 28
        self.embed, self.token = nn.Linear(16, width), nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 50, width))
        layer = nn.TransformerEncoderLayer(
            width, 15, 615, 0.06, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 9, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(width, 88), nn.GELU(), nn.Linear(88, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (batch, 10)."""
        tokens = self.embed(cut_patches(images, (4, 4)))
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1) + self.positions
        logits: Tensor = self.head(self.layers(tokens)[:, 0])
        return logits


def processor_seconds() -> float:
    """Processor time of this process and of the loaders that have ended."""
    return sum(os.times()[:4])


def measure(steps: Steps, count: int) -> tuple[float, float]:
    """Milliseconds of a step: elapsed, without the first; and of all processors."""
    processors = processor_seconds()
    running = steps(count + 1)
    next(running)
    started = time.perf_counter()
    done = sum(1 for _ in running)
    elapsed = (time.perf_counter() - started) / done
    return elapsed * 1e3, (processor_seconds() - processors) / (done + 1) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--depths", type=int, nargs="+", default=[6, 3])
    parser.add_argument("--compile", action="store_true", help="also with compiled blocks")
    arguments = parser.parse_args()
    keep_freed_memory()
    columns = ("training", "ms", "ratio", "images/s", "processor ms", "ratio")
    table = Table(*columns, title="512 images")
    for depth in arguments.depths:
        config = replace(digits(), model=ViTConfig(depth=depth))
        base = f"clearhead, depth {depth}"
        rows: dict[str, tuple[Steps, int, float]] = {  # the steps, how many, and for 512 images
            base: (clearhead_steps(config), arguments.steps, 1),
            "  float32": (
                clearhead_steps(replace(config, precision="float32")),
                arguments.steps,
                1,
            ),
            "  half of the patches": (
                clearhead_steps(replace(config, early_patches=0.5)),
                arguments.steps,
                1,
            ),
            "  its products alone, float32": (product_steps(depth), arguments.steps, 1),
            f"timm, depth {depth}": (timm_steps(depth), arguments.steps, 1),
            "  bfloat16": (timm_steps(depth, bfloat16=True), arguments.steps, 1),
        }
        if arguments.compile:
            rows["  compiled"] = (clearhead_steps(config, compiled=True), arguments.steps, 1)
        if depth == 3:
            affine = transforms.RandomAffine(16, translate=(0.1, 0.1), scale=(0.9, 1.1))
            large = usual_steps(LargeViT(), affine, batch=32, workers=0)
            rows["mnistvit's sizes, batch 32"] = (large, 1, 512 / 32)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
        for _ in range(arguments.rounds):
            for name, (steps, count, factor) in rows.items():
                elapsed, processors = measure(steps, count)
                times[name].append((elapsed * factor, processors * factor))
        medians = {
            name: [statistics.median(x) for x in zip(*t, strict=True)] for name, t in times.items()
        }
        for name, (elapsed, processors) in medians.items():
            table.add_row(
                name,
                f"{elapsed:,.0f}",
                f"{elapsed / medians[base][0]:.2f}",
                f"{BATCH / elapsed * 1e3:,.0f}",
                f"{processors:,.0f}",
                f"{processors / medians[base][1]:.2f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
