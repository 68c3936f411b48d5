import pytest
import torch
from scipy.stats import spearmanr

from clearhead.insight import grid_of
from clearhead.insight.importance import RAW
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures.influence import (
    GRADIENT,
    INK,
    MAPS,
    RANDOM,
    ablation_effects,
    by_map,
    influence,
    partial_rank_correlations,
    pixel_gradients,
    rank_correlations,
)
from tests.studies.made_up import random_classifier, random_images


def sharp_model() -> VisionTransformer:
    return random_classifier(3, 0.4, embed_dim=20, num_heads=2)


def test_ablation_masks_the_key_in_all_layers_and_gives_the_total_variation() -> None:
    model, inputs = sharp_model(), random_images(3)

    effects = ablation_effects(model, inputs, grid_of(model))

    with torch.no_grad():
        whole = model(inputs).double().softmax(dim=1)
        for patch in (0, 5, 15):
            mask = torch.ones(1, 1, 1, 16, dtype=torch.bool)
            mask[..., patch] = False
            tokens = model.embedded(inputs)
            for block in model.blocks:
                tokens = block(tokens, attn_mask=mask)
            without = model.head(model.pooled(model.norm(tokens))).double().softmax(dim=1)
            expected = (without - whole).abs().sum(dim=1) / 2
            torch.testing.assert_close(effects[:, patch], expected, atol=1e-6, rtol=1e-4)
    assert float(effects.max()) > 0.01


def test_correlations_are_spearmans_with_ties() -> None:
    generator = torch.Generator().manual_seed(1)
    one = torch.randint(0, 5, (7, 16), generator=generator).double()
    other = torch.rand(7, 16, generator=generator)

    result = rank_correlations(one, other)

    for image in range(7):
        expected = spearmanr(one[image].numpy(), other[image].numpy()).statistic
        assert float(result[image]) == pytest.approx(float(expected))
    assert rank_correlations(torch.ones(2, 16), torch.rand(2, 16)).tolist() == [0.0, 0.0]


def test_partial_correlations_follow_the_formula() -> None:
    generator = torch.Generator().manual_seed(4)
    given = torch.randint(0, 6, (7, 16), generator=generator).double()  # with ties, as ink has
    one, other = (given + 3 * torch.rand(7, 16, generator=generator) for _ in range(2))

    result = partial_rank_correlations(one, other, given)

    for image in range(7):
        x, y, z = (part[image].numpy() for part in (one, other, given))
        xy, xz, yz = (float(spearmanr(*pair).statistic) for pair in ((x, y), (x, z), (y, z)))
        expected = (xy - xz * yz) / ((1 - xz**2) * (1 - yz**2)) ** 0.5
        assert float(result[image]) == pytest.approx(expected)


def test_little_correlation_remains_if_it_is_due_to_the_control() -> None:
    generator = torch.Generator().manual_seed(5)
    given = torch.rand(200, 17, generator=generator)
    one, other = (given + 0.5 * torch.rand(200, 17, generator=generator) for _ in range(2))

    assert float(rank_correlations(one, other).mean()) > 0.6
    left = float(partial_rank_correlations(one, other, given).mean())  # ranks are not quite lines
    assert abs(left) < 0.15
    assert partial_rank_correlations(given.exp(), other, given).tolist() == [0.0] * 200


def test_a_constant_control_changes_nothing() -> None:
    one, other = torch.rand(2, 3, 16, generator=torch.Generator().manual_seed(6)).unbind()

    result = partial_rank_correlations(one, other, torch.ones(3, 16))

    torch.testing.assert_close(result, rank_correlations(one, other))


def test_pixel_gradients_are_mean_slopes_of_the_predicted_logit() -> None:
    model, inputs = sharp_model().double(), random_images(3).double()

    result = pixel_gradients(model, inputs, grid_of(model))

    assert result.shape == (3, 16)
    step = 1e-5
    with torch.no_grad():
        predicted = int(model(inputs)[1].argmax())
        slopes = torch.zeros(7, 7, dtype=torch.float64)
        for row in range(7):
            for column in range(7):  # patch 6: second row, third column
                more, less = inputs[1:2].clone(), inputs[1:2].clone()
                more[0, 0, 7 + row, 14 + column] += step
                less[0, 0, 7 + row, 14 + column] -= step
                rise = model(more)[0, predicted] - model(less)[0, predicted]
                slopes[row, column] = rise / (2 * step)
    torch.testing.assert_close(result[1, 6], slopes.abs().mean(), rtol=1e-5, atol=1e-8)


def test_models_and_images_are_unchanged() -> None:
    model = VisionTransformer(ViTConfig(depth=1, embed_dim=8, num_heads=2)).train()
    inputs = random_images(2)

    with torch.no_grad():
        pixel_gradients(model, inputs, grid_of(model))

    assert model.training
    assert not inputs.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.usefixtures("mnist_test")
def test_random_numbers_correlate_with_nothing_and_influence_is_measured() -> None:
    model = sharp_model()

    result = influence(model, 40, 5)

    assert set(result["correlation"]) == set(result["area"]) == set(MAPS)
    assert abs(result["correlation"][RANDOM]) < 0.15  # 40 images: a standard error of 0.04
    assert abs(result["area"][RANDOM]) < 0.05
    assert result["correlation"][RAW] != result["correlation"][INK]
    assert set(result["beyond_ink"]) == set(MAPS) - {INK}
    assert abs(result["beyond_ink"][RANDOM]) < 0.15
    assert result["beyond_ink"][RAW] != result["correlation"][RAW]
    assert 0 < result["effect"] < result["largest_effect"] <= 1
    assert by_map("area")(result)[MAPS.index(GRADIENT)] == result["area"][GRADIENT]
    assert influence(model, 3, 5) == influence(model, 3, 5)
