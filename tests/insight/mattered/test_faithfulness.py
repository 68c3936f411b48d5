"""Verdicts: an oracle wins, its opposite loses, chance and silence are no better than random."""

from typing import Any

import pytest
import torch
from torch import Tensor

import clearhead as ch
from clearhead.data import ImageDataset, normalize
from clearhead.errors import ConfigError, InputError
from clearhead.insight.maps.standard import ROLLOUT, standard_maps
from clearhead.insight.mattered.baselines import Baseline
from clearhead.insight.mattered.curves import (
    deletion_curves,
    insertion_curves,
    random_orders,
    ranked,
)
from clearhead.insight.mattered.faithfulness import Faithfulness, faithfulness, visible_change
from clearhead.insight.paired import mean_interval
from clearhead.insight.tokens import Grid

GRID = Grid(3, 5)
BLANK = Baseline()
COUNT = 23


def patch_means(images: Tensor) -> Tensor:
    cells: Tensor = images.unflatten(3, (5, 3)).unflatten(2, (3, 2))
    return cells.mean((1, 3, 5)).flatten(1)


def one_patch_matters(images: Tensor) -> Tensor:
    """Two classes, by the brightness of patch 7."""
    seen = 3 * patch_means(images)[:, 7]
    return torch.stack([seen, -seen], dim=1)


def all_patches_matter(images: Tensor) -> Tensor:
    seen = patch_means(images)
    return torch.cat([seen @ WEIGHTS, -(seen @ WEIGHTS)], dim=1)


WEIGHTS = torch.linspace(-1, 2, 15, dtype=torch.float64)[:, None]
IMAGES = torch.rand(COUNT, 2, 6, 15, generator=torch.Generator().manual_seed(0)).double() + 0.5
ORACLE = torch.eye(15, dtype=torch.float64)[7].expand(COUNT, 15)
RANDOM = torch.rand(COUNT, 15, generator=torch.Generator().manual_seed(1))


def measured(maps: dict[str, Tensor], **options: Any) -> Faithfulness:
    model = options.pop("model", one_patch_matters)
    return faithfulness(model, IMAGES, maps, grid=GRID, baseline=BLANK, **options)


def test_an_oracle_beats_random_orders_and_its_opposite_loses_to_them() -> None:
    found = measured({"oracle": ORACLE, "opposite": -ORACLE})
    oracle, opposite = found.maps["oracle"], found.maps["opposite"]
    for gain in (oracle.gain, oracle.deletion.gain, oracle.insertion.gain):
        assert gain.verdict == "better than"
        assert gain.interval[0] > 0.1
    assert {opposite.gain.verdict, opposite.deletion.gain.verdict} == {"worse than"}
    assert opposite.gain.mean == pytest.approx(-oracle.gain.mean)
    # the answer is gone with the first of 15 patches, and there with it
    share = torch.softmax(one_patch_matters(IMAGES), 1)[:, 0].mean()
    assert oracle.deletion.area == pytest.approx(float((share + 29 * 0.5) / 30))
    assert oracle.insertion.area == pytest.approx(float((29 * share + 0.5) / 30))


@pytest.mark.parametrize("seed", [0, 1])
def test_chance_and_silence_are_no_better_than_random(seed: int) -> None:
    found = measured({"random": RANDOM, "silent": torch.zeros(COUNT, 15)}, seed=seed)
    for one in found.maps.values():
        assert one.gain.verdict == "no better than"
        assert "is no better than random" in str(one)
        assert one.gain.interval[0] < 0 < one.gain.interval[1]


def test_random_maps_win_or_lose_as_seldom_as_the_confidence_says() -> None:
    generator = torch.Generator().manual_seed(9)
    maps = {str(i): torch.rand(COUNT, 15, generator=generator) for i in range(200)}
    found = measured(maps, model=all_patches_matter, steps=3, orders=1)
    verdicts = [one.gain.verdict for one in found.maps.values()]
    assert 0.88 < verdicts.count("no better than") / len(verdicts) < 0.99


def test_where_nothing_matters_no_map_gains_anything() -> None:
    def deaf(images: Tensor) -> Tensor:
        return torch.tensor([[0.3, 0.1, -0.4]]).expand(len(images), 3)

    found = measured({"oracle": ORACLE}, model=deaf)
    one = found.maps["oracle"]
    assert (one.gain.mean, one.gain.interval, one.gain.verdict) == (
        0.0,
        (0.0, 0.0),
        "no better than",
    )
    share = float(torch.tensor([0.3, 0.1, -0.4]).double().softmax(0)[0])
    assert one.deletion.area == pytest.approx(share)


def test_areas_curves_and_gains_are_those_of_curves_made_apart() -> None:
    classes = torch.arange(COUNT) % 2
    found = measured(
        {"random": RANDOM}, model=all_patches_matter, classes=classes, orders=3, steps=5, seed=4
    )
    generator = torch.Generator().manual_seed(4)
    options: dict[str, Any] = {"grid": GRID, "baseline": BLANK, "steps": 5}
    controls = [random_orders(COUNT, 15, generator) for _ in range(3)]
    deleted = torch.stack(
        [deletion_curves(all_patches_matter, IMAGES, x, classes, **options)[1] for x in controls]
    ).mean(0)
    inserted = torch.stack(
        [
            insertion_curves(all_patches_matter, IMAGES, x.flip(1), classes, **options)[1]
            for x in controls
        ]
    ).mean(0)
    order = RANDOM.argsort(1, descending=True)
    own = deletion_curves(all_patches_matter, IMAGES, order, classes, **options)
    other = insertion_curves(all_patches_matter, IMAGES, order, classes, **options)
    fractions = [0, 0.2, 0.4, 0.6, 0.8, 1]
    one = found.maps["random"]
    for side, curves, control, sign in (
        (one.deletion, own, deleted, -1),
        (one.insertion, other, inserted, 1),
    ):
        assert side.fractions == pytest.approx(fractions)
        assert side.curve == pytest.approx(curves.probabilities.mean(0).tolist())
        assert side.random_curve == pytest.approx(control.mean(0).tolist())
        assert side.areas == pytest.approx(curves.areas.tolist())
        areas = torch.trapezoid(control, torch.tensor(fractions, dtype=torch.float64), dim=1)
        assert side.random_areas == pytest.approx(areas.tolist())
        differences = sign * (curves.areas - areas)
        assert side.gain.mean == pytest.approx(float(differences.mean()))
        assert side.gain.interval == pytest.approx(mean_interval(differences))
    both = (other.areas - own.areas) / 2  # the control is in both, and cancels
    assert one.gain.mean == pytest.approx(float(both.mean()))
    assert one.gain.interval == pytest.approx(mean_interval(both))


def test_the_class_followed_is_the_answer_unless_told() -> None:
    answers = one_patch_matters(IMAGES).argmax(1)
    plain = measured({"oracle": ORACLE})
    assert plain == measured({"oracle": ORACLE}, classes=answers)
    assert plain != measured({"oracle": ORACLE}, classes=1 - answers)


def test_one_map_is_compared_with_another_image_by_image() -> None:
    found = measured({"oracle": ORACLE, "random": RANDOM})
    gain = found.gain("oracle", "random")
    assert gain.verdict == "better than"
    oracle, chance = found.maps["oracle"], found.maps["random"]
    assert gain.mean == pytest.approx(oracle.gain.mean - chance.gain.mean)
    assert found.gain("random", "oracle").mean == pytest.approx(-gain.mean)
    assert found.gain("random", "random").interval == (0.0, 0.0)
    with pytest.raises(InputError, match="there is oracle, random"):
        found.gain("oracle", "rollout")


def test_a_seed_decides_everything_and_batches_nothing() -> None:
    maps = {"silent": torch.zeros(COUNT, 15)}
    first = measured(maps, seed=3)
    assert first == measured(maps, seed=3)
    assert first != measured(maps, seed=4)
    small = measured(maps, seed=3, batch_size=5)
    assert small.maps["silent"].deletion.areas == pytest.approx(first.maps["silent"].deletion.areas)


def test_progress_counts_the_curves() -> None:
    told: list[tuple[int, int]] = []
    measured({"a": ORACLE, "b": RANDOM}, orders=2, progress=lambda *x: told.append(x))
    assert told == [(i, 6) for i in range(1, 7)]


def test_the_report_says_on_what_and_how_it_was_measured() -> None:
    found = measured({"oracle": ORACLE, "random": RANDOM}, orders=3, confidence=0.9)
    header, first, second = str(found).splitlines()
    assert header == "23 images, baseline blank (0), 3 random orders an image, 90% intervals"
    assert first.startswith("oracle is better than random: gain +0.")
    assert second.startswith("random is no better than random: gain ")


def test_visible_change_is_the_mean_difference_in_each_patch() -> None:
    baseline = Baseline(kind="mean")
    found = visible_change(IMAGES, GRID, baseline)
    difference = (IMAGES - baseline.of(IMAGES)).abs()
    for patch in range(15):
        row, column = divmod(patch, 5)
        cell = difference[:, :, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
        torch.testing.assert_close(found[:, patch], cell.mean((1, 2, 3)))
    assert ranked(found, torch.Generator()).shape == (COUNT, 15)


@pytest.mark.parametrize(
    ("maps", "options", "error", "message"),
    [
        ({}, {}, InputError, "no maps"),
        ({"cut": ORACLE[:, :14]}, {}, InputError, r"map 'cut' must be \(23, 15\)"),
        ({"nan": ORACLE / 0.0 * 0.0}, {}, InputError, "without NaN"),
        ({"map": ORACLE}, {"orders": 0}, ConfigError, "orders must be at least 1"),
        ({"map": ORACLE}, {"steps": 16}, ConfigError, "between 1 and 15"),
        ({"map": ORACLE}, {"confidence": 2}, ConfigError, "between 0 and 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    maps: dict[str, Tensor], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        measured(maps, **options)


def test_one_image_is_too_few() -> None:
    with pytest.raises(InputError, match="at least two"):
        faithfulness(one_patch_matters, IMAGES[:1], {}, grid=GRID, baseline=BLANK)


def test_rollout_beats_random_on_the_shipped_reader(mnist_test: ImageDataset) -> None:
    model = ch.load()
    images = normalize(mnist_test.images[:40], model.config)
    grid = Grid(4, 4)
    maps = standard_maps(model, images, grid)
    found = faithfulness(
        model,
        images,
        {ROLLOUT: maps[ROLLOUT], "silent": torch.zeros(40, 16)},
        grid=grid,
        baseline=Baseline.black(model.config),
        steps=8,
    )
    assert found.maps[ROLLOUT].gain.interval[0] > 0.1
    assert found.maps["silent"].gain.verdict == "no better than"
