"""Trainings that several studies share: declared here, trained once for each seed, then kept.

The weights are kept in the cache folder, under a digest of all that determines them: the
declaration, the seed, torch's version, and the code of attention, models, data and training. If any
of these changes, the model is trained again.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from clearhead.data import ImageDataset, cache_folder
from clearhead.errors import CheckpointError
from clearhead.models import TextTransformer
from clearhead.models._build import MODELS
from clearhead.models.config import ModelConfig, TextConfig
from clearhead.studies._worker import note_training
from clearhead.studies.measures import recall
from clearhead.studies.measures.classifiers import (
    BATCH_SIZE,
    COMPARED_MODELS,
    Config,
    fit_classifier,
    training_digits,
)
from clearhead.studies.measures.common_digit import common_digits
from clearhead.training import TextTrainConfig, TrainConfig, TrainingState, initial_model
from clearhead.training.batches import generator_for
from clearhead.training.distributed import ALONE
from clearhead.training.optim import make_optimizers
from clearhead.training.step import train_step
from clearhead.training.texts import NO_LABEL

Task = Literal["digits", "common digit", "recall"]
CODE = ("attention", "data", "models", "training")
FILES = ("classifiers", "common_digit", "recall", "trainings")
"""Packages, and files beside this one, whose code is part of the digest"""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What determines a trained model, beside its seed.

    Args:
        task: MNIST's digits, or one of the tasks that need attention.
        model: The configuration of the model.
        examples: Number of training examples, drawn with the seed.
        epochs: Passes over them; texts are seen once.
        batch_size: Examples in a step.
        rates: Peak learning rates of AdamW and of Muon.
        fan_in: Whether the initial weights have the variance 1 / inputs (`fan_in_weights`) instead
            of the models' own, 0.02².
    """

    task: Task
    model: ModelConfig
    examples: int
    epochs: int = 1
    batch_size: int
    rates: tuple[float, float]
    fan_in: bool = False

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.epochs * (self.examples // self.batch_size)


def on_digits(name: str, *, examples: int, steps: int, **changes: Any) -> Training:
    """The training of one of `COMPARED_MODELS` on MNIST's digits, with changes of its model."""
    compared, batch_size = COMPARED_MODELS[name], min(BATCH_SIZE, examples)
    return Training(
        task="digits",
        model=replace(compared.config, **changes),
        examples=examples,
        epochs=steps // (examples // batch_size),
        batch_size=batch_size,
        rates=(compared.learning_rate, compared.matrix_learning_rate),
    )


def on_common_digit(
    name: str,
    *,
    examples: int,
    epochs: int,
    rates: tuple[float, float] = (2e-2, 4e-2),
    **changes: Any,
) -> Training:
    """The training of one of `COMPARED_MODELS` on the common digit, with changes of its model.

    From small initial weights no model leaves the floor in as many steps (LOG.md, 2026-11-28).
    """
    return Training(
        task="common digit",
        model=replace(COMPARED_MODELS[name].config, **changes),
        examples=examples,
        epochs=epochs,
        batch_size=50,
        rates=rates,
        fan_in=True,
    )


def on_recall(*, examples: int, **changes: Any) -> Training:
    """The training of the text model on associative recall, with changes of its model."""
    return Training(
        task="recall",
        model=replace(recall.MODEL, **changes),
        examples=examples,
        batch_size=64,
        rates=(1e-3, 1e-2),
        fan_in=True,
    )


def trained(training: Training, seed: int) -> Any:
    """The model of a training, in evaluation mode: from the cache, or trained and kept there."""
    name = digest(training, seed)
    note_training(name)
    folder = cache_folder() / "studies" / name
    model_class = next(x for x in MODELS if x.config_class is type(training.model))
    if folder.is_dir():
        with suppress(CheckpointError):  # damaged, or another process is just writing it
            return model_class.from_pretrained(folder)
    model = train(training, seed)
    model._save_pretrained(folder)
    return model


def train(training: Training, seed: int) -> Any:
    """Train the model, without the cache."""
    common: dict[str, Any] = {
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "optimizer": "muon",
        "learning_rate": training.rates[0],
        "matrix_learning_rate": training.rates[1],
        "label_smoothing": 0.0,
        "seed": seed,
    }
    if isinstance(training.model, TextConfig):
        return _train_recall(training, TextTrainConfig(model=training.model, **common))
    config = TrainConfig(model=cast("Config", training.model), **common)
    initial = fan_in_weights(initial_model(config), seed) if training.fan_in else None
    return fit_classifier(config, _images(training, seed), model=initial)


def fan_in_weights(model: Any, seed: int) -> Any:
    """A model with new weights: of variance 1 / inputs, and 1 for embeddings and positions.

    All activations then have a variance near 1, as the argument for the factor 1/√d_k supposes
    (LeCun et al. 1998, "Efficient BackProp"). The head, biases and norms are left as they are.
    """
    generator = generator_for("fan-in weights", seed)
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and not name.startswith("head."):
            inputs = 1 if "_embed" in name and "proj" not in name else weight[0].numel()
            nn.init.normal_(weight, std=inputs**-0.5, generator=generator)
    return model


def digest(training: Training, seed: int) -> str:
    """A digest of everything that determines the weights."""
    identity = repr((training, seed, torch.__version__, _code()))
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _images(training: Training, seed: int) -> ImageDataset:
    if training.task == "common digit":
        return common_digits("train", training.examples, seed).dataset
    return training_digits(training.examples, seed)


def _train_recall(training: Training, config: TextTrainConfig) -> TextTransformer:
    """Each text once; the loss is that of the queries."""
    model: TextTransformer = initial_model(config)
    if training.fan_in:
        fan_in_weights(model, config.seed)
    texts = recall.recall_texts("train", training.examples, config.seed)
    labels = torch.full_like(texts.ids, NO_LABEL)
    labels[:, recall.FIRST_QUERY :] = texts.answers
    state = TrainingState(model, None, make_optimizers(model, config), training.steps)
    model.train()
    for batch in zip(*(x.split(config.batch_size) for x in (texts.ids, labels)), strict=True):
        train_step(model, state, batch, config, ALONE, bfloat16=False)
    return model.eval()


@cache
def _code() -> str:
    root = Path(str(resources.files("clearhead")))
    measures = root / "studies" / "measures"
    files = [measures / f"{name}.py" for name in FILES]
    files += (path for name in CODE for path in (root / name).rglob("*.py"))
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()
