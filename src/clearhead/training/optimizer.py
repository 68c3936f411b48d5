"""Which optimiser moves which weights."""

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from clearhead.training.config import LearningConfig

ADAM_BETAS = (0.9, 0.99)  # a shorter memory than 0.999: these trainings have few steps


def make_optimizers(model: nn.Module, config: LearningConfig) -> list[Optimizer]:
    """AdamW for all weights, or Muon for the matrices inside the blocks and AdamW for the rest.

    AdamW: Loshchilov and Hutter 2019, arXiv 1711.05101. Muon: Jordan et al. 2024, with the step
    size matched to AdamW's (Liu et al. 2025, arXiv 2502.16982). Only matrices decay: biases,
    norms and positions are left alone.
    """
    named = dict(model.named_parameters())
    matrices = [
        name
        for name, weight in named.items()
        if config.optimizer == "muon" and name.startswith("blocks.") and weight.dim() == 2
    ]
    decaying = [name for name in named if name not in matrices and _decays(name, named[name])]
    resting = [name for name in named if name not in matrices and name not in decaying]
    groups = [
        {"params": [named[name] for name in names], "weight_decay": decay}
        for names, decay in ((decaying, config.weight_decay), (resting, 0.0))
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
    """Every optimiser's own rate times `factor`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * factor


def _decays(name: str, weight: torch.Tensor) -> bool:
    return weight.dim() >= 2 and name not in ("pos_embed", "cls_token")
