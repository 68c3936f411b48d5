import pytest
import torch
from torch import Tensor

from clearhead.insight.heads.measured import HeadMeasures, measure_heads
from clearhead.insight.heads.untrained import untrained_heads
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer

CONFIG = ViTConfig(image_size=(14, 21), patch_size=7, embed_dim=12, num_heads=3, depth=2)


def images() -> Tensor:
    return torch.randn(5, 1, 14, 21, generator=torch.Generator().manual_seed(0))


def test_each_seed_is_a_fresh_model_of_the_configuration() -> None:
    found = untrained_heads(CONFIG, images(), seeds=(3, 4))
    for seed, measures in zip((3, 4), found, strict=True):
        torch.manual_seed(seed)
        expected = measure_heads(VisionTransformer(CONFIG), images())
        for name in expected.figures:
            torch.testing.assert_close(measures[name].mean, expected[name].mean)
    assert not torch.equal(found[0]["distance"].mean, found[1]["distance"].mean)


def test_seeds_leave_the_generator_as_it_was_and_repeat() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = untrained_heads(CONFIG, images(), seeds=(3,))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    again = untrained_heads(CONFIG, images(), seeds=(3,))
    assert torch.equal(first[0]["entropy"].mean, again[0]["entropy"].mean)


def as_sharp(entropies: tuple[float, float]) -> HeadMeasures:
    from dataclasses import replace

    measures = measure_heads(VisionTransformer(CONFIG), images())
    figures = dict(measures.figures)
    mean = torch.tensor(entropies, dtype=torch.float64)[:, None].expand(2, 3)
    figures["entropy"] = figures["entropy"]._replace(mean=mean)
    return replace(measures, figures=figures)


@pytest.mark.parametrize("entropies", [(0.7, 1.4), (1.7, 0.1)])
def test_untrained_attention_can_be_made_as_sharp_as_trained(
    entropies: tuple[float, float],
) -> None:
    for measures in untrained_heads(
        CONFIG, images(), seeds=(0, 1), as_sharp_as=as_sharp(entropies)
    ):
        found = measures["entropy"].mean.mean(dim=1)
        torch.testing.assert_close(
            found, torch.tensor(entropies, dtype=torch.float64), atol=1e-4, rtol=0
        )
