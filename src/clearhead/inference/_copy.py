"""Models in other processes."""

import torch
from safetensors.torch import load as read_tensors

from clearhead.inference._model import ModelLike, digest_of, weights_of
from clearhead.inference._names import EngineChoice
from clearhead.inference._predict import with_engine
from clearhead.models.pretrained import ImageModel


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
        self.weights = weights_of(model)
        self.digest = digest_of(model, self.weights)
        """The same for models that give the same results"""

    def load(self) -> ModelLike:
        """A new model, in evaluation mode, with the engine.

        Returns:
            The model or, with an engine other than torch, an `EngineModel`.
        """
        model = self.kind(self.config)
        model.load_state_dict(read_tensors(self.weights), assign=True)
        return with_engine(model.to(self.device).eval(), self.engine)
