"""Every weight has exactly one optimiser, only matrices decay, and the rate follows its curve."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from clearhead.models import ViTConfig, build
from clearhead.training.batches import Batch
from clearhead.training.checkpoint import optimizer_tensors, restore_optimizers
from clearhead.training.loop import Muon, orthogonalizers, train_step, warmup_cosine
from clearhead.training.start import initial_state, make_optimizers

from .small_run import MODEL, small_config


def names_by_decay(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, float]:
    names = {id(weight): name for name, weight in model.named_parameters()}
    return {
        names[id(weight)]: group["weight_decay"]
        for optimizer in optimizers
        for group in optimizer.param_groups
        for weight in group["params"]
    }


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_each_weight_belongs_to_one_optimiser_and_only_matrices_decay(name: str) -> None:
    model = build(ViTConfig(depth=1, pool="class"))
    optimizers = make_optimizers(model, small_config(optimizer=name, weight_decay=0.3))
    by_optimizer = [names_by_decay(model, [optimizer]) for optimizer in optimizers]
    owned = [weight for decay in by_optimizer for weight in decay]
    assert sorted(owned) == sorted(dict(model.named_parameters()))
    inside = {f"blocks.0.{x}.weight" for x in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}
    decay = names_by_decay(model, optimizers)
    assert set(decay.values()) == {0.0, 0.3}
    matrices = {weight for weight, value in decay.items() if value == 0.3}
    assert matrices == inside | {"patch_embed.proj.weight", "head.weight"}
    if name == "muon":
        assert set(by_optimizer[1]) == inside


SHAPES = [(5, 3), (7, 11), (3, 5), (11, 7), (5, 3), (3, 3)]


def matrices_with_gradients() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    matrices = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    for matrix in matrices:
        matrix.grad = torch.randn(matrix.shape, generator=generator)
    return matrices


def test_orthogonalised_matrices_are_the_polynomial_of_the_singular_values() -> None:
    generator = torch.Generator().manual_seed(1)
    scales = ((5, 1e-3), (7, 1.0), (11, 1e3))
    matrices = [scale * torch.randn(5, n, generator=generator).double() for n, scale in scales]
    for matrix, factor in zip(matrices, orthogonalizers(matrices), strict=True):
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        values = values / values.norm()
        for _ in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        torch.testing.assert_close(factor @ matrix, left @ torch.diag(values) @ right)


def test_small_singular_values_grow_despite_the_rounding_of_float32() -> None:
    left, right = (torch.linalg.qr(torch.randn(n, 13).double()).Q for n in (13, 17))
    matrix = left @ torch.diag(torch.logspace(0, -6, 13).double()) @ right.mT
    exact, rounded = (orthogonalizers([x])[0].double() @ matrix for x in (matrix, matrix.float()))
    assert (rounded - exact).norm() < 0.01 * exact.norm()


def test_muon_is_torchs_up_to_the_rounding_of_bfloat16() -> None:
    ours, theirs = matrices_with_gradients(), matrices_with_gradients()
    optimizers = (
        Muon(ours, lr=0.1, weight_decay=0.3),
        torch.optim.Muon(theirs, lr=0.1, weight_decay=0.3, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.step()
        for matrix, other in zip(ours, theirs, strict=True):
            gradient = torch.cos(matrix.detach() * 3)
            matrix.grad, other.grad = gradient, gradient.clone()
    for matrix, other, start in zip(ours, theirs, matrices_with_gradients(), strict=True):
        moved = (matrix - start).norm()
        assert moved > 0.2
        assert (matrix - other).norm() < 0.02 * moved


def test_muon_leaves_a_matrix_without_gradient() -> None:
    first, second = matrices_with_gradients()[:2]
    before = first.detach().clone()
    first.grad = None
    Muon([first, second], lr=0.1, weight_decay=0.3).step()
    assert torch.equal(first, before)


def test_each_optimiser_has_its_own_peak_learning_rate() -> None:
    config = small_config(learning_rate=0.5, matrix_learning_rate=0.25, warmup=0.9)
    state = initial_state(config, build(MODEL), total_steps=10)
    for step in (1, 2):
        train_step(state.model, state, Batch((torch.rand(5, 1, 6, 6),), torch.arange(5) % 3))
        rates = [[group["lr"] for group in x.param_groups] for x in state.optimizers]
        assert rates == [[0.05 * step] * 2, [0.025 * step]]


def test_the_state_of_the_optimisers_is_restored_bit_for_bit() -> None:
    torch.manual_seed(0)
    model = build(MODEL)
    optimizers = make_optimizers(model, small_config())
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    for optimizer in optimizers:
        optimizer.step()
    tensors = optimizer_tensors(optimizers)
    fresh = make_optimizers(model, small_config())
    restore_optimizers(fresh, tensors)
    again = optimizer_tensors(fresh)
    assert len(tensors) > 20
    assert tensors.keys() == again.keys()
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    factors = [warmup_cosine(step, 200, 0.1) for step in range(200)]
    assert factors[0] == pytest.approx(1 / 21)
    assert factors[20] == 1.0
    assert factors[110] == pytest.approx(0.5)
    assert all(a < b for a, b in pairwise(factors[:21]))
    assert all(a > b for a, b in pairwise(factors[20:]))
    assert 0 < factors[-1] < 1e-3
    assert warmup_cosine(0, 7, 0.0) == 1.0
    assert warmup_cosine(6, 7, 0.0) == pytest.approx(0.5 * (1 + math.cos(math.pi * 6 / 7)))
    assert warmup_cosine(0, 1, 0.1) > 0
