"""The training loop and its step: batch, forward pass, loss, gradient, update of the weights."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clearhead.data import ImageDataset
from clearhead.errors import DivergenceError
from clearhead.training.batches import (
    NO_LABEL,
    Batch,
    ImageBatches,
    early_patches,
    generator_for,
    seed_of,
)
from clearhead.training.checkpoint import save_checkpoint
from clearhead.training.distributed import evaluate_together, prepare_network
from clearhead.training.rollout_loss import rollout_loss
from clearhead.training.state import Callback, EpochSums, TrainingState
from clearhead.training.texts import TextBatches

COMPILE_STEPS = 3_000
"""Minimum number of steps for which compiled blocks save more time than compilation takes"""
CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints inside an epoch; there is one at the end of each epoch too"""
ROLLOUT_EVERY = 16  # every 16th image of a batch has a rollout loss
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the polynomial, by Jordan et al.
NEWTON_SCHULZ_STEPS = 5


def run_steps(
    state: TrainingState[Any],
    batches: ImageBatches | TextBatches,
    validation: ImageDataset | None,
    checkpoints: Path | None,
    stop: Callable[[], bool],
    callback: Callback,
) -> None:
    """Do the steps that are left, until `stop` returns true in any process."""
    config, world, size = state.config, state.world, state.config.batch_size
    inputs = None
    if config.compile and state.total_steps >= COMPILE_STEPS:
        inputs = batches.batch(0, torch.arange(len(batches.data))[:size]).inputs
    network = prepare_network(
        state.model.train(), inputs, world, bfloat16=state.bfloat16, message=callback.on_message
    )

    def save() -> float:
        if world.is_first and checkpoints is not None:
            save_checkpoint(checkpoints, f"step-{state.step:08d}", state.checkpoint())
        return time.monotonic()

    per_epoch, saved_at = state.total_steps // config.epochs, time.monotonic()
    for epoch in range(state.step // per_epoch, config.epochs):
        generator = generator_for("order", config.seed, epoch)
        order = torch.randperm(len(batches.data), generator=generator)
        for index in range(state.step % per_epoch, per_epoch):
            if world.any(stop()):
                save()
                return
            if index == 0:
                state.sums = EpochSums()
            batch = batches.batch(state.step, order[index * size : (index + 1) * size])
            callback.on_step(state, train_step(network, state, batch))
            if time.monotonic() - saved_at > CHECKPOINT_SECONDS and index + 1 < per_epoch:
                saved_at = save()
        factor = warmup_cosine(state.step - 1, state.total_steps, config.warmup)
        metrics = {
            "epoch": epoch + 1,
            "epochs": config.epochs,
            "loss": state.sums.loss / state.sums.labels,
            "accuracy": state.sums.correct / state.sums.labels,
            "learning_rate": config.learning_rate * factor,
        }
        if validation is not None:
            with torch.compiler.set_stance("force_eager"):  # no compilation for another batch size
                validated = evaluate_together(state.result, validation, world)
            metrics["validation_loss"] = validated.nll
            metrics["validation_accuracy"] = validated.accuracy
        callback.on_epoch(state, metrics)
        saved_at = save()


def train_step(network: nn.Module, state: TrainingState[Any], batch: Batch) -> float:
    """Update model and state once.

    Args:
        network: The model of `state`, or its distributed wrapper.
        state: The state of the training, which is changed.
        batch: The examples of this process.

    Returns:
        The mean loss of the batches of all processes, without the term of `rollout_weight`.

    Raises:
        DivergenceError: The loss or the gradient is not finite; the weights are unchanged.
    """
    config, world = state.config, state.world
    with (
        _seeded_dropout(state),
        early_patches(state, batch.inputs[0]),
        torch.autocast(world.device.type, torch.bfloat16, enabled=state.bfloat16),
    ):
        logits = network(*batch.inputs).flatten(0, -2)
    total = loss = loss_of(logits, batch, config)
    if weight := getattr(config, "rollout_weight", 0.0):
        generator = generator_for("rollout", config.seed, state.step, world.rank)
        images = batch.inputs[0][::ROLLOUT_EVERY]
        total = loss + weight * rollout_loss(state.model, images, generator)
    total.backward()
    norm = nn.utils.clip_grad_norm_(state.parameters, config.clip_norm)
    sums = _sums(state, loss.detach(), logits, batch.labels.flatten())
    if not math.isfinite(sums.loss) or not torch.isfinite(norm):
        raise DivergenceError(
            f"step {state.step}: the loss is {sums.loss / sums.labels:.3g} and the gradient norm "
            f"{float(norm):.3g}; try a lower learning rate or float32"
        )
    factor = warmup_cosine(state.step, state.total_steps, config.warmup)
    for optimizer in state.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * factor
        optimizer.step()
        optimizer.zero_grad()
    if state.average is not None:  # after the first step it is equal to the weights
        update = get_ema_multi_avg_fn(config.average if state.step else 0.0)
        update(*state.averaged, None)
    state.step += 1
    state.sums += sums
    return sums.loss / sums.labels


@contextmanager
def _seeded_dropout(state: TrainingState[Any]) -> Iterator[None]:
    """Dropout draws from torch's default generator: seed it for the step, and restore it after."""
    device = state.world.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Until CUDA is used, `torch.manual_seed` keeps a traceback of each of its calls for it.
        is_cpu = device.type == "cpu"
        seeded = torch.default_generator.manual_seed if is_cpu else torch.manual_seed
        seeded(seed_of("dropout", state.config.seed, state.step, state.world.rank))
        yield


def loss_of(logits: Float[Tensor, "rows classes"], batch: Batch, config: Any) -> Float[Tensor, ""]:
    """The cross entropy of labels; or of probabilities, for logits divided by the temperature T.

    Those of a teacher were softened in the same way; labels of drawn digits are not softened. It is
    multiplied by T², which keeps the size of the gradient. (Hinton et al. 2015, "Distilling
    the Knowledge in a Neural Network", arXiv 1503.02531.)
    """
    if batch.targets is None:
        smoothing: float = config.label_smoothing
        return F.cross_entropy(
            logits.float(),
            batch.labels.flatten(),
            label_smoothing=smoothing,
            ignore_index=NO_LABEL,
        )
    temperature: float = config.distill_temperature
    return F.cross_entropy(logits.float() / temperature, batch.targets) * temperature**2


def _sums(state: TrainingState[Any], loss: Tensor, logits: Tensor, labels: Tensor) -> EpochSums:
    labelled = (labels != NO_LABEL).sum()
    correct = (logits.argmax(dim=1) == labels).sum()
    if labels.device.type == "mps":  # which has no float64
        loss, labelled, correct = loss.cpu(), labelled.cpu(), correct.cpu()
    total = state.world.total(torch.stack([loss.double() * labelled, correct, labelled]))
    loss_sum, correct_sum, labelled_sum = total.tolist()
    return EpochSums(loss_sum, int(correct_sum), int(labelled_sum))


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """The factor on the learning rate at `step` of `total`: linear to 1, then a cosine to 0.

    (Loshchilov and Hutter 2017, "SGDR", arXiv 1608.03983, without restarts.) At the last step it
    is still above 0. `warmup` is the fraction of steps in which the factor rises.
    """
    rising = warmup * total
    if step < rising:
        return (step + 1) / (math.floor(rising) + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(total - rising, 1)))


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
