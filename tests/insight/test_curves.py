"""Curves compared with loops over images and steps; verdicts on oracles and random maps."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight import faithfulness
from clearhead.insight.curves import (
    Curves,
    Faithfulness,
    deletion_curves,
    random_orders,
    ranked,
)
from clearhead.insight.perturbation import Baseline, Removal
from clearhead.insight.stats import mean_interval
from clearhead.insight.tokens import Grid

from .reference import cell, oblong_images, oblong_model, plain_probabilities

OBLONG, CONSTANT = Grid(5, 3), Baseline(value=(0.3, -0.2))
MODEL, PICTURES, CLASSES = oblong_model(), oblong_images(4), torch.tensor([3, 10, 0, 3])
GRID = Grid(3, 5)
COUNT = 23
WEIGHTS = torch.linspace(-1, 2, 15, dtype=torch.float64)[:, None]
IMAGES = torch.rand(COUNT, 2, 6, 15, generator=torch.Generator().manual_seed(0)).double() + 0.5
ORACLE = torch.eye(15, dtype=torch.float64)[7].expand(COUNT, 15)
RANDOM = torch.rand(COUNT, 15, generator=torch.Generator().manual_seed(1))
ZERO = torch.zeros(COUNT, 15)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


ORDER = random_orders(4, 15, generator())


def by_loops(order: Tensor, counts: list[int], *, deletion: bool) -> np.ndarray:
    background = torch.tensor(CONSTANT.value, dtype=torch.float64)[:, None, None].expand(2, 35, 33)
    curves = []
    for image, patches, label in zip(PICTURES, order.tolist(), CLASSES.tolist(), strict=True):
        images = background.repeat(len(counts), 1, 1, 1)
        for one, count in zip(images, counts, strict=True):
            for patch in patches[count:] if deletion else patches[:count]:
                one[(..., *cell(patch))] = image[(..., *cell(patch))]
        curves.append(plain_probabilities(MODEL, images)[:, label].tolist())
    return np.array(curves)


@pytest.mark.parametrize(("steps", "batch_size"), [(None, 3), (4, 11), (1, 100)])
def test_curves_follow_the_probability_as_patches_are_deleted_or_inserted(
    steps: int | None, batch_size: int
) -> None:
    counts = {None: list(range(16)), 4: [0, 4, 8, 11, 15], 1: [0, 15]}[steps]
    inserted = [15 - count for count in reversed(counts)]
    removal = Removal(
        MODEL, PICTURES, CLASSES, grid=OBLONG, baseline=CONSTANT, batch_size=batch_size
    )
    curves = [deletion_curves(removal, order, steps=steps) for order in (ORDER, ORDER.flip(1))]
    for result, points in ((curves[0], counts), (curves[1].reversed(), inserted)):
        np.testing.assert_allclose(result.fractions, np.array(points) / 15, atol=1e-15)
        expected = by_loops(ORDER, points, deletion=points is counts)
        np.testing.assert_allclose(result.probabilities, expected, rtol=1e-9)
        areas = np.trapezoid(expected, np.array(points) / 15, axis=1)
        np.testing.assert_allclose(result.areas, areas, rtol=1e-9)
        assert np.ptp(expected) > 0.01


def test_the_most_important_patch_comes_first_and_equal_ones_in_random_order() -> None:
    importance = torch.tensor([[0.1, 0.5, -2.0, 0.3], [7.0, 1.0, 3.0, 5.0]])
    assert ranked(importance, generator()).tolist() == [[1, 3, 0, 2], [0, 3, 2, 1]]
    equal = torch.zeros(3000, 5)
    equal[:, 2] = 1.0
    orders = ranked(equal, generator())
    assert orders[:, 0].eq(2).all()
    for patch in (0, 1, 3, 4):
        for place in range(1, 5):
            share = float(orders[:, place].eq(patch).double().mean())
            assert share == pytest.approx(0.25, abs=0.04)
    for wrong in (torch.zeros(5), torch.full((2, 3), torch.nan)):
        with pytest.raises(InputError, match=r"\(batch, patches\) without NaN"):
            ranked(wrong, generator())


def test_random_orders_are_permutations_determined_by_the_seed() -> None:
    orders = random_orders(1000, 7, generator(5))
    assert orders.sort(dim=1).values.eq(torch.arange(7)).all()
    assert torch.equal(orders, random_orders(1000, 7, generator(5)))
    assert not torch.equal(orders, random_orders(1000, 7, generator(6)))
    assert orders.double().mean(0).tolist() == pytest.approx([3.0] * 7, abs=0.3)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"order": ORDER[:, :14]}, InputError, "an order of that shape"),
        ({"order": ORDER.clamp_min(1)}, InputError, "each patch from 0 to 14 once"),
        ({"classes": CLASSES[:3]}, InputError, "one class"),
        ({"steps": 0}, ConfigError, "between 1 and 15"),
        ({"batch_size": 0}, ConfigError, "batch_size"),
        ({"steps": 16}, ConfigError, "between 1 and 15"),
        ({"images": PICTURES[..., :32]}, InputError, "divided evenly by 5 × 3 patches"),
    ],
)
def test_wrong_orders_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments: dict[str, Any] = {"images": PICTURES, "classes": CLASSES} | options
    order, steps = arguments.pop("order", ORDER), arguments.pop("steps", None)
    removal = Removal(MODEL, grid=OBLONG, baseline=CONSTANT, **arguments)
    with pytest.raises(error, match=message):
        deletion_curves(removal, order, steps=steps)


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
    oracle, opposite = result.gains["oracle"], result.gains["opposite"]
    assert (oracle.verdict, opposite.verdict) == ("better than", "worse than")
    assert oracle.interval[0] > 0.1
    assert opposite.mean == pytest.approx(-oracle.mean)
    # the first of 15 patches takes the whole probability, or brings it
    share = torch.softmax(one_patch_matters(IMAGES), 1)[:, 0].mean()
    deletion, insertion = (x["oracle"].areas for x in (result.deletion, result.insertion))
    assert float(deletion.mean()) == pytest.approx(float((share + 29 * 0.5) / 30))
    assert float(insertion.mean()) == pytest.approx(float((29 * share + 0.5) / 30))


def test_random_maps_and_zeros_are_no_better_than_random() -> None:
    result = measured({"random": RANDOM, "zero": ZERO})
    for gain in result.gains.values():
        assert gain.verdict == "no better than"
        assert gain.interval[0] < 0 < gain.interval[1]


def test_random_maps_are_better_or_worse_as_rarely_as_the_confidence_claims() -> None:
    maps = {str(i): torch.rand(COUNT, 15, generator=generator(i)) for i in range(120)}
    result = measured(maps, model=all_patches_matter, steps=3, num_orders=1)
    verdicts = [x.verdict for x in result.gains.values()]
    assert 0.88 < verdicts.count("no better than") / len(verdicts) < 0.99


def test_curves_and_gains_are_those_of_separate_curves() -> None:
    classes = torch.arange(COUNT) % 2
    result = measured(
        {"random": RANDOM}, model=all_patches_matter, classes=classes, num_orders=3, steps=5, seed=4
    )
    draws = generator(4)

    def deletion(order: Tensor) -> Curves:
        removal = Removal(all_patches_matter, IMAGES, classes, grid=GRID, baseline=Baseline())
        return deletion_curves(removal, order, steps=5)

    controls = [deletion(random_orders(COUNT, 15, draws)).probabilities for _ in range(3)]
    order = RANDOM.argsort(1, descending=True)
    own, other = deletion(order), deletion(order.flip(1)).reversed()
    for curves, expected in (
        (result.random, Curves(own.fractions, torch.stack(controls).mean(0))),
        (result.deletion["random"], own),
        (result.insertion["random"], other),
    ):
        torch.testing.assert_close(curves.fractions, torch.linspace(0, 1, 6, dtype=torch.float64))
        torch.testing.assert_close(curves.probabilities, expected.probabilities)
    both = (other.areas - own.areas) / 2  # random orders are in both, and cancel
    assert result.gains["random"].mean == pytest.approx(float(both.mean()))
    assert result.gains["random"].interval == pytest.approx(mean_interval(both))


def test_one_map_is_compared_with_another_image_by_image() -> None:
    result = measured({"oracle": ORACLE, "random": RANDOM})
    gain = result.gain("oracle", "random")
    assert gain.verdict == "better than"
    expected = result.gains["oracle"].mean - result.gains["random"].mean
    assert gain.mean == pytest.approx(expected)
    assert result.gain("random", "oracle").mean == pytest.approx(-gain.mean)
    assert result.gain("random", "random").interval == (0.0, 0.0)
    with pytest.raises(InputError, match="expected one of oracle, random"):
        result.gain("oracle", "rollout")


def test_the_seed_determines_the_result_and_the_batch_size_does_not() -> None:
    first, same, other = (measured({"zero": ZERO}, seed=seed).to_dict() for seed in (3, 3, 4))
    assert first == same != other
    small = measured({"zero": ZERO}, seed=3, batch_size=5).to_dict()["maps"]["zero"]
    assert small["deletion"]["areas"] == pytest.approx(first["maps"]["zero"]["deletion"]["areas"])


def test_the_result_names_its_settings() -> None:
    result = measured({"oracle": ORACLE, "random": RANDOM}, num_orders=3, confidence=0.9)
    header, first, second = str(result).splitlines()
    for part in ("23 images", "constant (0)", "3 random orders", "90% intervals"):
        assert part in header
    for side in ("deletion", "insertion"):
        area = float(getattr(result, side)["oracle"].areas.mean())
        assert f"{side} area {area:.3f} against 0." in first
    assert first.startswith("oracle is better than random: gain +0.")
    assert second.startswith("random is no better than random: gain ")
    plain = result.to_dict()["maps"]["oracle"]
    assert plain["gain"]["mean"] == result.gains["oracle"].mean
    assert plain["deletion"]["mean"] == pytest.approx(
        result.deletion["oracle"].probabilities.mean(0).tolist()
    )


def test_maps_may_be_arrays_and_images_must_be_finite_floats() -> None:
    array: Any = RANDOM.numpy()
    assert measured({"map": array}).to_dict() == measured({"map": RANDOM}).to_dict()
    spoilt = IMAGES.clone()
    spoilt[1, 0, 2, 2] = torch.nan
    for images in (IMAGES.byte(), spoilt):
        with pytest.raises(InputError, match=r"floats of shape|NaN or infinite pixels"):
            faithfulness(one_patch_matters, images, {}, grid=GRID, baseline=Baseline())


@pytest.mark.parametrize(
    ("maps", "options", "error", "message"),
    [
        ({"cut": ORACLE[:, :14]}, {}, InputError, r"map 'cut' must be \(23, 15\)"),
        ({"nan": ORACLE / 0.0 * 0.0}, {}, InputError, "without NaN"),
        ({"map": ORACLE}, {"num_orders": 0}, ConfigError, "num_orders must be at least 1"),
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
