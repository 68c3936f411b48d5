"""The loss that trains rollout: its value, its gradient, and what it does in a training run."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from clearhead.errors import ConfigError
from clearhead.insight import Baseline
from clearhead.models import CNNConfig, VisionTransformer, ViTConfig
from clearhead.training import TrainConfig, TrainingState
from clearhead.training.batches import Batch, generator_for
from clearhead.training.loop import train_step
from clearhead.training.rollout_loss import PAIRS, halves, rollout_loss

BLACK = Baseline.black(ViTConfig()).value[0]  # a number of float32
SIZES: dict[str, Any] = {
    "image_size": (6, 10),
    "patch_size": (3, 2),
    "embed_dim": 12,
    "depth": 3,
    "num_heads": 2,
    "num_classes": 5,
}


def random_model(**changes: Any) -> VisionTransformer:
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(**(SIZES | changes))).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def pictures(count: int = 4) -> Tensor:
    """Pictures of 2 × 5 patches, of which three are black, and four in the last picture."""
    images = torch.rand(count, 1, 6, 10, dtype=torch.float64) + BLACK + 0.05
    images[:, :, :3, :2] = images[:, :, 3:, 4:8] = BLACK
    images[-1, :, :3, 4:6] = BLACK
    return images


def rollout_by_hand(model: Any, image: Tensor) -> Tensor:
    """Rollout of one picture from the model's own layers, without a recording."""
    tokens, heads = model.embedded(image[None]), model.config.num_heads
    product = torch.eye(tokens.shape[1], dtype=torch.float64)
    for block in model.blocks:
        query, key, _ = block.attn.qkv(block.norm1(tokens))[0].chunk(3, dim=-1)
        size, mean = query.shape[-1] // heads, 0.0
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            mean = mean + (query[:, part] @ key[:, part].T / size**0.5).softmax(-1) / heads
        product = (mean + torch.eye(len(product), dtype=torch.float64)) / 2 @ product
        tokens = block(tokens)
    prefix = model.num_prefix_tokens
    row = product[0] if model.cls_token is not None else product[prefix:].mean(0)
    return row[prefix:]


def log_odds(model: VisionTransformer, image: Tensor, kept: list[int], label: int) -> float:
    masked = torch.full_like(image, BLACK)
    for patch in kept:
        row, column = divmod(patch, 5)
        area = (slice(None), slice(3 * row, 3 * row + 3), slice(2 * column, 2 * column + 2))
        masked[area] = image[area]
    probability = model(masked[None])[0].softmax(0)[label].item()
    return float(torch.logit(torch.tensor(probability, dtype=torch.float64)))


def cosines(model: VisionTransformer, images: Tensor, seed: int) -> Iterator[Tensor]:
    black = torch.isclose(images, torch.tensor(BLACK, dtype=torch.float64))
    among = ~black.view(len(images), 2, 3, 5, 2).all(4).all(2).flatten(1)
    pairs = halves(among, torch.Generator().manual_seed(seed))
    for image, *subsets in zip(images, *pairs, strict=True):
        label = int(model(image[None]).argmax())
        shares = rollout_by_hand(model, image)
        of_rollout, of_scores = [], []
        for half, other in zip(*subsets, strict=True):
            first, second = half.nonzero()[:, 0].tolist(), other.nonzero()[:, 0].tolist()
            of_rollout.append(shares[first].sum() - shares[second].sum())
            with torch.no_grad():
                scores = (log_odds(model, image, kept, label) for kept in (first, second))
                of_scores.append(next(scores) - next(scores))
        a, b = torch.stack(of_rollout), torch.tensor(of_scores, dtype=torch.float64)
        yield a @ b / (a.norm() * b.norm())


@pytest.mark.parametrize("changes", [{}, {"pool": "class", "num_registers": 2}, {"dropout": 0.5}])
def test_loss_and_gradient_are_those_of_the_definition(changes: dict[str, Any]) -> None:
    model, images = random_model(**changes).train(), pictures()
    model.head.eval()
    loss = rollout_loss(model, images, torch.Generator().manual_seed(5))
    assert model.training
    assert model.blocks.training
    assert not model.head.training
    loss.backward()
    found = [parameter.grad for parameter in model.parameters()]
    model.eval().zero_grad()
    expected = 1 - torch.stack([*cosines(model, images, 5)]).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for gradient, parameter in zip(found, model.parameters(), strict=True):
        a, b = (torch.zeros(()) if x is None else x for x in (gradient, parameter.grad))
        torch.testing.assert_close(a.expand_as(parameter), b.expand_as(parameter))


def test_halves_are_disjoint_equally_large_and_among_the_patches() -> None:
    among = torch.rand(31, 16, generator=torch.Generator().manual_seed(0)) < 0.6
    among[0] = False
    half, other = halves(among, torch.Generator().manual_seed(1))
    assert half.shape == other.shape == (31, PAIRS, 16)
    assert not (half & other).any()
    assert not ((half | other) & ~among[:, None]).any()
    size = (among.sum(1) // 2)[:, None].expand(-1, PAIRS)
    assert torch.equal(half.sum(-1), size)
    assert torch.equal(other.sum(-1), size)
    assert len(half[1].unique(dim=0)) > 1


def test_a_blank_picture_gives_a_finite_loss_and_gradient() -> None:
    model = random_model()
    loss = rollout_loss(model, torch.full((2, 1, 6, 10), BLACK).double(), torch.Generator())
    loss.backward()
    assert loss.item() == 1
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


class Recorder(torch.optim.SGD):
    """Keeps the gradients and changes nothing."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.seen = [p.grad.clone() for group in self.param_groups for p in group["params"]]


def test_a_step_adds_the_weighted_loss_of_every_sixteenth_image() -> None:
    model = random_model().float()
    images, labels = pictures(33).float(), torch.arange(33) % 5
    gradients = []
    for weight in (0.0, 0.7):
        config = TrainConfig(
            model=model.config, rollout_weight=weight, clip_norm=1e9, seed=8, precision="float32"
        )
        optimizer = Recorder(model.parameters(), lr=1.0)
        state = TrainingState(config, model, None, [optimizer], total_steps=9, step=4)
        train_step(model, state, Batch((images,), labels))
        gradients.append(optimizer.seen)
    loss = rollout_loss(model, images[[0, 16, 32]], generator_for("rollout", 8, 4, 0))
    expected = torch.autograd.grad(0.7 * loss, [*model.parameters()], materialize_grads=True)
    for without, together, added in zip(*gradients, expected, strict=True):
        torch.testing.assert_close(together - without, added, atol=1e-5, rtol=1e-3)


def test_descent_makes_rollout_agree_with_the_patches_of_other_halves() -> None:
    model, images = random_model().float(), pictures(12).float()
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-3)
    before = rollout_loss(model, images, torch.Generator().manual_seed(99)).item()
    for step in range(12):
        optimizer.zero_grad()
        rollout_loss(model, images, torch.Generator().manual_seed(step)).backward()
        optimizer.step()
    after = rollout_loss(model, images, torch.Generator().manual_seed(99)).item()
    assert after < before - 0.3


def test_other_models_have_no_rollout() -> None:
    with pytest.raises(ConfigError, match="rollout_weight needs a Vision Transformer, got CNN"):
        TrainConfig(model=CNNConfig(), rollout_weight=0.1)
