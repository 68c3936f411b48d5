"""How many steps a recipe takes on few images. Torch is not imported here.

Recipes are made for 60,000 digits. Their batches of 512 would make one step an epoch of a few dozen
pictures, and a handful of steps in all: a model that has learnt nothing.
"""

import math
from dataclasses import replace

from clearhead.training.config import TrainConfig

STEPS_AN_EPOCH = 8
LEAST_BATCH = 8
LEAST_STEPS = 400


class Proposed(int):
    """A number that a recipe proposes. One that a person chose is a plain `int`, and stays."""


def proposal(config: TrainConfig) -> TrainConfig:
    """The same settings; `suited` may change the batch size and the number of epochs."""
    return replace(config, batch_size=Proposed(config.batch_size), epochs=Proposed(config.epochs))


def suited(config: TrainConfig, images: int) -> TrainConfig:
    """The settings for so many training images, all numbers plain again.

    A proposed batch is at most an eighth of the images, but at least 8 of them; proposed epochs are
    as many as make 400 steps. Enough images for both leave everything as it was proposed.
    """
    batch_size, epochs = int(config.batch_size), int(config.epochs)
    if isinstance(config.batch_size, Proposed):
        batch_size = min(batch_size, max(images // STEPS_AN_EPOCH, LEAST_BATCH))
    if isinstance(config.epochs, Proposed):
        epochs = max(epochs, math.ceil(LEAST_STEPS / max(images // batch_size, 1)))
    return replace(config, batch_size=batch_size, epochs=epochs)
