"""A whole training job: data, training, evaluation, and all of it in one folder."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from clearhead._atomic import write_atomic
from clearhead.data.download import Report
from clearhead.data.images import ImageDataset
from clearhead.inference import (
    Evaluation,
    load_dataset_for,
    predict_probabilities,
    save_evaluation_plot,
)
from clearhead.models.config import CNNConfig, MLPConfig, ViTConfig
from clearhead.models.pretrained import ImageModel
from clearhead.training.config import TrainConfig
from clearhead.training.distributed import World, join_world
from clearhead.training.loop import Trained, train

METRICS = "metrics.json"
PICTURE = "digits.png"
EVALUATION_BATCH = 1000

AnyConfig = ViTConfig | MLPConfig | CNNConfig


@dataclass(frozen=True)
class JobResult:
    """What came of it; `evaluation` is None if the training was stopped before its end."""

    trained: Trained
    evaluation: Evaluation | None
    is_first: bool


class Parts(NamedTuple):
    """A data set's two parts."""

    train: ImageDataset
    test: ImageDataset


def load_parts(
    config: TrainConfig, *, root: Path | None = None, report: Report | None = None
) -> Parts:
    """Both parts of the data set, so that what is wrong with one shows before hours of training."""
    return Parts(
        load_dataset_for(config.model, config.data, "train", root=root, report=report),
        load_dataset_for(config.model, config.data, "test", root=root, report=report),
    )


def run_job(
    config: TrainConfig,
    data: Parts,
    out: Path,
    *,
    device: str = "auto",
    restart: bool = False,
    tensorboard: bool = False,
) -> JobResult:
    """Train (or go on training), then evaluate on the test images, and write both into `out`.

    Nothing is chosen on the test images: they are read once, after the last step.
    """
    if config.data != "mnist":  # whose statistics and classes are the settings' own
        config = replace(config, model=fitted(config.model, data.train))
    with join_world(device) as world:
        trained = train(
            config, data.train, out, world=world, restart=restart, tensorboard=tensorboard
        )
        if not trained.finished:
            return JobResult(trained, None, world.is_first)
        evaluation = evaluate_together(trained.model, data.test, world)
        if world.is_first:
            metrics = {"config": asdict(config), "test": evaluation.to_dict()}
            write_atomic(out / METRICS, (json.dumps(metrics, indent=2) + "\n").encode())
            save_evaluation_plot(evaluation, data.test, out / PICTURE)
            trained.model.write_card(out, _measured(evaluation, data.test.name))
        return JobResult(trained, evaluation, world.is_first)


def fitted(model: AnyConfig, dataset: ImageDataset) -> AnyConfig:
    """The model's settings, with the classes and the pixel statistics of the data set."""
    pixels = dataset.images.transpose(0, 1).flatten(1).double() / 255
    return replace(
        model,
        num_classes=len(dataset.class_names),
        class_names=dataset.class_names,
        mean=tuple(round(value, 4) for value in pixels.mean(dim=1).tolist()),
        std=tuple(max(round(value, 4), 1e-4) for value in pixels.std(dim=1).tolist()),
    )


def _measured(evaluation: Evaluation, name: str) -> str:
    """For the model's card."""
    low, high = evaluation.interval
    return (
        f"{evaluation.accuracy:.2%} (95 % interval {low:.2%} – {high:.2%}), "
        f"{evaluation.correct:,} of {evaluation.total:,} test images of {name}; "
        f"`{METRICS}` has every figure, `run.json` how it was trained"
    )


def evaluate_together(model: ImageModel, dataset: ImageDataset, world: World) -> Evaluation:
    """Evaluate with the work shared out, and the same result to the last bit.

    Each process takes every n-th batch; batches are the same for any number of processes.
    """
    batches = torch.split(dataset.images, EVALUATION_BATCH)
    mine = [predict_probabilities(model, batch) for batch in batches[world.rank :: world.size]]
    shape = (0, len(dataset.class_names))
    shares = world.gather(torch.cat([torch.empty(shape, dtype=torch.float64), *mine]))
    parts = [iter(torch.split(share, EVALUATION_BATCH)) for share in shares]
    joined = [next(parts[number % world.size]) for number in range(len(batches))]
    return Evaluation.from_probabilities(torch.cat(joined), dataset.labels, dataset.class_names)
