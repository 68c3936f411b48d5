"""Models in other processes."""

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors

from clearhead._atomic import sha256
from clearhead.inference._names import EngineChoice
from clearhead.inference._predict import with_engine
from clearhead.models.pretrained import ImageModel

if TYPE_CHECKING:
    from clearhead.inference._engines import ModelLike


class ModelCopy:
    """A model as bytes, which can be sent to another process and loaded there.

    torch itself would send each tensor through shared memory, in a file of its own.

    Args:
        model: The model.
        engine: What computes its forward pass where it is loaded.
    """

    def __init__(self, model: ImageModel, engine: EngineChoice = "torch") -> None:
        self.engine = engine
        self.kind = type(model)
        self.config = model.config
        self.device: torch.device = next(model.parameters()).device
        tensors = model.state_dict().items()
        self.weights = write_tensors({name: tensor.contiguous() for name, tensor in tensors})

    def load(self) -> "ModelLike":
        """A new model, in evaluation mode, with the engine.

        Returns:
            The model or, with an engine other than torch, an `EngineModel`.
        """
        model = self.kind(self.config)
        model.load_state_dict(read_tensors(self.weights), assign=True)
        return with_engine(model.to(self.device).eval(), self.engine)

    def digest(self) -> str:
        """The same for models that give the same results.

        Returns:
            A SHA-256, in hexadecimal.
        """
        return sha256(repr((self.kind, self.config)).encode() + self.weights)
