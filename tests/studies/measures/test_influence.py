import pytest
import torch

from clearhead.insight import grid_of
from clearhead.insight.attribution import INK, RANDOM, RAW
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures.influence import (
    MAPS,
    PIXEL_GRADIENT,
    ablation_effects,
    by_map,
    influence,
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
    assert by_map("area")(result)[MAPS.index(PIXEL_GRADIENT)] == result["area"][PIXEL_GRADIENT]
    assert influence(model, 3, 5) == influence(model, 3, 5)
