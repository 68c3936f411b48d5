"""What computes a forward pass: a model in evaluation mode, or an engine with a copy of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float
from safetensors.torch import save as write_tensors
from torch import Tensor, nn

from clearhead._atomic import sha256
from clearhead.errors import ConfigError, InputError
from clearhead.inference._names import EngineChoice, EngineName
from clearhead.models.config import ImageModelConfig, TextConfig
from clearhead.models.pretrained import ImageModel


class Engine(Protocol):
    """Computes logits; any callable with these arguments and this result can be used."""

    def __call__(
        self, images: Float[Tensor, "batch channels height width"], /
    ) -> Float[Tensor, "batch classes"]:
        """Logits of normalised images."""


@dataclass(frozen=True, kw_only=True)
class EngineModel:
    """An image classifier whose forward pass an engine computes.

    `predict`, `evaluate` and the other functions of `inference` take it in place of the model. Its
    attention cannot be captured; use `model` for that.

    Attributes:
        model: The model. The engine has a copy of its weights: later changes have no effect.
        name: The engine's name.
        run: The engine.
        speedup: Images per second relative to torch, if "auto" has measured it.
        unused: Engines that "auto" did not use, each with the reason.
    """

    model: ImageModel = field(repr=False)
    name: EngineName
    run: Engine = field(repr=False)
    speedup: float | None = None
    unused: Mapping[str, str] = field(default_factory=dict)

    @property
    def config(self) -> ImageModelConfig:
        """The model's configuration."""
        return self.model.config

    def choice(self) -> str:
        """The engine that "auto" has chosen, and why, in one line.

        Returns:
            The engine's name, its speed relative to torch, and why each other engine is not used.
        """
        others = "; ".join(f"{name}: {reason}" for name, reason in self.unused.items())
        return f"engine {self.name}, {self.speedup or 1:.2f} × torch ({others})"

    def parameters(self) -> Iterator[nn.Parameter]:
        """The model's parameters, which have the device and number type of the images.

        Returns:
            An iterator over them.
        """
        return self.model.parameters()

    def __call__(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of normalised images.

        Raises:
            InputError: Their shape is not the model's.
        """
        self.model.check_images(images)
        return self.run(images)


ModelLike = ImageModel | EngineModel


def check_image_model(model: object, function: str) -> None:
    """Check that a model is one of Clearhead's image models.

    Args:
        model: The model.
        function: Name of the function that needs the model, for the message.

    Raises:
        InputError: It is a name, a text model, or a model of another library.
    """
    config = getattr(model, "config", None)
    if isinstance(config, ImageModelConfig):
        return
    if isinstance(model, str | Path):
        advice = f"load it first: clearhead.load({str(model)!r})"
        raise InputError(f"{function} needs a model, got the name {str(model)!r}; {advice}")
    kind = f"{type(model).__module__}.{type(model).__name__}"
    if isinstance(config, TextConfig):
        raise InputError(
            f"{function} needs an image model, got the text model {kind}; for a text use "
            'clearhead.explain(model, "The cat sat.")'
        )
    raise InputError(
        f"{function} needs one of Clearhead's image models, got {kind}; for models of other "
        'libraries use clearhead.explain("timm:NAME", picture), or "hf:OWNER/NAME", or wrap the '
        "model in clearhead.explanation.ImageClassifier and explain that"
    )


def with_engine(model: ModelLike, engine: EngineChoice, batch_size: int = 32) -> ModelLike:
    """The model with an engine; unchanged with "torch", or if it has one already."""
    if engine == "torch":
        return model
    from clearhead.inference._engines import load_engine  # imports torch.export, which takes long

    return load_engine(model, engine, batch_size=batch_size)


@contextmanager
def evaluation_mode(model: object) -> Iterator[None]:
    """Put a module into evaluation mode, and restore each submodule's own mode afterwards.

    Anything that is not a module is left alone.

    Args:
        model: A module, or anything else.
    """
    # Setting the mode takes longer than some forward passes: only modules in training are touched.
    modules = model.modules() if isinstance(model, nn.Module) else ()
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def move(model: ModelLike, device: torch.device | str) -> None:
    """Move a model to a device; `ConfigError` if that is impossible, as for an engine's copy."""
    try:
        wanted = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"device {str(device)!r} cannot be used ({reason})") from error
    if isinstance(model, nn.Module):
        model.to(wanted)
    elif wanted != (own := next(model.parameters()).device):
        raise ConfigError(
            f"engine {model.name!r} has a copy of the model on {own}, got device {str(device)!r}; "
            "move its model and load the engine again, or leave the device out"
        )


def weights_of(model: ImageModel) -> bytes:
    """The state of a model as the content of a safetensors file."""
    tensors = model.state_dict().items()
    return write_tensors({name: tensor.contiguous() for name, tensor in tensors})


def digest_of(model: ImageModel, weights: bytes) -> str:
    """SHA-256 of a model's class, configuration and weights, in hexadecimal."""
    return sha256(repr((type(model), model.config)).encode() + weights)
