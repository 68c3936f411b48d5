"""What is computed of an image depends neither on the other images nor on the batch size."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearhead.insight import METHODS, Baseline, Grid, attribute, faithfulness, shapley
from clearhead.insight.attribution import INK, RANDOM, RAW
from clearhead.insight.curves import deletion_curves
from clearhead.insight.metrics import (
    infidelity,
    partial_rank_correlations,
    random_subsets,
    randomisation_correlations,
    rank_correlations,
    sensitivity_n,
    top_agreement,
)
from clearhead.insight.perturbation import Removal
from clearhead.models.vit import VisionTransformer
from tests.marks import slow_after

from .reference import oblong_images, oblong_model

GRID = Grid(5, 3)
BLACK = Baseline(value=(0.3, -0.2))
BASELINES = (
    BLACK,
    Baseline(kind="mean"),
    Baseline(kind="blur", sigma=2.0),
    Baseline(kind="linear", noise=0.5),
)
ORDER = [2, 0, 1, 0]  # with one image twice
SUBSETS = random_subsets(1, 15, [3, 9], 2, torch.Generator().manual_seed(0))


def pooled_by_maximum(depth: int = 3) -> VisionTransformer:
    """The tokens that are read out differ between images; a gate of tokens is computed."""
    model: Any = oblong_model()
    model.blocks = model.blocks[:depth]
    model.pooled = lambda tokens: tokens.amax(dim=1)
    model.patch_embed.gate = nn.Parameter(torch.randn(1, 15, 14, dtype=torch.float64))
    model.patch_embed.register_forward_hook(lambda embed, _, tokens: tokens * embed.gate.exp())
    return model  # type: ignore[no-any-return]


def some_images() -> Tensor:
    """Of which ten patches are blank, or more."""
    images = oblong_images(3)
    images[:, :, 14:] = BLACK.of(images)[:, :, 14:]
    images[1, :, :7, 11:] = BLACK.of(images)[1, :, :7, 11:]
    return images


def map_of(method: str, model: nn.Module, images: Tensor, size: int) -> Tensor:
    classes = torch.full((len(images),), 4)
    return attribute(
        method, model, images, grid=GRID, baseline=BLACK, classes=classes, batch_size=size
    )


def of_method(
    method: str, model: nn.Module, images: Tensor, size: int, given: Tensor | None = None
) -> dict[str, Tensor]:
    """What each metric says about the map of each image."""
    classes = torch.full((len(images),), 4)
    options: dict[str, Any] = {"grid": GRID, "baseline": BLACK, "batch_size": size}
    one = map_of(method, model, images, size) if given is None else given
    ink = attribute(INK, model, images, **options)
    order = (one + 1e-7 * torch.arange(15)).argsort(dim=1, descending=True)
    subsets, falls = SUBSETS.expand(len(images), -1, -1), ink[:, :4]
    removal = Removal(model, images, classes, **options)
    scores = {
        "rank correlation": rank_correlations(one, ink),
        "partial": partial_rank_correlations(one, ink, ink.cos()),
        "top": top_agreement(one, ink, 3),
        "infidelity": infidelity(one, subsets, falls),
        "sensitivity": sensitivity_n(one, subsets, falls),
        "deletion": deletion_curves(removal, order, steps=3).areas,
    }
    if given is None:
        scores["randomisation"] = randomisation_correlations(
            lambda changed: map_of(method, changed, images, size), model
        )
    return scores


def of_baselines(model: nn.Module, images: Tensor, size: int) -> dict[str, Tensor]:
    """What does not depend on the method."""
    classes = torch.full((len(images),), 4)
    options: dict[str, Any] = {"classes": classes, "grid": GRID, "batch_size": size}
    estimate = shapley(
        model, images, baseline=BLACK, max_exact_players=1, num_permutations=2, **options
    )
    scores = {"shapley": estimate.values, "margins": estimate.margins}
    ink = attribute(INK, model, images, grid=GRID, baseline=BLACK) + 1e-7 * torch.arange(15)
    for baseline in BASELINES:
        maps, subsets = {"ink": ink}, SUBSETS.expand(len(images), -1, -1)
        removal = Removal(model, images, classes, grid=GRID, baseline=baseline, batch_size=size)
        curves = faithfulness(
            model, images, maps, baseline=baseline, steps=2, num_orders=1, **options
        )
        scores |= {
            f"falls, {baseline}": removal.falls(subsets),
            f"insertion, {baseline}": curves.insertion["ink"].areas,
        }
    return scores


def check(expected: dict[str, Tensor], found: dict[str, Tensor], order: list[int] | slice) -> None:
    for name, values in found.items():
        torch.testing.assert_close(
            values, expected[name][order], rtol=1e-6, atol=1e-9, msg=f"{name}, {order}"
        )


@pytest.mark.parametrize("method", slow_after(10, METHODS[::-1]))
def test_the_map_of_an_image_does_not_depend_on_the_batch(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearhead.insight.attribution.PATH_POINTS", 3)
    model, images = pooled_by_maximum(depth=2), some_images()
    expected = {"map": map_of(method, model, images, 100)}
    check(expected, {"map": map_of(method, model, images, 2)}, slice(None))  # of 2 and of 1
    check(expected, {"map": map_of(method, model, images[:1], 1)}, slice(1))
    if method != RANDOM:  # the random map of an image is that of its place
        check(expected, {"map": map_of(method, model, images[ORDER], 3)}, ORDER)


@pytest.mark.parametrize("method", slow_after(1, [RAW, *(x for x in METHODS if x != RAW)]))
def test_metrics_of_the_map_of_an_image_do_not_depend_on_the_batch(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearhead.insight.attribution.PATH_POINTS", 3)
    model, images = pooled_by_maximum(depth=2), some_images()
    expected = of_method(method, model, images, 100)
    check(expected, of_method(method, model, images, 2), slice(None))  # batches of 2 and 1
    check(expected, of_method(method, model, images[:1], 1), slice(1))
    given = map_of(RANDOM, model, images, 100)[ORDER] if method == RANDOM else None
    check(expected, of_method(method, model, images[ORDER], 3, given), ORDER)


def test_baselines_and_estimates_do_not_depend_on_the_batch() -> None:
    model, images = pooled_by_maximum(depth=1), some_images()
    expected = of_baselines(model, images, 100)
    check(expected, of_baselines(model, images, 7), slice(None))
    check(expected, of_baselines(model, images[:2], 1), slice(2))
    check(expected, of_baselines(model, images[ORDER], 30), ORDER)
