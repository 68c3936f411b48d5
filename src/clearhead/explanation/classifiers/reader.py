"""A model with all that is needed to show it a picture, and to say what it saw."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from clearhead.data.preprocessing.any_picture import Picture
from clearhead.errors import ConfigError
from clearhead.insight.tokens import Grid, grid_of


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A picture as a model sees it.

    `pixels` are `inputs` before normalisation, for people. `is_ink` says that a pixel is light ink
    on black paper, as in MNIST. `found` is False if there is nothing to answer.
    """

    inputs: Float[Tensor, "1 channels height width"]
    pixels: UInt8[Tensor, "channels height width"]
    is_ink: bool = False
    warnings: tuple[str, ...] = ()
    found: bool = True


@dataclass(frozen=True, kw_only=True, eq=False)
class Reader:
    """A model in evaluation mode, the names of its answers, and how pictures are made ready for it.

    `name` is what the person called it. Without `class_names` it answers nothing: its output is no
    choice between classes. `warnings` hold for every picture.
    """

    name: str
    model: nn.Module
    class_names: tuple[str, ...]
    look: Callable[[Picture], View]
    warnings: tuple[str, ...] = ()

    def grid(self, view: View) -> Grid | None:
        """Where the patches of a picture of this size lie; None if the model does not say."""
        height, width = view.inputs.shape[-2:]
        try:
            return grid_of(self.model, (int(height), int(width)))
        except ConfigError:
            return None
