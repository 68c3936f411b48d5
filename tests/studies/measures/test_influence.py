import pytest
import torch
from scipy.stats import spearmanr

from clearhead.insight.tokens import grid_of
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures.influence import (
    partial_rank_correlations,
    rank_correlations,
    silencing_effects,
)


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


def test_partial_correlations_follow_the_textbooks_formula() -> None:
    generator = torch.Generator().manual_seed(4)
    given = torch.randint(0, 6, (7, 16), generator=generator).double()  # with ties, as ink has
    one, other = (given + 3 * torch.rand(7, 16, generator=generator) for _ in range(2))

    found = partial_rank_correlations(one, other, given)

    for image in range(7):
        x, y, z = (part[image].numpy() for part in (one, other, given))
        xy, xz, yz = (float(spearmanr(*pair).statistic) for pair in ((x, y), (x, z), (y, z)))
        expected = (xy - xz * yz) / ((1 - xz**2) * (1 - yz**2)) ** 0.5
        assert float(found[image]) == pytest.approx(expected)


def test_of_what_goes_by_the_control_alone_little_is_left() -> None:
    generator = torch.Generator().manual_seed(5)
    given = torch.rand(200, 17, generator=generator)
    one, other = (given + 0.5 * torch.rand(200, 17, generator=generator) for _ in range(2))

    assert float(rank_correlations(one, other).mean()) > 0.6
    left = float(partial_rank_correlations(one, other, given).mean())  # ranks are not quite lines
    assert abs(left) < 0.15
    assert partial_rank_correlations(given.exp(), other, given).tolist() == [0.0] * 200


def test_a_control_that_is_the_same_everywhere_takes_nothing_off() -> None:
    one, other = torch.rand(2, 3, 16, generator=torch.Generator().manual_seed(6)).unbind()

    found = partial_rank_correlations(one, other, torch.ones(3, 16))

    torch.testing.assert_close(found, rank_correlations(one, other))
