"""Small trainings, in this process or in processes of their own.

`python -m tests.training.small_run OUT EPOCHS` trains with a checkpoint at every step; under
torchrun, together with the other processes.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from clearhead.data import AugmentConfig, ImageDataset
from clearhead.models.config import ViTConfig
from clearhead.training import TrainConfig, TrainingResult, distributed, loop, results, train
from tests.processes import die_with_parent, free_port

distributed.TIMEOUT = timedelta(hours=1)  # so that a slow process does not count as lost

MODEL = ViTConfig(
    image_size=6,
    patch_size=3,
    embed_dim=20,
    depth=1,
    num_heads=5,
    num_classes=3,
    dropout=0.1,
    key_dropout=0.1,
)


def small_dataset(images: int = 101) -> ImageDataset:
    """Three classes of noisy pictures."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.randint(0, 3, (images,), generator=generator)
    noise = torch.randint(0, 90, (images, 1, 6, 6), generator=generator)
    bright = torch.zeros(images, 1, 6, 6, dtype=torch.long)
    bright[torch.arange(images), 0, labels * 2] = 150
    return ImageDataset("small", (noise + bright).to(torch.uint8), labels, ("a", "b", "c"))


def small_config(epochs: int = 3, **changes: Any) -> TrainConfig:
    """All that has a state or draws random numbers: both optimisers, dropout, average, augment."""
    settings: dict[str, Any] = {
        "model": MODEL,
        "epochs": epochs,
        "batch_size": 13,
        "average": 0.9,
        "augment": AugmentConfig(rotate=5, shift=0.5, elastic=0.2, elastic_knots=3),
        "precision": "float32",
        "compile": False,
    }
    return TrainConfig(**(settings | changes))


def small_training(
    out: Path, epochs: int = 3, *, images: int = 101, **changes: Any
) -> TrainingResult:
    """A training run of the small model on the small data set, with 59 test images."""
    data = small_dataset(images), small_dataset(59)
    options = {
        name: changes.pop(name) for name in ("restart", "stop", "tensorboard") if name in changes
    }
    return train(small_config(epochs, **changes), data=data, out=out, device="cpu", **options)


def start_processes(
    target: Callable[..., None], *arguments: object, count: int
) -> list[multiprocessing.process.BaseProcess]:
    """Start `target(*arguments)` in `count` processes that form one world."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clearhead.training.run"])
    port = free_port()
    processes: list[multiprocessing.process.BaseProcess] = []
    for rank in range(count):
        process = context.Process(
            target=_in_world, args=(rank, count, port, target, arguments), daemon=True
        )
        process.start()
        processes.append(process)
    return processes


def train_often_saved(out: str, epochs: int) -> None:
    """Train with a checkpoint after every step, and without a picture; for other processes."""
    loop.CHECKPOINT_SECONDS = 0.0
    setattr(results, "save_evaluation_plot", lambda *_: None)  # noqa: B010
    torch.set_num_threads(1)
    small_training(Path(out), epochs)


def _in_world(
    rank: int, count: int, port: int, target: Callable[..., None], arguments: tuple[object, ...]
) -> None:
    die_with_parent()
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115  # it stays open
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    target(*arguments)


def record_end(path: Path) -> None:
    """Continue in a child process, whose exit code this process writes before it ends.

    The code is negative for a signal, as `Process.exitcode`; a killed process writes nothing.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it to both
    if pid := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        path.write_text(str(code))
        os._exit(int(code != 0))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()


if __name__ == "__main__":
    die_with_parent()
    record_end(Path(f"{sys.argv[1]}-{os.environ['RANK']}.exit"))
    train_often_saved(sys.argv[1], int(sys.argv[2]))
