"""Optimisers, and the schedule of the learning rate."""

import math
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from clearhead.training.config import BaseTrainConfig

ADAM_BETAS = (0.9, 0.99)  # shorter averages than 0.999: these trainings have few steps
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the polynomial, by Jordan et al.
NEWTON_SCHULZ_STEPS = 5


def orthogonalize(
    matrices: Float[Tensor, "matrices rows columns"],
) -> Float[Tensor, "matrices rows columns"]:
    """Bring the singular values of each matrix near 1, by Newton-Schulz iterations.

    Each matrix is divided by its Frobenius norm; an iteration then maps every singular value s to
    a·s + b·s³ + c·s⁵. (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.)

    Args:
        matrices: With at most as many rows as columns.

    Returns:
        New matrices with the same singular vectors.
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon(Optimizer):
    """Muon: each step is the momentum of the gradient, with its singular values brought near 1.

    (Jordan et al. 2024, with Nesterov momentum.) The step size is matched to AdamW's, by a factor
    of 0.2·√(larger side) (Liu et al. 2025, arXiv 2502.16982). Equal to `torch.optim.Muon` with
    `adjust_lr_fn="match_rms_adamw"` up to rounding, and two to three times as fast: matrices of
    equal sides, transposed or not, are orthogonalised as one batch, in float32 instead of bfloat16.

    Args:
        params: Matrices.
        lr: Learning rate.
        weight_decay: Decoupled weight decay.
    """

    def __init__(self, params: Iterable[Tensor], *, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update the matrices that have a gradient."""
        for group in self.param_groups:
            by_sides: dict[tuple[int, ...], list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_sides.setdefault(tuple(sorted(matrix.shape)), []).append(matrix)
            for (_, larger), matrices in by_sides.items():
                updates = [_wide(self._with_momentum(matrix)) for matrix in matrices]
                changes = orthogonalize(torch.stack(updates))
                for matrix, change in zip(matrices, changes, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    _wide(matrix).sub_(change, alpha=group["lr"] * 0.2 * math.sqrt(larger))

    def _with_momentum(self, matrix: Tensor) -> Tensor:
        memory, grad = self.state[matrix], cast(Tensor, matrix.grad)
        if "momentum_buffer" not in memory:
            memory["momentum_buffer"] = torch.zeros_like(grad)
        momentum: Tensor = memory["momentum_buffer"].lerp_(grad, 1 - MOMENTUM)
        return grad.lerp(momentum, MOMENTUM)


def _wide(matrix: Tensor) -> Tensor:
    """A view with at most as many rows as columns."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T


def make_optimizers(model: nn.Module, config: BaseTrainConfig) -> list[Optimizer]:
    """AdamW for all weights, or Muon for the matrices inside the blocks and AdamW for the rest.

    AdamW: Loshchilov and Hutter 2019, arXiv 1711.05101. Weight decay applies to matrices only: not
    to biases, norms, positions and the class token.

    Args:
        model: The model.
        config: Names the optimiser, learning rates and weight decay.
    """
    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
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
    optimizers: list[Optimizer] = []
    if groups:
        optimizers.append(AdamW(groups, lr=config.learning_rate, betas=ADAM_BETAS, fused=True))
    if matrices:
        optimizers.append(
            Muon(
                [named[name] for name in matrices],
                lr=config.matrix_learning_rate,
                weight_decay=config.weight_decay,
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
