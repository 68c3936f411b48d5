"""Every weight has exactly one optimiser, and only matrices decay."""

import torch
from torch import nn

from clearhead.models.build import build
from clearhead.models.config import ViTConfig
from clearhead.training.optimizer import make_optimizers, set_learning_rate

from .small_run import small_config


def names_by_decay(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, float]:
    names = {id(weight): name for name, weight in model.named_parameters()}
    return {
        names[id(weight)]: group["weight_decay"]
        for optimizer in optimizers
        for group in optimizer.param_groups
        for weight in group["params"]
    }


def test_each_weight_belongs_to_one_optimiser() -> None:
    for name in ("adamw", "muon"):
        model = build(ViTConfig(depth=2, pool="class"))
        optimizers = make_optimizers(model, small_config(optimizer=name))
        owned = [w for o in optimizers for group in o.param_groups for w in group["params"]]
        assert len(owned) == len({id(weight) for weight in owned})
        assert {id(weight) for weight in owned} == {id(weight) for weight in model.parameters()}


def test_only_matrices_decay() -> None:
    model = build(ViTConfig(depth=1, pool="class"))
    decay = names_by_decay(model, make_optimizers(model, small_config(weight_decay=0.3)))
    decaying = {name for name, value in decay.items() if value == 0.3}
    assert decaying == {
        "patch_embed.proj.weight",
        "blocks.0.attn.qkv.weight",
        "blocks.0.attn.proj.weight",
        "blocks.0.mlp.fc1.weight",
        "blocks.0.mlp.fc2.weight",
        "head.weight",
    }
    assert set(decay.values()) == {0.0, 0.3}


def test_muon_moves_the_matrices_of_the_blocks_alone() -> None:
    model = build(ViTConfig(depth=1))
    adamw, muon = make_optimizers(model, small_config())
    moved = names_by_decay(model, [muon])
    assert all(name.startswith("blocks.0.") and name.endswith(".weight") for name in moved)
    assert len(moved) == 4
    assert len(names_by_decay(model, [adamw])) == len(list(model.parameters())) - 4


def test_the_rate_of_each_optimiser_is_its_own_times_the_factor() -> None:
    config = small_config(learning_rate=0.5, matrix_learning_rate=0.25)
    optimizers = make_optimizers(build(ViTConfig(depth=1)), config)
    set_learning_rate(optimizers, 0.5)
    set_learning_rate(optimizers, 0.1)
    assert [o.param_groups[0]["lr"] for o in optimizers] == [0.05, 0.025]
