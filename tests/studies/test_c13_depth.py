import pytest
import torch
from torch import nn

from clearhead.data import ImageDataset
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies._unconverted import Comparison
from clearhead.studies.claims import c13_depth as c13
from clearhead.studies.table import Outcome, Trial


def made_up(distance: float = 0.3, seen: float = 0.3, single: float = 0.3) -> list[Outcome]:
    """Each measure in the upper layers that much above the lower."""
    values = {
        name: [0.3, 0.4, 0.5, 0.3 + more, 0.4 + more, 0.5 + more]
        for name, more in (("distance", distance), ("seen", seen), ("single", single))
    }
    values["pooled"] = [0.1, 0.2, 0.3, 0.5, 0.8, 0.9]
    return [
        Outcome(trial=Trial(study="depth", condition=arm, seed=seed), values=values)
        for seed in (1, 2, 3)
        for arm in c13.ARMS
    ]


def as_claimed(outcomes: list[Outcome]) -> list[bool]:
    return [
        all(x >= one.margin for x in one.differences)
        for one in c13.evidence(outcomes)
        if isinstance(one, Comparison)
    ]


def test_the_lens_on_the_last_layer_is_the_models_own_answer() -> None:
    torch.manual_seed(3)
    model = VisionTransformer(ViTConfig(embed_dim=8, num_heads=2, depth=3)).eval()
    images = torch.randn(23, 1, 28, 28)
    labels = model(images).argmax(dim=1)
    single, pooled = c13.lens_accuracies(model, images, labels)
    assert len(single) == len(pooled) == 3
    assert pooled[-1] == 1.0
    assert single[-1] < 1.0


def test_the_lens_reads_each_patch_by_itself() -> None:
    """Two patches in sixteen name the digit; no others do."""
    model = VisionTransformer(ViTConfig(embed_dim=12, num_heads=2, depth=1)).eval()
    tokens = torch.zeros(1, 16, 12)
    tokens[:, :, 0] = 1.0
    tokens[:, [2, 9], 0], tokens[:, [2, 9], 7] = 0.0, 1.0
    model.norm = nn.Identity()  # type: ignore[assignment]
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.weight[:, :10] = torch.eye(10)
    model.blocks = nn.Sequential(_Fixed(tokens))  # type: ignore[assignment]
    single, _ = c13.lens_accuracies(model, torch.zeros(4, 1, 28, 28), torch.full((4,), 7))
    assert single == pytest.approx([2 / 16])


class _Fixed(nn.Module):
    def __init__(self, tokens: torch.Tensor) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tokens.expand(len(x), -1, -1)


@pytest.mark.parametrize("arm", c13.ARMS)
def test_each_arm_is_measured(
    arm: str, mnist_train: ImageDataset, mnist_test: ImageDataset
) -> None:
    told = {"images": 3, "unseen": 20, "digits": 60, "epochs": 1}
    found = c13.run(Trial(study="depth", condition=arm, seed=3, settings=told))
    assert {len(found[name]) for name in ("distance", "seen", "single", "pooled")} == {6}
    if arm == "shipped":
        assert found["pooled"][-1] > 0.9


def test_evidence_both_ways() -> None:
    assert as_claimed(made_up()) == [True, True, True]
    assert as_claimed(made_up(distance=0.05)) == [False, True, True]
    assert as_claimed(made_up(seen=0.0)) == [True, False, True]
    assert as_claimed(made_up(single=-0.3)) == [True, True, False]


def test_fields_that_stop_growing_after_the_second_layer_are_told() -> None:
    seen = {"seen": [0.65, 0.82, 0.9, 0.89, 0.89, 0.891]}
    flat = [Outcome(trial=x.trial, values={**x.values, **seen}) for x in made_up()]
    told = c13.sentences(flat)
    assert "from layer 1 to layer 3 it changes by +25 points" in told[1]
    assert "from there to layer 6 by -1." in told[1]


def test_equal_halves_show_no_difference() -> None:
    for one in c13.evidence(made_up(0.0, 0.0, 0.0)):
        assert isinstance(one, Comparison)
        assert one.differences == pytest.approx((0, 0, 0))


def test_sentences_and_figure_tell_what_was_measured() -> None:
    told = c13.sentences(made_up())
    assert "0.30, 0.40, 0.50, 0.60, 0.70, 0.80" in told[0]
    assert "30%, 40%, 50%" in told[1]
    assert "from layer 1 to layer 3 it changes by +20 points in small readers" in told[1]
    assert "from there to layer 6 by +30." in told[1]
    assert "more with depth was to be expected" in told[2]
    assert len(c13.figure(made_up()).axes) == 3
