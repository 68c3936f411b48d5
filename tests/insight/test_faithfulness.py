"""Verdicts: an oracle is better than random orders, its opposite worse, random maps neither."""

from typing import Any

import pytest
import torch
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight import faithfulness
from clearhead.insight._faithfulness import Faithfulness
from clearhead.insight.perturbation import Baseline, Curves, deletion_curves, random_orders
from clearhead.insight.stats import mean_interval
from clearhead.insight.tokens import Grid

GRID = Grid(3, 5)
COUNT = 23
WEIGHTS = torch.linspace(-1, 2, 15, dtype=torch.float64)[:, None]
IMAGES = torch.rand(COUNT, 2, 6, 15, generator=torch.Generator().manual_seed(0)).double() + 0.5
ORACLE = torch.eye(15, dtype=torch.float64)[7].expand(COUNT, 15)
RANDOM = torch.rand(COUNT, 15, generator=torch.Generator().manual_seed(1))
ZERO = torch.zeros(COUNT, 15)


def patch_means(images: Tensor) -> Tensor:
    cells: Tensor = images.unflatten(3, (5, 3)).unflatten(2, (3, 2))
    return cells.mean((1, 3, 5)).flatten(1)


def one_patch_matters(images: Tensor) -> Tensor:
    """Two classes, by the brightness of patch 7."""
    score = 3 * patch_means(images)[:, 7]
    return torch.stack([score, -score], dim=1)


def all_patches_matter(images: Tensor) -> Tensor:
    score = patch_means(images) @ WEIGHTS
    return torch.cat([score, -score], dim=1)


def measured(maps: dict[str, Tensor], **options: Any) -> Faithfulness:
    model = options.pop("model", one_patch_matters)
    return faithfulness(model, IMAGES, maps, grid=GRID, baseline=Baseline(), **options)


def test_an_oracle_is_better_than_random_and_its_opposite_worse() -> None:
    result = measured({"oracle": ORACLE, "opposite": -ORACLE})
    oracle, opposite = result.maps["oracle"], result.maps["opposite"]
    for gain in (oracle.gain, oracle.deletion.gain, oracle.insertion.gain):
        assert gain.verdict == "better than"
        assert gain.interval[0] > 0.1
    assert {opposite.gain.verdict, opposite.deletion.gain.verdict} == {"worse than"}
    assert opposite.gain.mean == pytest.approx(-oracle.gain.mean)
    assert oracle.symmetric_gain == pytest.approx(2 * oracle.gain.mean, abs=0.05)
    # the first of 15 patches takes the whole probability, or brings it
    share = torch.softmax(one_patch_matters(IMAGES), 1)[:, 0].mean()
    assert oracle.deletion.area == pytest.approx(float((share + 29 * 0.5) / 30))
    assert oracle.insertion.area == pytest.approx(float((29 * share + 0.5) / 30))


def test_random_maps_and_zeros_are_no_better_than_random() -> None:
    result = measured({"random": RANDOM, "zero": ZERO})
    for one_map in result.maps.values():
        assert "is no better than random" in str(one_map)
        assert one_map.gain.interval[0] < 0 < one_map.gain.interval[1]


def test_random_maps_are_better_or_worse_as_rarely_as_the_confidence_claims() -> None:
    generator = torch.Generator().manual_seed(9)
    maps = {str(i): torch.rand(COUNT, 15, generator=generator) for i in range(120)}
    result = measured(maps, model=all_patches_matter, steps=3, num_orders=1)
    verdicts = [x.gain.verdict for x in result.maps.values()]
    assert 0.88 < verdicts.count("no better than") / len(verdicts) < 0.99


def test_areas_curves_and_gains_are_those_of_separate_curves() -> None:
    classes = torch.arange(COUNT) % 2
    result = measured(
        {"random": RANDOM}, model=all_patches_matter, classes=classes, num_orders=3, steps=5, seed=4
    ).maps["random"]
    generator = torch.Generator().manual_seed(4)
    controls = [random_orders(COUNT, 15, generator) for _ in range(3)]

    def deletion(order: Tensor) -> Curves:
        return deletion_curves(
            all_patches_matter, IMAGES, order, classes, grid=GRID, baseline=Baseline(), steps=5
        )

    deleted = torch.stack([deletion(x).probabilities for x in controls]).mean(0)
    inserted = torch.stack([deletion(x).reversed().probabilities for x in controls]).mean(0)
    order = RANDOM.argsort(1, descending=True)
    own, other = deletion(order), deletion(order.flip(1)).reversed()
    fractions = torch.linspace(0, 1, 6, dtype=torch.float64)
    for side, expected, control, sign in (
        (result.deletion, own, deleted, -1),
        (result.insertion, other, inserted, 1),
    ):
        assert side.fractions == pytest.approx(fractions.tolist())
        assert side.curve == pytest.approx(expected.probabilities.mean(0).tolist())
        assert side.random_curve == pytest.approx(control.mean(0).tolist())
        assert side.areas == pytest.approx(expected.areas.tolist())
        areas = torch.trapezoid(control, fractions, dim=1)
        assert side.random_areas == pytest.approx(areas.tolist())
        differences = sign * (expected.areas - areas)
        assert side.gain.mean == pytest.approx(float(differences.mean()))
        assert side.gain.interval == pytest.approx(mean_interval(differences))
    both = (other.areas - own.areas) / 2  # the control is in both, and cancels
    assert result.gain.mean == pytest.approx(float(both.mean()))
    assert result.gain.interval == pytest.approx(mean_interval(both))


def test_one_map_is_compared_with_another_image_by_image() -> None:
    result = measured({"oracle": ORACLE, "random": RANDOM})
    gain = result.gain("oracle", "random")
    assert gain.verdict == "better than"
    expected = result.maps["oracle"].gain.mean - result.maps["random"].gain.mean
    assert gain.mean == pytest.approx(expected)
    assert result.gain("random", "oracle").mean == pytest.approx(-gain.mean)
    assert result.gain("random", "random").interval == (0.0, 0.0)
    with pytest.raises(InputError, match="expected one of oracle, random"):
        result.gain("oracle", "rollout")


def test_the_seed_determines_the_result_and_the_batch_size_does_not() -> None:
    first = measured({"zero": ZERO}, seed=3)
    assert first == measured({"zero": ZERO}, seed=3)
    assert first != measured({"zero": ZERO}, seed=4)
    small = measured({"zero": ZERO}, seed=3, batch_size=5)
    assert small.maps["zero"].deletion.areas == pytest.approx(first.maps["zero"].deletion.areas)


def test_the_result_names_its_settings_and_progress_counts_the_curves() -> None:
    calls: list[tuple[int, int]] = []
    result = measured(
        {"oracle": ORACLE, "random": RANDOM},
        num_orders=3,
        confidence=0.9,
        progress=lambda *x: calls.append(x),
    )
    assert calls == [(i, 7) for i in range(1, 8)]
    header, first, second = str(result).splitlines()
    for part in ("23 images", "constant (0)", "3 random orders", "90% intervals"):
        assert part in header
    assert first.startswith("oracle is better than random: gain +0.")
    assert second.startswith("random is no better than random: gain ")
    assert result.to_dict()["maps"]["oracle"]["gain"]["mean"] == result.maps["oracle"].gain.mean
    assert len(repr(result.maps["oracle"])) < 500


@pytest.mark.parametrize(
    ("maps", "options", "error", "message"),
    [
        ({}, {}, InputError, "at least one map"),
        ({"cut": ORACLE[:, :14]}, {}, InputError, r"map 'cut' must be \(23, 15\)"),
        ({"nan": ORACLE / 0.0 * 0.0}, {}, InputError, "without NaN"),
        ({"map": ORACLE}, {"num_orders": 0}, ConfigError, "num_orders must be at least 1"),
        ({"map": ORACLE}, {"steps": 16}, ConfigError, "between 1 and 15"),
        ({"map": ORACLE}, {"confidence": 2}, ConfigError, "between 0 and 1"),
    ],
)
def test_wrong_arguments_are_refused(
    maps: dict[str, Tensor], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        measured(maps, **options)
    with pytest.raises(InputError, match="at least two"):
        faithfulness(one_patch_matters, IMAGES[:1], {}, grid=GRID, baseline=Baseline())
