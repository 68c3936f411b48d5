"""A model, trained in memory for a study: the steps of `clearhead.training`, without its files."""

from collections.abc import Callable
from dataclasses import replace

import torch

from clearhead.data.images import ImageDataset
from clearhead.models.build import ImageModel
from clearhead.training.config import TrainConfig
from clearhead.training.distributed import World
from clearhead.training.state import TrainingState
from clearhead.training.step import Batches, train_step

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
    world = World(rank=0, size=1, device=torch.device("cpu"))
    state = TrainingState.start(config, world.device)
    batches = Batches(dataset, config, world)
    total_steps = config.epochs * batches.per_epoch
    order = batches.order(0)
    state.model.train()
    while state.step < total_steps:
        if state.step % batches.per_epoch == 0:
            order = batches.order(state.step // batches.per_epoch)
        batch = batches.batch(state.step, order)
        train_step(
            state.model, state, batch, config, world, total_steps=total_steps, bfloat16=False
        )
        if watch is not None:
            watch(state)
    return state.result.eval()
