"""Training in memory for studies: `clearhead.training.fit` in float32, without compilation."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from clearhead.data import ImageDataset
from clearhead.models.pretrained import ImageModel
from clearhead.models.text import TextTransformer
from clearhead.training import Callback, TextTrainConfig, TrainConfig, TrainingState
from clearhead.training import fit as fit_in_memory

Watch = Callable[[TrainingState[Any]], None]


def fit(
    config: TrainConfig,
    dataset: ImageDataset,
    *,
    model: ImageModel | None = None,
    watch: Watch | None = None,
) -> ImageModel:
    """Train on all of `dataset`, from the weights of `model` if given.

    `watch` is called after every step. Raises `DivergenceError` if the loss becomes NaN.
    """
    config = replace(config, precision="float32", compile=False)
    return fit_in_memory(config, dataset, model=model, callback=_Watching(watch)).result


def fit_text(config: TextTrainConfig, *, start: TextTransformer | None = None) -> TextTransformer:
    """Train on the sentences that `config` generates, from the weights of `start` if given."""
    config = replace(config, precision="float32", compile=False)
    return fit_in_memory(config, model=start).result


class _Watching(Callback):
    def __init__(self, watch: Watch | None) -> None:
        self.watch = watch

    def on_step(self, state: TrainingState[Any], loss: float) -> None:
        if self.watch is not None:
            self.watch(state)
