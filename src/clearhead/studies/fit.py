"""A model, trained in memory for a study: the steps of `clearhead.training`, without its files."""

from collections.abc import Callable
from dataclasses import replace

import torch

from clearhead.data.images import ImageDataset
from clearhead.models.pretrained import ImageModel
from clearhead.models.text import TextTransformer
from clearhead.training.config import LearningConfig, TextTrainConfig, TrainConfig
from clearhead.training.distributed import World
from clearhead.training.state import ModelT, TrainingState
from clearhead.training.step import AnyBatches, Batches, train_step
from clearhead.training.text import TextBatches, fitted, text_data

ALONE = World(rank=0, size=1, device=torch.device("cpu"))

Watch = Callable[[TrainingState], None]


def fit(
    config: TrainConfig,
    dataset: ImageDataset,
    *,
    watch: Watch | None = None,
) -> ImageModel:
    """Train on all of `dataset`, in float32, and give the last weights, in evaluation mode.

    `watch` sees the state after every step, gradients gone. Raises `DivergenceError` if the loss
    is no longer a number.
    """
    config = replace(config, precision="float32", compile=False)
    state = TrainingState.start(config, ALONE.device)
    return _run_steps(config, state, Batches(dataset, config, ALONE), watch)


def fit_text(
    config: TextTrainConfig,
    *,
    start: TextTransformer | None = None,
    watch: Callable[[TrainingState[TextTransformer]], None] | None = None,
) -> TextTransformer:
    """The same on the sentences that `config` generates, from the weights of `start` if given."""
    config = fitted(replace(config, precision="float32", compile=False))
    state = TrainingState.start(config, ALONE.device)
    if start is not None:
        state.model.load_state_dict(start.state_dict())
    return _run_steps(config, state, TextBatches(text_data(config), config, ALONE), watch)


def _run_steps(
    config: LearningConfig,
    state: TrainingState[ModelT],
    batches: AnyBatches,
    watch: Callable[[TrainingState[ModelT]], None] | None,
) -> ModelT:
    total_steps = config.epochs * batches.per_epoch
    order = batches.order(0)
    state.model.train()
    while state.step < total_steps:
        if state.step % batches.per_epoch == 0:
            order = batches.order(state.step // batches.per_epoch)
        batch = batches.batch(state.step, order)
        train_step(
            state.model, state, batch, config, ALONE, total_steps=total_steps, bfloat16=False
        )
        if watch is not None:
            watch(state)
    model = state.result
    model.eval()
    return model
