from dataclasses import replace

import pytest
import torch
from torch import Tensor

from clearhead.data import ImageDataset, normalize
from clearhead.errors import ConfigError, InputError
from clearhead.insight.grids import grid_of
from clearhead.insight.heads.measured import Figures, HeadMeasures, measure_heads, measure_records
from clearhead.insight.heads.roles import (
    NO_CLEAR_ROLE,
    ROLES,
    describe_heads,
    head_roles,
    move,
)
from clearhead.insight.heads.untrained import untrained_heads
from clearhead.insight.ink import ink_of
from clearhead.insight.tokens import Grid
from clearhead.models.build import build, load
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.vit import VisionTransformer

GRID = Grid(4, 5)
IMAGES, LAYERS, HEADS = 23, 2, 3


def ink_images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(IMAGES, 1, 4, 5, generator=generator)
    patches[torch.rand(IMAGES, 1, 4, 5, generator=generator) < 0.6] = 0.0
    return patches.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)


def noise(seed: int, size: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (IMAGES, HEADS, 20, 20)
    return [torch.randn(shape, generator=generator).mul(size).softmax(-1) for _ in range(LAYERS)]


def measured(layers: list[Tensor]) -> HeadMeasures:
    return measure_records(layers, GRID, ink=ink_of(ink_images(), GRID))


def untrained(count: int = 19) -> list[HeadMeasures]:
    return [measured(noise(seed)) for seed in range(count)]


def planted(layer: int, head: int, weights: Tensor) -> HeadMeasures:
    layers = noise(100)
    layers[layer][:, head] = 0.5 * layers[layer][:, head] + 0.5 * weights
    return measured(layers)


def pattern(name: str) -> Tensor:
    """Weights (images 20 20) of a head that does one thing alone."""
    ink = ink_of(ink_images(), GRID)
    rows, columns = torch.arange(20) // 5, torch.arange(20) % 5
    down, across = (rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()
    opposite = (rows[:, None] == 0) & (rows == 3) | (rows[:, None] == 3) & (rows == 0)
    kinds = {
        "itself_lift": torch.eye(20),
        "neighbours_lift": torch.maximum(down, across) == 1,
        "row_lift": (down == 0) & (across > 0),
        "column_lift": (across == 0) & (down > 0),
        "top_bottom_lift": opposite,
        "ink_lift": ink.inked[:, None],
        "blank_lift": ink.blank[:, None],
        "centre_lift": torch.eye(20)[ink.centre][:, None],
        "fixed_place": torch.eye(20)[[11]],
    }
    weights = kinds[name].float().expand(IMAGES, 20, 20).clone()
    weights[weights.sum(dim=-1) == 0] = 1.0  # queries that the pattern leaves out ask evenly
    return weights / weights.sum(dim=-1, keepdim=True)


@pytest.mark.parametrize("name", [name for name in ROLES if name != "prefix"])
def test_a_planted_role_is_found_in_its_head_and_in_no_other(name: str) -> None:
    found = describe_heads(planted(1, 2, pattern(name)), untrained())
    for role in found:
        if (role.layer, role.head) == (found[-1].layer, 2) and role is found[-1]:
            assert role.evidence[0].measure == name
            assert role.words.startswith(ROLES[name])
            assert role.evidence[0].value > role.evidence[0].threshold
        else:
            assert role.words == NO_CLEAR_ROLE, (name, role)


def test_a_fixed_place_is_named() -> None:
    role = describe_heads(planted(1, 2, pattern("fixed_place")), untrained())[-1]
    assert role.words == "one fixed place: patch at row 3, column 2"
    assert str(role).startswith("weights, head 3: one fixed place: patch at row 3, column 2 [fixed")


def test_a_head_that_asks_one_place_near_everything_is_not_called_local() -> None:
    role = describe_heads(planted(0, 0, pattern("fixed_place")), untrained())[0]
    assert [one.measure for one in role.evidence] == ["fixed_place"]


SPREAD = {"row_lift": 0.01, "ink_lift": 0.2, "blank_lift": 0.03, "prefix": 1.0}


def drawn(generator: torch.Generator, like: HeadMeasures) -> HeadMeasures:
    """Measures of a model that are pure chance, with tails of several weights and no errors."""
    figures = {}
    for name, spread in SPREAD.items():
        x = torch.randn(LAYERS, HEADS, generator=generator, dtype=torch.float64)
        figures[name] = Figures(2.0 + spread * x * x.abs() ** 0.5, None)
    return replace(like, figures=figures)


def test_an_untrained_model_earns_a_word_as_often_as_the_level_says() -> None:
    generator, like = torch.Generator().manual_seed(0), measured(noise(0))
    earned = []
    for _ in range(60):
        baseline = [drawn(generator, like) for _ in range(19)]
        for _ in range(20):
            roles = describe_heads(drawn(generator, like), baseline, level=0.1)
            earned.append(any(role.evidence for role in roles))
    assert sum(earned) / len(earned) == pytest.approx(0.1, abs=0.03)


def test_what_is_beyond_chance_but_tiny_is_no_role() -> None:
    trained = planted(1, 2, pattern("row_lift"))
    value = float(trained["row_lift"].mean[1, 2])
    assert describe_heads(trained, untrained(), least=value + 0.01)[-1].words == NO_CLEAR_ROLE
    assert describe_heads(trained, untrained(), least=value - 0.01)[-1].words != NO_CLEAR_ROLE


def test_a_mean_that_is_beyond_by_less_than_its_error_is_no_role() -> None:
    trained = planted(1, 2, pattern("row_lift"))
    mean, error = trained["row_lift"]
    assert error is not None
    unsure = {"row_lift": Figures(mean, error + 1.0)}
    doubtful = replace(trained, figures={**trained.figures, **unsure})
    assert "row_lift" not in [
        one.measure for one in describe_heads(doubtful, untrained())[-1].evidence
    ]


def test_a_head_must_be_beyond_every_baseline() -> None:
    trained = planted(1, 2, pattern("row_lift"))
    as_sharp = [planted_in(seed, pattern("row_lift")) for seed in range(19)]
    assert describe_heads(trained, untrained())[-1].words != NO_CLEAR_ROLE
    assert describe_heads(trained, untrained(), as_sharp)[-1].words == NO_CLEAR_ROLE


def planted_in(seed: int, weights: Tensor) -> HeadMeasures:
    layers = noise(seed)
    layers[0][:, 0] = 0.4 * layers[0][:, 0] + 0.6 * weights
    return measured(layers)


def test_too_few_untrained_models_are_refused() -> None:
    trained = measured(noise(100))
    with pytest.raises(ConfigError, match=r"needs at least 19 untrained models, got 18"):
        describe_heads(trained, untrained(18))
    with pytest.raises(ConfigError, match=r"level 0\.5 needs at least 3 untrained models, got 2"):
        describe_heads(trained, untrained(2), level=0.5)
    for level in (0.0, 1.0, -0.1):
        with pytest.raises(ConfigError, match="level must lie between 0 and 1"):
            describe_heads(trained, untrained(3), level=level)
    with pytest.raises(InputError, match="needs measures of untrained models"):
        describe_heads(trained)


def test_untrained_models_of_another_kind_are_refused() -> None:
    trained = measured(noise(100))
    deeper = [measured(noise(seed) * 2) for seed in range(19)]
    without_ink = [measure_records(noise(seed), GRID) for seed in range(19)]
    for other in (deeper, without_ink):
        with pytest.raises(InputError, match="as many layers and heads and the same measures"):
            describe_heads(trained, other)


def test_images_are_moved_whole_and_always_the_same_way() -> None:
    images = torch.zeros(200, 1, 9, 11, dtype=torch.uint8)
    images[:, 0, 4, 5] = torch.arange(1, 201)
    moved = move(images, 3)
    assert torch.equal(moved, move(images, 3))
    places = (moved != 0).nonzero()
    assert len(places) == 200
    assert torch.equal(moved[moved != 0], torch.arange(1, 201, dtype=torch.uint8))
    assert set(places[:, 2].tolist()) == set(range(1, 8))
    assert set(places[:, 3].tolist()) == set(range(2, 9))
    assert torch.equal(move(images, 0), images)
    with pytest.raises(ConfigError, match="0 pixels or more"):
        move(images, -1)


def test_the_shipped_model_has_roles_that_untrained_models_do_not(
    mnist_test: ImageDataset,
) -> None:
    model = load()
    assert isinstance(model, VisionTransformer)
    images = move(mnist_test.images[:60], 4)
    ink, pixels = ink_of(images, grid_of(model)), normalize(images, model.config)
    *baseline, other = untrained_heads(model.config, pixels, ink=ink, seeds=range(20))
    found = describe_heads(measure_heads(model, pixels, ink=ink), baseline)
    assert [role.words for role in found[:4]] == [NO_CLEAR_ROLE] * 4  # attends almost evenly
    assert sum(role.words != NO_CLEAR_ROLE for role in found) >= 12
    assert all(role.words == NO_CLEAR_ROLE for role in describe_heads(other, baseline))


def test_a_models_heads_are_measured_on_moved_images_against_two_baselines() -> None:
    config = ViTConfig(image_size=(14, 21), embed_dim=12, num_heads=3, depth=2)
    model = build(config)
    assert isinstance(model, VisionTransformer)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (7, 1, 14, 21), generator=generator, dtype=torch.uint8)
    moved = move(images, 4)
    ink, pixels = ink_of(moved, grid_of(model)), normalize(moved, config)
    measures = measure_heads(model, pixels, ink=ink)
    baselines = [
        untrained_heads(config, pixels, ink=ink, seeds=range(9), as_sharp_as=sharp)
        for sharp in (None, measures)
    ]
    expected = describe_heads(measures, *baselines, level=0.1)
    assert head_roles(model, images, seeds=range(9), level=0.1) == expected
    assert len(expected) == 6


def test_a_model_without_attention_has_no_heads() -> None:
    with pytest.raises(ConfigError, match=r"VisionTransformer alone, got .*ConvNet"):
        head_roles(build(CNNConfig()), torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
