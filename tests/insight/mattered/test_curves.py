"""Deletion and insertion, against loops over images, steps and patches."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight.mattered.baselines import Baseline
from clearhead.insight.mattered.curves import (
    Curves,
    deletion_curves,
    insertion_curves,
    patched,
    random_orders,
    ranked,
)
from clearhead.insight.tokens import Grid

from ..plain_forward import oblong_images, oblong_model, plain_probabilities

GRID = Grid(5, 3)
BLANK = Baseline(value=(0.3, -0.2))
MODEL = oblong_model()
IMAGES = oblong_images(4)
CLASSES = torch.tensor([3, 10, 0, 3])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


ORDER = random_orders(4, 15, generator())


def with_patches(image: Tensor, blank: Tensor, patches: list[int]) -> Tensor:
    """`blank`, with these patches of the image cut out and laid on it."""
    out = blank.clone()
    for patch in patches:
        rows = slice(patch // 3 * 7, patch // 3 * 7 + 7)
        columns = slice(patch % 3 * 11, patch % 3 * 11 + 11)
        out[:, rows, columns] = image[:, rows, columns]
    return out


def by_loops(order: Tensor, counts: list[int], *, deletion: bool) -> np.ndarray:
    blank = torch.tensor(BLANK.value, dtype=torch.float64)[:, None, None].expand(2, 35, 33)
    curves = []
    for image, patches, label in zip(IMAGES, order.tolist(), CLASSES.tolist(), strict=True):
        shown = [patches[count:] if deletion else patches[:count] for count in counts]
        probabilities = [
            plain_probabilities(MODEL, with_patches(image, blank, some)[None])[0, label]
            for some in shown
        ]
        curves.append([float(x) for x in probabilities])
    return np.array(curves)


@pytest.mark.parametrize("deletion", [True, False])
@pytest.mark.parametrize("steps", [None, 4, 1])
def test_a_curve_is_the_answer_to_each_image_as_its_patches_go_or_come(
    deletion: bool, steps: int | None
) -> None:
    counts = {None: list(range(16)), 4: [0, 4, 8, 11, 15], 1: [0, 15]}[steps]
    if not deletion:
        counts = [15 - count for count in reversed(counts)]
    make = deletion_curves if deletion else insertion_curves
    found = make(
        MODEL, IMAGES, ORDER, CLASSES, grid=GRID, baseline=BLANK, steps=steps, batch_size=3
    )
    np.testing.assert_allclose(found.fractions, np.array(counts) / 15, atol=1e-15)
    expected = by_loops(ORDER, counts, deletion=deletion)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-9)
    np.testing.assert_allclose(
        found.areas, np.trapezoid(expected, np.array(counts) / 15, axis=1), rtol=1e-9
    )
    assert np.ptp(expected) > 0.01


def test_inserting_is_deleting_from_the_other_end() -> None:
    deleted = deletion_curves(MODEL, IMAGES, ORDER, CLASSES, grid=GRID, baseline=BLANK)
    inserted = insertion_curves(MODEL, IMAGES, ORDER.flip(1), CLASSES, grid=GRID, baseline=BLANK)
    torch.testing.assert_close(inserted.areas, deleted.areas)


def test_the_area_is_that_of_trapezoids() -> None:
    curves = Curves(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([[1.0, 0.4, 0.0], [0.2, 0.2, 0.2]]))
    torch.testing.assert_close(curves.areas, torch.tensor([0.45, 0.2]))


def test_the_most_important_patch_comes_first() -> None:
    importance = torch.tensor([[0.1, 0.5, -2.0, 0.3], [7.0, 1.0, 3.0, 5.0]])
    assert ranked(importance, generator()).tolist() == [[1, 3, 0, 2], [0, 3, 2, 1]]


def test_equally_important_patches_come_in_random_order() -> None:
    importance = torch.zeros(3000, 5)
    importance[:, 2] = 1.0
    orders = ranked(importance, generator())
    assert orders[:, 0].eq(2).all()
    for patch in (0, 1, 3, 4):
        for place in range(1, 5):
            share = float(orders[:, place].eq(patch).double().mean())
            assert share == pytest.approx(0.25, abs=0.04)


def test_random_orders_are_permutations_that_a_seed_decides() -> None:
    orders = random_orders(1000, 7, generator(5))
    assert orders.sort(dim=1).values.eq(torch.arange(7)).all()
    assert torch.equal(orders, random_orders(1000, 7, generator(5)))
    assert not torch.equal(orders, random_orders(1000, 7, generator(6)))
    assert orders.double().mean(0).tolist() == pytest.approx([3.0] * 7, abs=0.3)


def test_patches_are_where_the_grid_says() -> None:
    kept = torch.zeros(4, 15, dtype=torch.bool)
    kept[2, [1, 14]] = True
    blank = BLANK.of(IMAGES)
    found = patched(IMAGES, blank, kept, GRID)
    assert torch.equal(found[[0, 1, 3]], blank[[0, 1, 3]])
    assert torch.equal(found[2], with_patches(IMAGES[2], blank[2], [1, 14]))


@pytest.mark.parametrize("importance", [torch.zeros(5), torch.full((2, 3), torch.nan)])
def test_an_importance_is_a_number_for_each_patch(importance: Tensor) -> None:
    with pytest.raises(InputError, match=r"\(batch, patches\) without NaN"):
        ranked(importance, generator())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"order": ORDER[:, :14]}, InputError, "an order of that shape"),
        ({"order": ORDER.clamp_min(1)}, InputError, "each patch from 0 to 14 once"),
        ({"classes": CLASSES[:3]}, InputError, "one class"),
        ({"steps": 0}, ConfigError, "between 1 and 15"),
        ({"batch_size": 0}, ConfigError, "batch_size"),
        ({"steps": 16}, ConfigError, "between 1 and 15"),
        ({"images": IMAGES[..., :32]}, InputError, "5 × 3 patches fill"),
    ],
)
def test_what_makes_no_curve_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {"images": IMAGES, "order": ORDER, "classes": CLASSES} | options
    with pytest.raises(error, match=message):
        deletion_curves(MODEL, grid=GRID, baseline=BLANK, **given)
