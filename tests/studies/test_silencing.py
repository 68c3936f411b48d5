import pytest
import torch
from scipy.stats import spearmanr

from clearhead.insight.grids import grid_of
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.silencing import rank_correlations, silencing_effects


def sharp_model() -> VisionTransformer:
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(depth=2, embed_dim=20, num_heads=2)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(2))


def test_silencing_is_masking_the_key_everywhere_and_the_answers_total_variation() -> None:
    model, pictures = sharp_model(), images(3)

    effects = silencing_effects(model, pictures, grid_of(model))

    with torch.no_grad():
        whole = model(pictures).double().softmax(dim=1)
        for patch in (0, 5, 15):
            mask = torch.ones(1, 1, 1, 16, dtype=torch.bool)
            mask[..., patch] = False
            tokens = model.embedded(pictures)
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

    found = rank_correlations(one, other)

    for image in range(7):
        expected = spearmanr(one[image].numpy(), other[image].numpy()).statistic
        assert float(found[image]) == pytest.approx(float(expected))


def test_a_map_that_says_nothing_has_no_correlation() -> None:
    assert rank_correlations(torch.ones(2, 16), torch.rand(2, 16)).tolist() == [0.0, 0.0]
