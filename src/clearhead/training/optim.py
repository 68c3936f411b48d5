"""Optimisers, and the schedule of the learning rate."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from clearhead.training.config import BaseTrainConfig

ADAM_BETAS = (0.9, 0.99)  # shorter averages than 0.999: these training runs have few steps
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the polynomial, by Jordan et al.
NEWTON_SCHULZ_STEPS = 5


def orthogonalizers(matrices: Sequence[Float[Tensor, "rows _"]]) -> Float[Tensor, "_ rows rows"]:
    """Factors Q for which the singular values of each Q·matrix are near 1.

    Newton-Schulz iterations: each matrix is divided by its Frobenius norm, then every singular
    value s becomes a·s + b·s³ + c·s⁵, several times (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/). All iterations are products of the Gram matrices
    alone, which are small and of equal size. The matrices have at most as many rows as columns.
    """
    a, b, c = NEWTON_SCHULZ
    gram = torch.stack([matrix @ matrix.mT for matrix in matrices])
    diagonal = gram.diagonal(dim1=1, dim2=2)
    norm = diagonal.sum(dim=1).sqrt().clamp(min=1e-7)[:, None, None]
    gram /= norm * norm
    factor = 1 / norm
    for step in range(NEWTON_SCHULZ_STEPS):
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        factor = polynomial @ factor if step else polynomial * factor
        if step < NEWTON_SCHULZ_STEPS - 1:
            gram = polynomial @ (polynomial @ gram)
    return factor


class Muon(Optimizer):
    """Muon: each step is the momentum of the gradient, with its singular values brought near 1.

    (Jordan et al. 2024, with Nesterov momentum.) The step size is matched to AdamW's, by a factor
    of 0.2·√(larger side) (Liu et al. 2025, arXiv 2502.16982). Equal to `torch.optim.Muon` with
    `adjust_lr_fn="match_rms_adamw"` up to rounding, and several times as fast: matrices of equal
    smaller sides are orthogonalised as one batch, in float32 instead of bfloat16.
    """

    def __init__(self, params: Iterable[Tensor], *, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update the matrices that have a gradient."""
        for group in self.param_groups:
            rate, kept = group["lr"], 1 - group["lr"] * group["weight_decay"]
            by_rows: dict[int, list[tuple[Tensor, Tensor]]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    update = _wide(self._with_momentum(matrix))
                    by_rows.setdefault(len(update), []).append((_wide(matrix), update))
            for pairs in by_rows.values():
                factors = orthogonalizers([update for _, update in pairs])
                for (matrix, update), factor in zip(pairs, factors, strict=True):
                    length = 0.2 * math.sqrt(update.shape[1])
                    matrix.addmm_(factor, update, beta=kept, alpha=-rate * length)

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
    is still above 0. `warmup` is the fraction of steps in which the factor rises.
    """
    rising = warmup * total
    if step < rising:
        return (step + 1) / (math.floor(rising) + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(total - rising, 1)))
