"""A small training or evaluation in processes of its own, for tests that need them.

python small_run.py train OUT EPOCHS [SECONDS between checkpoints]
python small_run.py evaluate MODEL OUT

Under torchrun it joins the others.
"""

import json
import sys
from pathlib import Path

import torch

from clearhead.data import AugmentConfig, ImageDataset
from clearhead.models.build import load
from clearhead.models.config import ViTConfig
from clearhead.training import loop
from clearhead.training.config import TrainConfig
from clearhead.training.distributed import join_world
from clearhead.training.job import evaluate_together

MODEL = ViTConfig(
    image_size=6, patch_size=3, embed_dim=20, depth=2, num_heads=5, num_classes=3, dropout=0.1
)


def small_dataset(images: int = 101) -> ImageDataset:
    """Three kinds of noisy pictures."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.randint(0, 3, (images,), generator=generator)
    noise = torch.randint(0, 90, (images, 1, 6, 6), generator=generator)
    bright = torch.zeros(images, 1, 6, 6, dtype=torch.long)
    bright[torch.arange(images), 0, labels * 2] = 150
    return ImageDataset("small", (noise + bright).to(torch.uint8), labels, ("a", "b", "c"))


def small_config(epochs: int = 3, **changes: object) -> TrainConfig:
    """Everything switched on that has a state: both optimisers, dropout, average, distortion."""
    settings = {
        "model": MODEL,
        "epochs": epochs,
        "batch_size": 13,
        "average": 0.9,
        "augment": AugmentConfig(rotate=5, shift=0.5, elastic=0.2, elastic_knots=3),
        "precision": "float32",
        "compile": False,
    }
    return TrainConfig(**(settings | changes))  # type: ignore[arg-type]


def train_here(out: str, epochs: str, seconds: str = "60") -> None:
    """Train, with a checkpoint every so many seconds."""
    loop.CHECKPOINT_SECONDS = float(seconds)
    with join_world("cpu") as world:
        trained = loop.train(small_config(int(epochs)), small_dataset(), Path(out), world=world)
    sys.exit(0 if trained.finished else 130)


def evaluate_here(model: str, out: str) -> None:
    """Evaluate a saved model, and write down what came of it."""
    with join_world("cpu") as world:
        evaluation = evaluate_together(load(model), small_dataset(2357), world)
        if world.is_first:
            Path(out).write_text(json.dumps(evaluation.to_dict()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "train":
        train_here(*sys.argv[2:])
    else:
        evaluate_here(*sys.argv[2:])
