"""Roles of heads: planted patterns are found, chance gets a label as rarely as stated."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from clearhead.data import ImageDataset, normalize
from clearhead.errors import ConfigError, InputError
from clearhead.insight.foreground import Foreground
from clearhead.insight.measures import Estimate, HeadMeasures, measure_heads, measure_records
from clearhead.insight.roles import (
    NO_CLEAR_ROLE,
    ROLES,
    _largest_z,
    describe_heads,
    head_roles,
    shift_images,
    untrained_heads,
)
from clearhead.insight.tokens import Grid, grid_of
from clearhead.models import build, load
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.vit import VisionTransformer

GRID = Grid(4, 5)
IMAGES, LAYERS, HEADS = 23, 2, 3
CONFIG = ViTConfig(image_size=(14, 21), patch_size=7, embed_dim=12, num_heads=3, depth=2)


def random_foreground() -> Foreground:
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(IMAGES, 1, 4, 5, generator=generator)
    patches[torch.rand(IMAGES, 1, 4, 5, generator=generator) < 0.6] = 0.0
    return Foreground.of(patches.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3), GRID)


FOREGROUND = random_foreground()


def noise(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (IMAGES, HEADS, 20, 20)
    return [torch.randn(shape, generator=generator).softmax(-1) for _ in range(LAYERS)]


def measured(layers: list[Tensor]) -> HeadMeasures:
    return measure_records(layers, GRID, foreground=FOREGROUND)


UNTRAINED = [measured(noise(seed)) for seed in range(19)]


def planted(
    weights: Tensor, *, layer: int = 1, head: int = 2, seed: int = 100, share: float = 0.5
) -> HeadMeasures:
    layers = noise(seed)
    layers[layer][:, head] = (1 - share) * layers[layer][:, head] + share * weights
    return measured(layers)


def pattern(name: str) -> Tensor:
    """Weights (images 20 20) of a head that attends to one kind of patches only."""
    rows, columns = torch.arange(20) // 5, torch.arange(20) % 5
    down, across = (rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()
    kinds = {
        "itself_lift": torch.eye(20),
        "neighbours_lift": torch.maximum(down, across) == 1,
        "row_lift": (down == 0) & (across > 0),
        "column_lift": (across == 0) & (down > 0),
        "top_bottom_lift": down == 3,
        "foreground_lift": FOREGROUND.mask[:, None],
        "background_lift": FOREGROUND.background[:, None],
        "centre_lift": torch.eye(20)[FOREGROUND.centre][:, None],
        "fixed_patch": torch.eye(20)[[11]],
    }
    weights = kinds[name].float().expand(IMAGES, 20, 20).clone()
    weights[weights.sum(dim=-1) == 0] = 1.0  # queries outside the pattern attend uniformly
    return weights / weights.sum(dim=-1, keepdim=True)


@pytest.mark.parametrize("name", [name for name in ROLES if name != "prefix"])
def test_a_planted_role_is_found_in_its_head_and_in_no_other(name: str) -> None:
    *others, role = describe_heads(planted(pattern(name)), UNTRAINED)
    assert (role.layer_index, role.head) == (1, 2)
    assert role.evidence[0].measure == name
    assert role.label.startswith(ROLES[name])
    assert role.evidence[0].value > role.evidence[0].threshold
    assert {other.label for other in others} == {NO_CLEAR_ROLE}


def test_a_fixed_patch_is_labelled_as_such_and_not_as_local() -> None:
    role = describe_heads(planted(pattern("fixed_patch")), UNTRAINED)[-1]
    assert [x.measure for x in role.evidence] == ["fixed_patch"]
    assert role.label == "one fixed patch: patch 12 (row 3, column 2)"
    assert str(role).startswith(
        "L2 H3 (weights): one fixed patch: patch 12 (row 3, column 2) [fixed"
    )
    assert role.to_dict()["label"] == role.label
    with_prefix = replace(planted(pattern("fixed_patch")), tokens=Grid(4, 5, 2))
    assert describe_heads(with_prefix, UNTRAINED)[-1].label == role.label
    many = replace(role, evidence=3 * role.evidence)
    assert many.label == f"{role.label}; {role.label}"


def test_z_scores_leave_out_the_model_itself() -> None:
    largest = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for model, z in enumerate(_largest_z(largest)):
        others = largest[[other for other in range(5) if other != model]]
        expected = (largest[model] - others.mean(0)) / others.std(0)
        assert float(z) == pytest.approx(float(expected.max()))


SPREAD = {"row_lift": 0.01, "foreground_lift": 0.2, "background_lift": 0.03, "prefix": 1.0}


def random_measures(generator: torch.Generator) -> HeadMeasures:
    """Measures that are pure chance, with heavier tails than normal and no errors."""
    estimates = {}
    for name, spread in SPREAD.items():
        x = torch.randn(LAYERS, HEADS, generator=generator, dtype=torch.float64)
        estimates[name] = Estimate(2.0 + spread * x * x.abs() ** 0.5, None)
    return replace(UNTRAINED[0], estimates=estimates)


def test_an_untrained_model_earns_a_label_as_often_as_the_level_claims() -> None:
    generator = torch.Generator().manual_seed(0)
    earned = []
    for _ in range(60):
        baseline = [random_measures(generator) for _ in range(19)]
        for _ in range(8):
            roles = describe_heads(random_measures(generator), baseline, level=0.1)
            earned.append(any(role.evidence for role in roles))
    assert sum(earned) / len(earned) == pytest.approx(0.1, abs=0.03)


def test_a_share_that_is_small_or_uncertain_or_in_one_baseline_is_not_a_role() -> None:
    trained = planted(pattern("row_lift"))
    mean, _ = trained["row_lift"]
    value = float(mean[1, 2])
    assert describe_heads(trained, UNTRAINED, min_share=value - 0.01)[-1].label != NO_CLEAR_ROLE
    assert describe_heads(trained, UNTRAINED, min_share=value + 0.01)[-1].label == NO_CLEAR_ROLE
    weak = planted(pattern("row_lift"), share=0.1)
    assert 0.05 < float(weak["row_lift"].mean[1, 2]) < 0.1
    assert describe_heads(weak, UNTRAINED, min_share=0.05)[-1].label != NO_CLEAR_ROLE
    assert describe_heads(weak, UNTRAINED)[-1].label == NO_CLEAR_ROLE
    row = describe_heads(trained, UNTRAINED)[-1].evidence[0]
    for share, found in ((0.99, True), (1.01, False)):  # of the largest error
        limit = share * (row.value - row.threshold) / 1.96
        uncertain = {**trained.estimates, "row_lift": Estimate(mean, torch.full_like(mean, limit))}
        role = describe_heads(replace(trained, estimates=uncertain), UNTRAINED)[-1]
        assert ("row_lift" in [x.measure for x in role.evidence]) is found
    rows = pattern("row_lift")
    harder = [planted(rows, layer=0, head=0, seed=seed, share=0.6) for seed in range(19)]
    assert describe_heads(trained, UNTRAINED, harder)[-1].label == NO_CLEAR_ROLE


def test_too_few_or_different_untrained_models_are_refused() -> None:
    trained = measured(noise(100))
    with pytest.raises(ConfigError, match=r"needs at least 19 untrained models, got 18"):
        describe_heads(trained, UNTRAINED[:18])
    with pytest.raises(ConfigError, match=r"level 0\.5 needs at least 3 untrained models, got 2"):
        describe_heads(trained, UNTRAINED[:2], level=0.5)
    for level in (0.0, 1.0):
        with pytest.raises(ConfigError, match="level must be between 0 and 1"):
            describe_heads(trained, UNTRAINED, level=level)
    with pytest.raises(InputError, match="needs measures of untrained models"):
        describe_heads(trained)
    deeper, without_foreground = measured(noise(0) * 2), measure_records(noise(0), GRID)
    for other in (deeper, without_foreground):
        with pytest.raises(InputError, match="as many layers and heads and the same measures"):
            describe_heads(trained, [other] * 19)


def test_images_are_shifted_as_a_whole_and_always_in_the_same_way() -> None:
    images = torch.zeros(200, 1, 9, 11, dtype=torch.uint8)
    images[:, 0, 4, 5] = torch.arange(1, 201)
    shifted = shift_images(images, 3)
    assert torch.equal(shifted, shift_images(images, 3))
    assert torch.equal(shifted[shifted != 0], torch.arange(1, 201, dtype=torch.uint8))
    _, _, rows, columns = (shifted != 0).nonzero().T.tolist()
    assert (set(rows), set(columns)) == (set(range(1, 8)), set(range(2, 9)))
    assert torch.equal(shift_images(images, 0), images)
    with pytest.raises(ConfigError, match="at least 0"):
        shift_images(images, -1)


PIXELS = torch.randn(5, 1, 14, 21, generator=torch.Generator().manual_seed(0))


def test_untrained_models_are_determined_by_their_seeds_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    results = untrained_heads(CONFIG, PIXELS, seeds=(3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    for seed, measures in zip((3, 4), results, strict=True):
        torch.manual_seed(seed)
        expected = measure_heads(VisionTransformer(CONFIG), PIXELS)
        for name in expected.estimates:
            torch.testing.assert_close(measures[name].mean, expected[name].mean)
    assert not torch.equal(results[0]["distance"].mean, results[1]["distance"].mean)


@pytest.mark.parametrize("entropies", [(0.7, 1.4), (1.7, 0.1)])
def test_untrained_attention_can_match_the_entropy_of_trained_layers(
    entropies: tuple[float, float],
) -> None:
    measures = measure_heads(VisionTransformer(CONFIG), PIXELS)
    target = torch.tensor(entropies, dtype=torch.float64)
    entropy = measures["entropy"]._replace(mean=target[:, None].expand(2, 3))
    trained = replace(measures, estimates={**measures.estimates, "entropy": entropy})
    for untrained in untrained_heads(CONFIG, PIXELS, seeds=(0, 1), match_entropy=trained):
        result = untrained["entropy"].mean.mean(dim=1)
        torch.testing.assert_close(result, target, atol=1e-4, rtol=0)


def test_head_roles_compares_shifted_images_with_two_baselines() -> None:
    model = build(CONFIG)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (7, 1, 14, 21), generator=generator, dtype=torch.uint8)
    shifted = shift_images(images, 4)
    foreground, pixels = Foreground.of(shifted, grid_of(model)), normalize(shifted, CONFIG)
    measures = measure_heads(model, pixels, foreground=foreground)
    baselines = [
        untrained_heads(CONFIG, pixels, foreground=foreground, seeds=range(3), match_entropy=match)
        for match in (None, measures)
    ]
    expected = describe_heads(measures, *baselines, level=0.25)
    assert head_roles(model, images, seeds=range(3), level=0.25) == expected
    assert len(expected) == 6
    with pytest.raises(ConfigError, match=r"VisionTransformer only, got .*ConvNet"):
        head_roles(build(CNNConfig()), images)


@pytest.mark.slow
def test_the_shipped_model_has_roles_that_untrained_models_do_not(
    mnist_test: ImageDataset,
) -> None:
    model = load()
    assert isinstance(model, VisionTransformer)
    images = shift_images(mnist_test.images[:60], 4)
    foreground, pixels = Foreground.of(images, grid_of(model)), normalize(images, model.config)
    *baseline, other = untrained_heads(model.config, pixels, foreground=foreground, seeds=range(20))
    roles = describe_heads(measure_heads(model, pixels, foreground=foreground), baseline)
    assert sum(role.label != NO_CLEAR_ROLE for role in roles) >= 12
    assert all(role.label == NO_CLEAR_ROLE for role in describe_heads(other, baseline))
