from typing import Any, cast

import pytest
import torch

from clearhead.models.config import ViTConfig
from clearhead.recording import capture
from clearhead.studies.measures.scores import unit_queries_and_keys
from clearhead.training import initial_model
from clearhead.training.config import TrainConfig

CONFIG = TrainConfig(model=ViTConfig(depth=2, num_heads=1), seed=5)


def test_queries_and_keys_begin_with_variance_1_and_so_scores_with_variance_d_k() -> None:
    images = torch.randn(50, 1, 28, 28, generator=torch.Generator().manual_seed(1))

    model = unit_queries_and_keys(CONFIG)
    with torch.no_grad(), capture() as seen:
        model(images)

    for record in seen.records:
        assert float(record.query.var()) == pytest.approx(1, rel=0.35)
        assert float(record.key.var()) == pytest.approx(1, rel=0.35)
    assert float(seen[0].scores.var()) == pytest.approx(64, rel=0.5)


def test_all_other_weights_are_those_of_the_seed() -> None:
    usual = initial_model(CONFIG).state_dict()
    changed = unit_queries_and_keys(CONFIG).state_dict()

    assert usual.keys() == changed.keys()
    for name, weight in usual.items():
        same = name.endswith("qkv.weight")
        rows = slice(128, None) if same else slice(None)
        assert torch.equal(weight[rows], changed[name][rows])
        if same:
            assert not torch.equal(weight, changed[name])


def test_another_seed_draws_other_queries() -> None:
    drawn = []
    for seed in (5, 6):
        model = unit_queries_and_keys(TrainConfig(model=CONFIG.model, seed=seed))
        drawn.append(cast("Any", model).blocks[1].attn.qkv.weight[:128])

    assert not torch.allclose(drawn[0], drawn[1])
