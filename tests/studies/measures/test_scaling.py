import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from clearhead.data import normalize
from clearhead.errors import DivergenceError
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from clearhead.studies.measures import saturation
from clearhead.studies.measures.classifiers import training_digits
from clearhead.studies.table import Trial
from clearhead.training import TrainConfig, initial_model

CONFIG = TrainConfig(model=ViTConfig(depth=2, num_heads=1), seed=5)


def trial(condition: str, **changes: Any) -> Trial:
    settings = {"head_dim": 64, "optimizer": "adamw", "rate": "usual", "first": "unit"}
    settings |= {"digits": 50, "unseen": 60, "epochs": 5} | changes
    return Trial(study="x", condition=condition, seed=3, settings=settings)


def test_queries_and_keys_begin_with_variance_1_and_so_scores_with_variance_d_k() -> None:
    images = torch.randn(50, 1, 28, 28, generator=torch.Generator().manual_seed(1))

    with torch.no_grad(), capture() as recording:
        saturation.initial_weights(CONFIG, unit=True, matched=False)(images)

    for record in recording.records:
        assert float(record.query.var()) == pytest.approx(1, rel=0.35)
        assert float(record.key.var()) == pytest.approx(1, rel=0.35)
    assert float(recording[0].scores.var()) == pytest.approx(64, rel=0.5)


def test_all_other_weights_are_those_of_the_seed() -> None:
    usual = initial_model(CONFIG).state_dict()
    changed = saturation.initial_weights(CONFIG, unit=True, matched=False).state_dict()
    other_seed = TrainConfig(model=CONFIG.model, seed=6)
    other = saturation.initial_weights(other_seed, unit=True, matched=False).state_dict()

    for name, weight in usual.items():
        drawn = name.endswith("qkv.weight")
        rows = slice(128, None) if drawn else slice(None)
        assert torch.equal(weight[rows], changed[name][rows])
        if drawn:
            assert not torch.equal(weight, changed[name])
            assert not torch.equal(other[name][:128], changed[name][:128])


@pytest.mark.parametrize("unit", [False, True])
def test_matched_first_scores_are_those_with_the_factor(unit: bool) -> None:
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    scores = []
    for scale, matched in (("sqrt", False), ("none", True)):
        model = ViTConfig(depth=2, num_heads=1, attention_scale=scale)
        config = replace(CONFIG, model=model)
        with torch.no_grad(), capture() as recording:
            saturation.initial_weights(config, unit=unit, matched=matched)(images)
        scores.append(recording[0].scaled)
    torch.testing.assert_close(*scores, rtol=1e-3, atol=1e-5)


def test_gradients_and_entropies_are_those_of_loss_and_weights(mnist_train: object) -> None:
    torch.manual_seed(4)
    model = VisionTransformer(ViTConfig(depth=2, num_heads=2))
    digits = training_digits(40, 1)
    images = normalize(digits.images, model.config)

    found = saturation.gradients_and_entropies(model, images, digits.labels)

    assert all(parameter.grad is None for parameter in model.parameters())
    torch.nn.functional.cross_entropy(model(images), digits.labels).backward()
    for layer in range(2):
        gradient = cast("Any", model.blocks[layer]).attn.qkv.weight.grad
        norm = float(gradient[:64].norm())
        assert found["query_gradient"][layer] == pytest.approx(norm, rel=1e-4)
    nats = torch.tensor(found["entropy"])
    assert nats.shape == (2, 2)  # layers, heads
    assert bool((nats > 0.9 * math.log(16)).all())  # untrained attention is almost uniform
    assert bool((nats <= math.log(16) + 1e-5).all())


def test_a_training_is_probed_and_without_the_factor_attention_is_sharper(
    mnist_train: object,
) -> None:
    scaled, unscaled = (saturation.train_with_scale(trial(scale)) for scale in ("sqrt", "none"))

    assert [probe["step"] for probe in scaled["probes"]] == [5]
    assert scaled["not_a_number_after"] == -1
    assert (scaled["lost"] == 100) == (scaled["accuracy"] < 30)
    # Scores of variance 64 instead of 1: the softmax is far sharper.
    first = [x["probes"][0]["entropy"][0][0] for x in (scaled, unscaled)]
    assert first[1] < first[0] - 0.5


def test_a_training_with_a_loss_of_nan_is_lost(
    monkeypatch: pytest.MonkeyPatch, mnist_train: object
) -> None:
    def diverge(*args: object, callback: Any, **kwargs: object) -> None:
        callback.steps = 7
        raise DivergenceError("planted")

    monkeypatch.setattr(saturation, "fit", diverge)

    measured = saturation.train_with_scale(trial("none", first="small"))

    assert measured == {"accuracy": 0.0, "lost": 100.0, "not_a_number_after": 7, "probes": []}
