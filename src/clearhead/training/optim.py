"""Optimisers, and the schedule of the learning rate."""

import math

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from clearhead.training.config import BaseTrainConfig

ADAM_BETAS = (0.9, 0.99)  # shorter averages than 0.999: these trainings have few steps


def make_optimizers(model: nn.Module, config: BaseTrainConfig) -> list[Optimizer]:
    """AdamW for all weights, or Muon for the matrices inside the blocks and AdamW for the rest.

    AdamW: Loshchilov and Hutter 2019, arXiv 1711.05101. Muon: Jordan et al. 2024, with the step
    size matched to AdamW's (Liu et al. 2025, arXiv 2502.16982). Weight decay applies to matrices
    only: not to biases, norms, positions and the class token.

    Args:
        model: The model.
        config: Names the optimiser, learning rates and weight decay.
    """
    named = dict(model.named_parameters())
    matrices = [
        name
        for name, weight in named.items()
        if config.optimizer == "muon" and name.startswith("blocks.") and weight.dim() == 2
    ]
    rest = [name for name in named if name not in matrices]
    decayed = [
        name for name in rest if named[name].dim() >= 2 and not name.endswith(("_embed", "_token"))
    ]
    groups = [
        {"params": [named[name] for name in names], "weight_decay": decay}
        for names, decay in (
            (decayed, config.weight_decay),
            ([name for name in rest if name not in decayed], 0.0),
        )
        if names
    ]
    optimizers: list[Optimizer] = [
        AdamW(groups, lr=config.learning_rate, betas=ADAM_BETAS, fused=True)
    ]
    if matrices:
        optimizers.append(
            Muon(
                [named[name] for name in matrices],
                lr=config.matrix_learning_rate,
                weight_decay=config.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return optimizers


def set_learning_rate(optimizers: list[Optimizer], factor: float) -> None:
    """Set the learning rate of every optimiser to its peak times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * factor


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """The factor on the learning rate at `step` of `total`: linear to 1, then a cosine to 0.

    (Loshchilov and Hutter 2017, "SGDR", arXiv 1608.03983, without restarts.) At the last step it
    is still above 0.

    Args:
        step: The step, from 0.
        total: Number of steps.
        warmup: Fraction of the steps in which the factor rises.
    """
    rising = warmup * total
    if step < rising:
        return (step + 1) / (math.floor(rising) + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(total - rising, 1)))
