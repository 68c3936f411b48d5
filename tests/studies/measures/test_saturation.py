import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from clearhead.data import normalize
from clearhead.errors import DivergenceError
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from clearhead.studies.measures import saturation
from clearhead.studies.measures.classifiers import training_digits
from clearhead.studies.measures.saturation import (
    jacobian_norm,
    query_gradient_norm,
    saturation_of_random_scores,
)
from clearhead.studies.table import Trial
from clearhead.training import TrainConfig, initial_model
from tests.studies.random_models import trial


@given(st.integers(0, 2**32), st.integers(2, 9), st.floats(0.1, 8))
@settings(deadline=None, max_examples=25)
def test_the_jacobian_is_that_of_autograd(seed: int, keys: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(keys, generator=generator, dtype=torch.float64) * size
    jacobian = torch.autograd.functional.jacobian(lambda x: torch.softmax(x, dim=0), scores)
    found = jacobian_norm(torch.softmax(scores, dim=0))
    assert float(found) == pytest.approx(float(jacobian.norm()), abs=1e-7)


def test_the_gradient_for_the_query_is_that_of_autograd() -> None:
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(5, generator=generator, dtype=torch.float64)
    key = torch.randn(7, 5, generator=generator, dtype=torch.float64)

    def weights(x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(key @ x * 0.3, dim=0)

    jacobian = torch.autograd.functional.jacobian(weights, query)
    found = query_gradient_norm(weights(query)[None], key[None], 0.3)
    assert float(found) == pytest.approx(float(jacobian.norm()))


def zero_gap_density(keys: int) -> float:
    """The density at 0 of the gap between the two largest of `keys` standard normal numbers.

    n (n - 1) ∫ φ(x)² Φ(x)ⁿ⁻² dx. For scores of a large standard deviation σ, the mean norm of the
    Jacobian is this over σ: two keys share the weight, the norm is 2 p (1 - p), and the integral of
    that over the gap is 1. The random energy model (Derrida 1981) is the same.
    """
    integral, _ = quad(lambda x: norm.pdf(x) ** 2 * norm.cdf(x) ** (keys - 2), -10, 10)
    return float(keys * (keys - 1) * integral)


def test_the_density_of_a_zero_gap_is_that_of_random_numbers() -> None:
    assert zero_gap_density(2) == pytest.approx(1 / math.sqrt(math.pi))
    x = torch.randn(200_000, 16, generator=torch.Generator().manual_seed(4)).topk(2).values
    near = ((x[:, 0] - x[:, 1]) < 0.05).double().mean() / 0.05
    assert zero_gap_density(16) == pytest.approx(float(near), rel=0.08)


def test_random_scores_agree_with_theory_where_d_k_is_large() -> None:
    settings: Any = {"rows": 2_000, "keys": 16, "head_dims": (256,)}
    measured = saturation_of_random_scores(trial(seed=5, **settings))["measured"]
    for measure in ("relative_entropy", "largest", "jacobian"):
        theory = measured["theory unscaled"][measure]
        assert measured["unscaled"][measure] == pytest.approx(theory, abs=0.02)
    expected = zero_gap_density(16) / math.sqrt(256)
    assert measured["unscaled"]["jacobian"] == pytest.approx([expected], rel=0.1)


CONFIG = TrainConfig(model=ViTConfig(depth=2, num_heads=1), seed=5)


def training_trial(condition: str, **changes: Any) -> Trial:
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
    trials = map(training_trial, ("sqrt", "none"))
    scaled, unscaled = map(saturation.train_with_scale, trials)

    assert [probe["step"] for probe in scaled["probes"]] == [5]
    assert scaled["not_a_number_after"] == -1
    assert (scaled["lost"] == 100) == (scaled["accuracy"] < 30)
    # Scores of variance 64 instead of 1: the softmax is far sharper.
    first = [x["probes"][0]["entropy"][0][0] for x in (scaled, unscaled)]
    assert first[1] < first[0] - 0.5


def test_probes_are_those_of_the_first_layer_and_the_mean_of_its_heads() -> None:
    probes = [
        {"query_gradient": [float(step), -1.0], "entropy": [[step, step + 2.0], [0.0, 0.0]]}
        for step in saturation.PROBED
    ]
    expected = [float(step) for step in saturation.PROBED]
    assert saturation.over_steps("query_gradient")({"probes": probes}) == expected
    assert saturation.over_steps("entropy")({"probes": probes}) == [x + 1 for x in expected]
    with pytest.raises(IndexError):
        saturation.over_steps("entropy")({"probes": probes[:-1]})


def test_a_training_with_a_loss_of_nan_is_lost(
    monkeypatch: pytest.MonkeyPatch, mnist_train: object
) -> None:
    def diverge(*args: object, callback: Any, **kwargs: object) -> None:
        callback.steps = 7
        raise DivergenceError("planted")

    monkeypatch.setattr(saturation, "fit", diverge)

    measured = saturation.train_with_scale(training_trial("none", first="small"))

    assert measured == {"accuracy": 0.0, "lost": 100.0, "not_a_number_after": 7, "probes": []}
