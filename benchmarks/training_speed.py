"""Speed of a training step with bfloat16 and compiled blocks, against float32.

The digit classifier at batch size 512, the variants in turn, medians over the rounds. Run it on an
idle machine: python benchmarks/training_speed.py
"""

import statistics
import time
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table

from clearhead.data import ImageDataset
from clearhead.training import TrainConfig, TrainingState, initial_model
from clearhead.training.batches import ImageBatches
from clearhead.training.config import digits
from clearhead.training.distributed import ALONE, compile_blocks, uses_bfloat16
from clearhead.training.loop import train_step
from clearhead.training.optim import make_optimizers

STEPS, ROUNDS = 8, 7
BASE = replace(digits(), batch_size=512)
VARIANTS = {
    "float32": replace(BASE, precision="float32", compile=False),
    "bfloat16": replace(BASE, precision="bfloat16", compile=False),
    "float32, compiled": replace(BASE, precision="float32"),
    "bfloat16, compiled": replace(BASE, precision="bfloat16"),
    "bfloat16, compiled, AdamW": replace(BASE, precision="bfloat16", optimizer="adamw"),
}


class Runner:
    """The training of one variant."""

    def __init__(self, config: TrainConfig) -> None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (4096, 1, 28, 28), generator=generator).to(torch.uint8)
        labels = torch.randint(0, 10, (4096,), generator=generator)
        self.config = config
        dataset = ImageDataset("noise", images, labels, tuple("0123456789"))
        self.batches = ImageBatches(dataset, config, ALONE)
        model = initial_model(config).train()
        self.state = TrainingState(model, None, make_optimizers(model, config), total_steps=10_000)
        self.bfloat16 = uses_bfloat16(config, ALONE.device)
        self.order = self.batches.order(0)
        if config.compile:
            example, _ = self.batches.batch(0, self.order)
            compile_blocks(model, example, bfloat16=self.bfloat16, message=lambda _: None)

    def seconds(self) -> float:
        """The duration of STEPS steps."""
        started = time.perf_counter()
        for _ in range(STEPS):
            batch = self.batches.batch(self.state.step, self.order)
            train_step(
                self.state.model, self.state, batch, self.config, ALONE, bfloat16=self.bfloat16
            )
        return time.perf_counter() - started


def main() -> None:
    runners = {name: Runner(config) for name, config in VARIANTS.items()}
    for runner in runners.values():
        runner.seconds()
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, runner in runners.items():
            times[name].append(runner.seconds())
    base = statistics.median(times["float32"])
    table = Table("variant", "ms per step", "images/s", "against float32")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        table.add_row(
            name,
            f"{median / STEPS * 1e3:.1f}",
            f"{512 * STEPS / median:,.0f}",
            f"{base / median:.2f} ×",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
