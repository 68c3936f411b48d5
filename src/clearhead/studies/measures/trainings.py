"""Training runs that several studies share, and premises: how far models get without attention.

A training run is declared here, done once for each seed, and its weights are kept in the cache
folder, under a digest of all that determines them: the declaration, the seed, torch's version, and
the code of attention, models, data and training. If any of these changes, the model is trained
again.

On plain digits, blocks without attention are as accurate as the ViT (C11), so plain digits cannot
show what attention contributes. A part about one of the two tasks is undecided unless the model
with attention is more accurate than the baseline without it (the floor).
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from clearhead.data import ImageDataset, Split, cache_folder
from clearhead.errors import CheckpointError
from clearhead.models import TextTransformer, load
from clearhead.models._build import MODELS
from clearhead.models.config import ModelConfig
from clearhead.studies import Cell, Hypothesis, Measure, Points, Summary, Trial, Values, difference
from clearhead.studies._worker import note_training
from clearhead.studies.measures import tasks
from clearhead.studies.measures.classifiers import (
    BATCH_SIZE,
    COMPARED_MODELS,
    accuracy_on,
    accuracy_on_unseen,
    error_rate,
    training_config,
    training_digits,
    unseen_digits,
)
from clearhead.studies.measures.tasks import COMMON, RECALL
from clearhead.training import TextTrainConfig, fit, initial_model
from clearhead.training.batches import NO_LABEL, Batch, generator_for
from clearhead.training.loop import train_step
from clearhead.training.start import initial_state

CODE = ("attention", "data", "models", "training")
FILES = ("classifiers", "tasks", "trainings")
"""Packages, and files beside this one, whose code is part of the digest"""

STEPS = {100: 200, 1_000: 300, 10_000: 500}
"""Steps of 100 digits, by number of training digits"""
ON_DIGITS = {"digits": 3_000, "steps": 300}
ON_COMMON = {"examples": 24_000, "epochs": 4}
ON_RECALL = {"examples": 38_400}
"""Settings of the training runs that several claims share, by their task"""
NEXT_ON_COMMON = ON_COMMON | {"rates": (1e-2, 2e-2)}
"""For the next registration, in place of `ON_COMMON`: at half the rates, fewer seeds fail"""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What determines a trained model, beside its seed."""

    task: Literal["digits", "common digit", "recall"]
    model: ModelConfig
    examples: int
    epochs: int = 1
    batch_size: int
    rates: tuple[float, float]
    """Peak learning rates of AdamW and of Muon"""
    fan_in: bool = False
    """Whether initial weights are `fan_in_weights` instead of the models' own, of variance 0.02²"""


def on_digits(name: str, *, examples: int, steps: int, **changes: Any) -> Training:
    """The training of one of `COMPARED_MODELS` on MNIST's digits, with changes of its model."""
    compared, batch_size = COMPARED_MODELS[name], min(BATCH_SIZE, examples)
    return Training(
        task="digits",
        model=replace(compared.config, **changes),
        examples=examples,
        epochs=steps // (examples // batch_size),
        batch_size=batch_size,
        rates=compared.rates,
    )


def training_of(trial: Trial, name: str = "vit", **changes: Any) -> Training:
    """The training on the task that a condition names, else on digits, with a trial's settings.

    From small initial weights no model leaves the floor of the common digit in as many steps
    (LOG.md, 2026-11-28). `name` is one of `COMPARED_MODELS`, for images.
    """
    settings = trial.settings
    if trial.condition == RECALL:
        return Training(
            task="recall",
            model=replace(tasks.RECALL_MODEL, **changes),
            examples=settings["examples"],
            batch_size=64,
            rates=(1e-3, 1e-2),
            fan_in=True,
        )
    if trial.condition == COMMON:
        return Training(
            task="common digit",
            model=replace(COMPARED_MODELS[name].config, **changes),
            examples=settings["examples"],
            epochs=settings["epochs"],
            batch_size=50,
            rates=settings.get("rates", (2e-2, 4e-2)),
            fan_in=True,
        )
    return on_digits(name, examples=settings["digits"], steps=settings["steps"], **changes)


def model_of(trial: Trial, name: str = "vit", **changes: Any) -> Any:
    """The model of a condition: shipped, or trained as `training_of` says."""
    if trial.condition == "shipped":
        return load()
    return trained(training_of(trial, name, **changes), trial.seed)


def images_of(trial: Trial, count: int, split: Split = "test") -> ImageDataset:
    """Images of a condition's task, drawn with the seed."""
    if trial.condition == COMMON:
        return tasks.common_digits(split, count, trial.seed).dataset
    return (training_digits if split == "train" else unseen_digits)(count, trial.seed)


def texts_of(trial: Trial) -> tasks.RecallTexts:
    """As many unseen texts of recall as the setting `unseen` says."""
    return tasks.recall_texts("test", trial.settings["unseen"], trial.seed)


def unseen_of(trial: Trial) -> ImageDataset:
    """As many unseen images of a condition's task as the setting `unseen` says."""
    return images_of(trial, trial.settings["unseen"])


def accuracy_on_task(trial: Trial, model: Any) -> float:
    """Per cent of a condition's unseen images or texts that are right."""
    if trial.condition == RECALL:
        return tasks.recall_accuracy(model, texts_of(trial))
    return accuracy_on(model, unseen_of(trial))


def floor_of(trial: Trial, **others: Mapping[str, Any]) -> Values:
    """Accuracy (per cent) on a condition's task with attention and without; nothing on digits.

    Without attention: no mixing of patches in the common digit, uniform weights in recall. `others`
    are arguments of `model_of` for more models, by their keys.
    """
    if trial.condition not in (COMMON, RECALL):
        return {}
    without = {"attention_scale": 0.0} if trial.condition == RECALL else {"name": "no-attention"}
    models = {"with_attention": {}, "floor": without} | others
    return {key: accuracy_on_task(trial, model_of(trial, **x)) for key, x in models.items()}


def within(
    condition: str,
    what: str,
    unit: str,
    first: Measure,
    second: Measure | float,
    *,
    margin: float,
    spread: float | None = None,
) -> Hypothesis:
    """`difference` of two measures of the same condition, or of one and a constant.

    Args:
        condition: The condition, which begins the hypothesis's name.
        what: What is compared with what.
        unit: The unit of both sides.
        first: A measure.
        second: The other measure, or a constant.
        margin: As in `difference`.
        spread: As in `difference`.
    """
    other = second if isinstance(second, float) else Cell(condition, second)
    cell = Cell(condition, first)
    return difference(f"{condition}: {what}", unit, cell, other, margin=margin, spread=spread)


FLOORS = {
    task: within(
        task,
        "with attention, against the floor without",
        "percentage points",
        "with_attention",
        "floor",
        margin=20.0,
    )
    for task in (COMMON, RECALL)
}
"""By task: the premise that models need attention, so that those without (the floor) do worse"""


def trained(training: Training, seed: int) -> Any:
    """The model of a training run, in evaluation mode, from the cache or trained now."""
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


def accuracy_of_training(trial: Trial) -> Values:
    """Accuracy of the model that the condition names (`COMPARED_MODELS`), trained on digits."""
    model = trained(training_of(trial, trial.condition), trial.seed)
    return accuracy_on_unseen(model, trial)


def train(training: Training, seed: int) -> Any:
    """Train the model, without the cache."""
    options = {"epochs": training.epochs, "batch_size": training.batch_size, "seed": seed}
    config = training_config(training.model, training.rates, **options)
    model = initial_model(config)
    if training.fan_in:
        fan_in_weights(model, seed)
    if training.task == "recall":
        return _train_recall(model, config, training.examples)
    if training.task == "digits":
        images = training_digits(training.examples, seed)
    else:
        images = tasks.common_digits("train", training.examples, seed).dataset
    return fit(config, images, model=model).result


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


def _train_recall(model: TextTransformer, config: TextTrainConfig, count: int) -> TextTransformer:
    """Each of `count` texts once; the loss is that of the queries."""
    texts = tasks.recall_texts("train", count, config.seed)
    labels = torch.full_like(texts.ids, NO_LABEL)
    labels[:, tasks.FIRST_QUERY :] = texts.answers
    state = initial_state(config, model.train(), count // config.batch_size)
    for ids, answers in zip(
        *(x.split(config.batch_size) for x in (texts.ids, labels)), strict=True
    ):
        train_step(model, state, Batch((ids,), answers))
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


PANELS_BY_DIGITS = (
    Points(
        error_rate,
        "error rate on unseen digits (%)",
        "training digits",
        x="digits",
        xscale="log",
        yscale="log",
        ticks={digits: f"{digits:,}" for digits in STEPS},
    ),
)
SUMMARIES_BY_DIGITS = tuple(
    Summary(
        f"Accuracy on unseen digits (%), {steps} steps on {digits:,} training digits",
        "accuracy",
        settings={"digits": digits},
    )
    for digits, steps in STEPS.items()
)
