"""A model's evaluation mode, for as long as it is asked something."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(model: object) -> Iterator[None]:
    """A module's evaluation mode; afterwards each of its parts is as it was.

    What is no module has no mode. Only parts that are in training are touched: setting a part's
    mode takes longer than many a part's forward pass.
    """
    modules = model.modules() if isinstance(model, nn.Module) else ()
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
