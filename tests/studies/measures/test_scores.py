from typing import Any

import pytest
import torch
from torch import Tensor

from clearhead.attention import MultiHeadAttention
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import Recording, capture
from clearhead.studies.measures.scores import (
    head_variances,
    independent_components,
    largest_distance,
    prediction_errors_and_range,
    scale_factors,
    score_variance,
    standardised,
    variance_if_unrelated,
    variances_in_model,
    variances_of_random_scores,
)
from clearhead.studies.table import Values
from tests.studies.random_models import trial


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_variances(seed: int) -> Values:
    return variances_of_random_scores(trial(seed=seed, pairs=5_000, head_dims=(4, 64)))


def test_variances_of_random_scores_follow_theory_at_every_scale() -> None:
    found = random_variances(11)
    for variances in found["variance"].values():
        assert variances["unscaled"] == pytest.approx([4, 64], rel=0.1)
        assert variances["1/√d_k"] == pytest.approx([1, 1], rel=0.1)
        assert variances["1/d_k"] == pytest.approx([1 / 4, 1 / 64], rel=0.1)
    assert found == random_variances(11)
    assert found != random_variances(12)


@pytest.mark.parametrize(
    ("distribution", "fourth_moment"),
    [("normal", 3.0), ("uniform", 1.8), ("signs", 1.0)],
)
def test_independent_components_have_the_moments_of_their_distribution(
    distribution: str, fourth_moment: float
) -> None:
    x = independent_components(distribution, (40_000,), torch.Generator().manual_seed(2))
    assert float(x.mean()) == pytest.approx(0, abs=0.02)
    assert float(x.var()) == pytest.approx(1, rel=0.03)
    assert float((x**4).mean()) == pytest.approx(fourth_moment, rel=0.05)


@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_a_classifier_has_the_head_dim_and_scale_of_its_settings() -> None:
    settings: Any = {"digits": 60, "epochs": 1, "head_dim": 32, "scale": "learned", "images": 3}

    found = variances_in_model(trial("trained", **settings))

    assert {len(x) for x in found["heads"].values()} == {4}
    assert any(x != 1 for x in found["relative_scale"])


def test_summaries_of_variances_are_distances_and_relative_errors() -> None:
    values: Values = {
        "variance": {"normal": {"1/√d_k": [1.1, 0.7]}, "signs": {"1/√d_k": [1.2, 1.0]}},
        "heads": {
            "unscaled": [2.0, 3.0, 9.0],
            "if_unrelated": [2.0, 2.0, 1.0],
            "scaled": [4, 5, 6],
        },
    }
    assert largest_distance(values) == pytest.approx(0.3)
    assert prediction_errors_and_range(values) == pytest.approx([0.5, 8.0, 4, 6])


def test_variance_is_that_of_all_pairs_within_an_image() -> None:
    query, key = drawn(3, 2, 5, 7), drawn(3, 2, 5, 7, seed=1) + 0.5
    for head in range(2):
        products = [
            float(query[image, head, i] @ key[image, head, j])
            for image in range(3)
            for i in range(5)
            for j in range(5)
        ]
        mean = sum(products) / len(products)
        expected = sum((x - mean) ** 2 for x in products) / len(products)
        assert float(score_variance(query, key)[head]) == pytest.approx(expected)


def test_moments_predict_the_variance_over_all_pairs_of_all_images() -> None:
    query, key = drawn(3, 2, 5, 7) + 1, drawn(3, 2, 5, 7, seed=1) * 2 - 1
    together = (x.transpose(0, 1).flatten(1, 2) for x in (query, key))
    every_query, every_key = together
    expected = (every_query @ every_key.transpose(-2, -1)).flatten(1).var(dim=1, correction=0)
    torch.testing.assert_close(variance_if_unrelated(query, key), expected)


def test_standardised_components_have_mean_0_and_variance_1_and_constants_stay_0() -> None:
    x = drawn(3, 2, 5, 7) * 4 + 3
    x[..., 6] = 2.0
    even = standardised(x)
    torch.testing.assert_close(even.mean(dim=(0, 2)), torch.zeros(2, 7, dtype=torch.float64))
    expected = torch.ones(2, 7, dtype=torch.float64)
    expected[:, 6] = 0
    torch.testing.assert_close(even.var(dim=(0, 2), correction=0), expected)


@pytest.mark.parametrize(("scale", "factor"), [("sqrt", 6**-0.5), ("none", 1.0), (0.3, 0.3)])
def test_heads_of_a_model_at_every_scale(scale: str | float, factor: float) -> None:
    model, recording = recorded(scale)
    assert scale_factors(model).flatten().tolist() == pytest.approx([factor] * 4)
    found = head_variances(recording, scale_factors(model))
    for place in range(4):
        record = recording[place // 2]
        scores = record.query[:, place % 2].double() @ record.key[:, place % 2].double().mT
        assert found["unscaled"][place] == pytest.approx(float(scores.var(correction=0)), rel=1e-5)
        assert found["scaled"][place] == pytest.approx(found["unscaled"][place] * factor**2)


def test_a_learned_factor_is_divided_out_of_the_queries() -> None:
    model, recording = recorded("learned")
    plain, plain_recording = recorded("none")
    factors = scale_factors(model)
    assert factors[1].tolist() == pytest.approx([0.7, 2.0])
    found = head_variances(recording, factors)
    expected = head_variances(plain_recording, scale_factors(plain))
    for kind in ("unscaled", "if_unrelated", "per_component"):
        assert found[kind][:2] == pytest.approx(expected[kind][:2], rel=1e-4)
    assert found["scaled"][2] == pytest.approx(found["unscaled"][2] * 0.7**2)


def recorded(scale: str | float) -> tuple[VisionTransformer, Recording]:
    torch.manual_seed(5)
    config = ViTConfig(embed_dim=12, num_heads=2, depth=2, attention_scale=scale)
    model = VisionTransformer(config).eval()
    *_, last = (x for x in model.modules() if isinstance(x, MultiHeadAttention))
    if last.learned_scale is not None:
        with torch.no_grad():
            last.learned_scale.copy_(torch.tensor([0.7, 2.0]).view(2, 1, 1))
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(6))
    with torch.no_grad(), capture() as recording:
        model(images)
    return model, recording
