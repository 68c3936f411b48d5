"""The initial state of a training run: random weights, or those of another model; optimisers."""

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from clearhead.errors import ConfigError
from clearhead.models import Model, build, load
from clearhead.models.pretrained import ImageModel
from clearhead.models.text import TextTransformer
from clearhead.training.config import BaseTrainConfig, TextTrainConfig, TrainConfig
from clearhead.training.distributed import ALONE, World
from clearhead.training.loop import Muon
from clearhead.training.state import ModelT, TrainingState

NOT_IN_WEIGHTS = (
    "causal",
    "dropout",
    "key_dropout",
    "doubtful_below",
    "rejected_below",
    "threshold_temperature",
    "certainty_weights",
)
"""Model settings that no weight depends on: those of the recipe are used, not the start model's"""

SHARED = ("image_size", "in_channels", "num_classes", "class_names", "mean", "std")
"""Settings that a teacher has in common with the model that is trained"""

MAX_SHOWN = 10  # new classes
ADAM_BETAS = (0.9, 0.99)  # shorter averages than 0.999: these training runs have few steps


def initial_state(
    config: BaseTrainConfig, model: ModelT, total_steps: int, world: World = ALONE
) -> TrainingState[ModelT]:
    """The state before the first step; `model`, which is not copied, moves to the device."""
    freeze(model, config.freeze)
    model.to(world.device)
    average = deepcopy(model) if config.average > 0 else None
    optimizers = make_optimizers(model, config)
    return TrainingState(config, model, average, optimizers, total_steps, world)


def make_optimizers(model: nn.Module, config: BaseTrainConfig) -> list[Optimizer]:
    """AdamW for all weights, or Muon for the matrices inside the blocks and AdamW for the rest.

    AdamW: Loshchilov and Hutter 2019, arXiv 1711.05101. Weight decay applies to matrices only: not
    to biases, norms, positions and the class token.
    """
    matrices: list[Tensor] = []
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    for name, weight in model.named_parameters():
        if config.optimizer == "muon" and name.startswith("blocks.") and weight.dim() == 2:
            group = matrices
        elif weight.dim() >= 2 and not name.endswith(("_embed", "_token")):
            group = decayed
        else:
            group = others
        if weight.requires_grad:
            group.append(weight)
    groups = [
        {"params": weights, "weight_decay": decay}
        for weights, decay in ((decayed, config.weight_decay), (others, 0.0))
        if weights
    ]
    optimizers: list[Optimizer] = []
    if groups:
        optimizers.append(AdamW(groups, lr=config.learning_rate, betas=ADAM_BETAS, fused=True))
    if matrices:
        rate, decay = config.matrix_learning_rate, config.weight_decay
        optimizers.append(Muon(matrices, lr=rate, weight_decay=decay))
    return optimizers


def load_teachers(config: TrainConfig, world: World) -> tuple[ImageModel, ...]:
    """The models that `config.teachers` names."""
    models = tuple(load(name, ImageModel).to(world.device) for name in config.teachers)
    for name, model in zip(config.teachers, models, strict=True):
        for setting in SHARED:
            own, other = (getattr(x, setting) for x in (config.model, model.config))
            if own != other:
                raise ConfigError(
                    f"the teacher {name} has {setting} {other}, expected {own} as in the model "
                    "that is trained; choose another teacher"
                )
    return models


def initial_model(
    config: TrainConfig | TextTrainConfig,
    start: Model | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> Any:
    """A new model for a training run; the state of torch's default generator is unchanged.

    Args:
        config: The settings. The seed draws random weights; `config.start` replaces those that fit.
        start: A model whose weights are copied instead of those of `config.start`.
        message: Called with a line if not all weights fit.

    Returns:
        The model, in training mode.

    Raises:
        ConfigError: If no weights fit, or the start model is a text model with other settings.
        CheckpointError: If the model of `config.start` is missing or damaged.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model: Any = build(config.model)
    if start is None and config.start is not None:
        expected = TextTransformer if isinstance(model, TextTransformer) else ImageModel
        start = cast(Model, load(config.start, cast("type[Any]", expected)))
    if start is None:
        return model
    name = config.start or "the start model"
    if architecture(start.config) == architecture(config.model):
        model.load_state_dict(start.state_dict())
    elif isinstance(start, TextTransformer) or type(start) is not type(model):
        raise ConfigError(f"{name} has other model settings than this training; give it the same")
    else:
        message(transfer(model, start, name))
    return model


def transfer(model: ImageModel, start: ImageModel, name: str = "the start model") -> str:
    """Copy the weights that fit from a model of other size, depth, channels or classes.

    The head keeps the rows of classes that both models name alike; learned positions are
    interpolated; a patch embedding is adapted between grey and colour. Returns a line that lists
    what was copied, and what was not; if nothing but the head's rows fits, raises `ConfigError`.
    """
    ours, theirs, notes = model.state_dict(), start.state_dict(), []
    taken: dict[str, Tensor] = {}
    for key, tensor in ours.items():
        found = theirs.get(key)
        if found is None or key.startswith("head."):
            continue
        if key == "pos_embed" and isinstance(model.pos_embed, nn.Parameter):
            found, note = _positions(start, model)
            notes += note
        elif key == "patch_embed.proj.weight" and found.shape[1] != tensor.shape[1]:
            notes.append(f"patch embedding: {found.shape[1]} to {tensor.shape[1]} channels")
            found = _channels(found, tensor.shape[1])
        if found.shape == tensor.shape:
            taken[key] = found
    if not taken:
        raise ConfigError(
            f"no weights of {name} fit this model: expected another start model, or its settings, "
            f"got {_differences(start.config, model.config)}"
        )
    head, note = _head(model, start)
    model.load_state_dict(ours | taken | head)
    left = [key for key in ours if key not in taken and not key.startswith("head.")]
    if left:
        parts = dict.fromkeys(re.sub(r"^(blocks\.\d+|\w+)\..*", r"\1", key) for key in left)
        notes.append(f"do not fit and are new: {', '.join(parts)}")
    return f"start {name}: {'; '.join([*note, *notes])}; all other weights are taken"


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Exclude parameters from training, by names with wildcards such as "blocks.*"."""
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            parts = dict.fromkeys(name.split(".")[0] for name in names)
            raise ConfigError(
                f"freeze: no parameter is named {pattern!r}; they begin with {', '.join(parts)}"
            )
        for name in matched:
            model.get_parameter(name).requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"freeze {' '.join(patterns)} leaves no parameter to train")


def _positions(start: Any, model: Any) -> tuple[Float[Tensor, "1 tokens embed_dim"], list[str]]:
    """Learned positions on another grid, by bicubic interpolation; other prefix tokens are new."""
    prefixes = [getattr(x.config, "num_prefix_tokens", 0) for x in (start, model)]
    grids = [x.config.grid for x in (start, model)]
    found, notes = start.pos_embed.detach(), []
    prefix, patches = found[:, : prefixes[0]], found[:, prefixes[0] :]
    if grids[0] != grids[1]:
        notes = ["positions interpolated from {} × {} to {} × {}".format(*grids[0], *grids[1])]
        image = patches.unflatten(1, grids[0]).permute(0, 3, 1, 2)
        image = F.interpolate(image, grids[1], mode="bicubic", antialias=True)
        patches = image.flatten(2).mT
    if prefixes[0] != prefixes[1]:
        prefix = model.pos_embed.detach()[:, : prefixes[1]]
    if prefix.shape[2] != patches.shape[2]:  # which will not fit
        return found, []
    return torch.cat([prefix, patches], dim=1), notes


def _channels(weight: Tensor, channels: int) -> Tensor:
    """A convolution on grey as one on equal channels, or the reverse; others are left."""
    if weight.shape[1] == 1:
        return weight.repeat(1, channels, 1, 1) / channels
    return weight.sum(1, keepdim=True) if channels == 1 else weight


def _head(model: ImageModel, start: ImageModel) -> tuple[dict[str, Tensor], list[str]]:
    """The head's rows of the classes that both models have, and a note on the others."""
    ours, theirs = model.config.labels, start.config.labels
    fits = model.head.weight.shape[1] == start.head.weight.shape[1]
    common = [label for label in ours if label in theirs] if fits else []
    state = {f"head.{key}": tensor.clone() for key, tensor in model.head.state_dict().items()}
    for key, tensor in start.head.state_dict().items():
        for label in common:
            state[f"head.{key}"][ours.index(label)] = tensor[theirs.index(label)]
    new = [label for label in ours if label not in common]
    if ours == theirs and not new:
        return state, []
    shown = f", new {', '.join(new[:MAX_SHOWN])}{', …' * (len(new) > MAX_SHOWN)}" if new else ""
    return state, [f"head: {len(common)} of {len(ours)} classes{shown}"]


def architecture(config: Any) -> dict[str, Any]:
    """The settings of a model that its weights depend on."""
    return {name: value for name, value in asdict(config).items() if name not in NOT_IN_WEIGHTS}


def _differences(old: Any, new: Any) -> str:
    before, after = architecture(old), architecture(new)
    return ", ".join(
        f"{name} {before[name]} instead of {value}"
        for name, value in after.items()
        if before.get(name) != value and not isinstance(value, tuple)
    )
