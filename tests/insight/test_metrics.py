"""Agreement of maps, and metrics compared with loops and with Quantus."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from clearhead.errors import ConfigError, InputError
from clearhead.insight import Baseline, Grid
from clearhead.insight.curves import deletion_curves, ranked
from clearhead.insight.forward import class_scores
from clearhead.insight.metrics import (
    infidelity,
    partial_rank_correlations,
    random_subsets,
    randomisation_correlations,
    randomised,
    rank_correlations,
    sensitivity_n,
    top_agreement,
)
from clearhead.insight.perturbation import Removal

from .reference import oblong_images, oblong_model, plain_logits

GRID, BASELINE = Grid(5, 3), Baseline(value=(0.3, -0.2))


@pytest.mark.parametrize("limited", [False, True])
def test_correlations_are_spearmans_with_ties_among_some_patches_or_all(limited: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    one = torch.randint(0, 5, (7, 16), generator=generator).double()
    other = torch.rand(7, 16, generator=generator)
    among = torch.rand(7, 16, generator=generator) > 0.4 if limited else None
    result = rank_correlations(one, other, among=among)
    for image in range(7):
        some = slice(None) if among is None else among[image]
        expected = spearmanr(one[image][some].numpy(), other[image][some].numpy()).statistic
        assert float(result[image]) == pytest.approx(float(expected))
    assert rank_correlations(torch.ones(2, 16), torch.rand(2, 16)).tolist() == [0.0, 0.0]


def test_partial_correlations_follow_the_formula() -> None:
    generator = torch.Generator().manual_seed(4)
    given = torch.randint(0, 6, (7, 16), generator=generator).double()  # with ties, as ink has
    one, other = (given + 3 * torch.rand(7, 16, generator=generator) for _ in range(2))
    result = partial_rank_correlations(one, other, given)
    for image in range(7):
        x, y, z = (part[image].numpy() for part in (one, other, given))
        xy, xz, yz = (float(spearmanr(*pair).statistic) for pair in ((x, y), (x, z), (y, z)))
        expected = (xy - xz * yz) / ((1 - xz**2) * (1 - yz**2)) ** 0.5
        assert float(result[image]) == pytest.approx(expected)
    many = torch.rand(200, 17, generator=generator)  # whose residuals are rounding
    left = partial_rank_correlations(many.exp(), torch.rand_like(many), many)
    assert left.tolist() == [0.0] * 200
    unchanged = partial_rank_correlations(one, other, torch.ones(7, 16))
    torch.testing.assert_close(unchanged, rank_correlations(one, other))


def test_top_agreement_is_the_share_of_common_patches() -> None:
    one = torch.tensor([[5.0, 4, 3, 2, 1], [1, 2, 3, 4, 5]])
    other = torch.tensor([[9.0, 1, 8, 2, 7], [0, 0, 0, 0, 0]])
    assert top_agreement(one, other, 2).tolist() == pytest.approx([0.5, 0.4])
    assert top_agreement(one, other, 3).tolist() == pytest.approx([2 / 3, 0.6])
    with pytest.raises(ConfigError, match="between 1 and 5"):
        top_agreement(one, other, 6)


def test_nan_in_maps_is_refused_except_outside_the_patches_that_count() -> None:
    one, subsets = torch.rand(2, 15), torch.ones(2, 3, 15, dtype=torch.bool)
    wrong, among = one.clone(), torch.ones(2, 15, dtype=torch.bool)
    wrong[1, 4], among[1, 4] = torch.nan, False
    falls = torch.rand(2, 3)
    with pytest.raises(InputError, match="a map has NaN"):
        rank_correlations(one, wrong)
    with pytest.raises(InputError, match="a map has NaN"):
        partial_rank_correlations(one, one, wrong)
    with pytest.raises(InputError, match="a map has NaN"):
        top_agreement(wrong, one, 3)
    for metric in (infidelity, sensitivity_n):
        with pytest.raises(InputError, match="a map has NaN"):
            metric(wrong, subsets, falls)
    torch.testing.assert_close(
        rank_correlations(one, wrong, among=among).double(), torch.ones(2).double()
    )


def test_random_subsets_have_their_sizes() -> None:
    subsets = random_subsets(3, 15, [2, 7], 5, torch.Generator().manual_seed(0))
    assert subsets.sum(2).tolist() == [[2] * 5 + [7] * 5] * 3
    assert len(subsets.flatten(0, 1).unique(dim=0)) > 25
    with pytest.raises(ConfigError, match="1 … 14"):
        random_subsets(3, 15, [15], 5, torch.Generator())


@torch.no_grad()
def test_falls_are_those_of_the_log_odds_without_the_subset() -> None:
    model, images, classes = oblong_model(), oblong_images(2), torch.tensor([4, 9])
    subsets = random_subsets(2, 15, [1, 6], 2, torch.Generator().manual_seed(1))
    result = Removal(model, images, classes, grid=GRID, baseline=BASELINE).falls(subsets)
    before = class_scores(plain_logits(model, images), classes, "log-odds")
    for number in range(4):
        removed = GRID.to_pixels(subsets[:, number], images)
        changed = torch.where(removed, BASELINE.of(images), images)
        after = class_scores(plain_logits(model, changed), classes, "log-odds")
        torch.testing.assert_close(result[:, number], before - after)


def test_additive_maps_have_no_infidelity_and_full_sensitivity() -> None:
    generator = torch.Generator().manual_seed(2)
    subsets = random_subsets(3, 15, [2, 5, 9], 20, generator)
    one = torch.randn(3, 15, generator=generator, dtype=torch.float64)
    falls = torch.einsum("isp,ip->is", subsets.double(), 3.0 * one)
    for unit in (1.0, 1e-9):
        np.testing.assert_allclose(infidelity(unit * one, subsets, falls), 0.0, atol=1e-12)
        np.testing.assert_allclose(sensitivity_n(unit * one, subsets, unit * falls), 1.0)
    constant = sensitivity_n(torch.full_like(one, 0.1), subsets, falls)
    np.testing.assert_allclose(constant, 0.0, atol=1e-12)
    np.testing.assert_allclose(sensitivity_n(-one, subsets, falls), -1.0)
    np.testing.assert_allclose(infidelity(-one, subsets, falls), falls.square().mean(1))
    unscaled = (falls - falls / 3.0).square().mean(1)
    np.testing.assert_allclose(infidelity(one, subsets, falls, scale=False), unscaled)
    noisy = falls + torch.randn(3, 60, generator=generator, dtype=torch.float64)
    sums = torch.einsum("isp,ip->is", subsets.double(), one)
    by_size = [
        [pearsonr(sums[i, a : a + 20], noisy[i, a : a + 20]).statistic for a in (0, 20, 40)]
        for i in range(3)
    ]
    np.testing.assert_allclose(sensitivity_n(one, subsets, noisy), np.mean(by_size, axis=1))
    factors = torch.linspace(0, 6, 6001, dtype=torch.float64)[:, None]
    for image in range(3):
        least = float((noisy[image] - factors * sums[image]).square().mean(1).min())
        assert float(infidelity(one, subsets, noisy)[image]) == pytest.approx(least, rel=1e-5)
    with pytest.raises(InputError, match="same sizes"):
        sensitivity_n(one, subsets.roll(1, 0).roll(1, 1) & subsets, falls)


def test_randomised_models_lose_all_that_was_learned() -> None:
    model, images = oblong_model("class"), oblong_images(2)
    before = {name: x.clone() for name, x in model.named_parameters()}
    every = randomised(model, 0)
    assert all(not torch.equal(x, before[name]) for name, x in every.named_parameters())
    assert all(torch.equal(x, before[name]) for name, x in model.named_parameters())
    assert torch.equal(every(images), randomised(model, 0)(images))
    with torch.inference_mode():
        assert not any(x.is_inference() for x in randomised(model, 0).parameters())
    fixed = torch.rand(2, 15)
    assert randomisation_correlations(lambda _: fixed, model).tolist() == pytest.approx([1.0, 1.0])

    def explain(one: torch.nn.Module) -> torch.Tensor:
        return one.get_parameter("head.weight").detach()[:2, :13]

    among = torch.rand(2, 13, generator=torch.Generator().manual_seed(0)) > 0.3
    result = randomisation_correlations(explain, model, seeds=(3, 4), among=among)
    expected = torch.stack(
        [
            rank_correlations(explain(model), explain(randomised(model, seed)), among=among)
            for seed in (3, 4)
        ]
    )
    assert float((expected[0] - expected[1]).abs().min()) > 0.01
    torch.testing.assert_close(result, expected.mean(0))


@pytest.mark.slow
def test_metrics_equal_those_of_quantus() -> None:
    """The deletion curve, ROAD's imputation, infidelity, and Spearman's correlation."""
    quantus = pytest.importorskip("quantus")
    from quantus.functions import perturb_func
    from quantus.functions.similarity_func import correlation_spearman

    imputation: Any = perturb_func.noisy_linear_imputation
    grid, generator = Grid(4, 4), torch.Generator().manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 5), torch.nn.Tanh()).eval()
    torch.nn.init.normal_(next(model.parameters()), generator=generator)
    images = torch.rand(3, 1, 28, 28, generator=generator)
    classes = torch.tensor([1, 4, 0])
    importance = torch.rand(3, 16, generator=generator)
    blank = Baseline(value=(0.2,))
    x, y = images.numpy(), classes.numpy()
    options: dict[str, Any] = {"normalise": False, "disable_warnings": True}
    replace = {"perturb_baseline": 0.2}

    a = grid.to_pixels(importance, images).numpy()
    flipping = quantus.PixelFlipping(features_in_step=49, perturb_func_kwargs=replace, **options)
    curves = flipping(model=model, x_batch=x, y_batch=y, a_batch=a, softmax=True)
    order = importance.argsort(dim=1, descending=True)
    removal = Removal(model, images, classes, grid=grid, baseline=blank, score="probability")
    ours = deletion_curves(removal, order)
    np.testing.assert_allclose(ours.probabilities[:, 1:], np.array(curves), rtol=1e-5)

    kept = importance > 0.5
    keep = grid.to_pixels(kept, images)
    linear = Baseline(kind="linear", noise=0.0).fill(images, kept[:, None], grid)[:, 0]
    for image in range(3):
        removed = np.flatnonzero(~keep[image, 0].numpy())
        expected = imputation(arr=x[image], indices=removed, noise=0.0)
        np.testing.assert_allclose(linear[image], expected.reshape(1, 28, 28), atol=1e-5)

    change = images - blank.of(images)
    scaled = grid.to_pixels(importance, images) / change / 49
    theirs = quantus.Infidelity(
        perturb_patch_sizes=[7], n_perturb_samples=1, perturb_func_kwargs=replace, **options
    )(model=model, x_batch=x, y_batch=y, a_batch=scaled.numpy(), softmax=True)
    nested = torch.ones(16, 16).tril().bool().expand(3, 16, 16)  # its blocks are removed in turn
    falls = removal.falls(nested)
    result = infidelity(importance, nested, falls, scale=False)
    np.testing.assert_allclose(result, np.array(theirs), rtol=1e-4)

    other = torch.rand(3, 16, generator=generator)
    expected = correlation_spearman(a=importance.numpy(), b=other.numpy(), batched=True)
    np.testing.assert_allclose(rank_correlations(importance, other), expected, rtol=1e-6)


@pytest.mark.slow
def test_deletion_curves_are_those_of_pixel_flipping_with_the_same_baseline_and_order() -> None:
    """By default, Quantus replaces pixels by the smallest one of each image.

    It deletes pixels of equally important patches in mixed order. In that case it gets their ranks
    in our order instead of the map.
    """
    quantus = pytest.importorskip("quantus")
    grid, generator = Grid(4, 4), torch.Generator().manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1568, 5), torch.nn.Tanh())
    torch.nn.init.normal_(next(model.parameters()), generator=generator)
    images = torch.randn(3, 2, 28, 28, generator=generator)
    classes = torch.tensor([1, 4, 0])
    signed = torch.randn(3, 16, generator=generator)
    tied = ranked(signed.sign(), generator)
    smallest, same = images.amin((1, 2, 3)).tolist(), {"perturb_baseline": 0.2}
    for given, options, order, baselines in (
        (signed, {}, signed.argsort(dim=1, descending=True), smallest),
        (signed, same | {"abs": True}, signed.abs().argsort(dim=1, descending=True), [0.2] * 3),
        (-tied.argsort(dim=1).float(), same, tied, [0.2] * 3),
    ):
        flipping = quantus.PixelFlipping(
            features_in_step=98, normalise=False, disable_warnings=True, **options
        )
        theirs = flipping(
            model=model.eval(), x_batch=images.numpy(), y_batch=classes.numpy(),
            a_batch=grid.to_pixels(given, images).numpy(), softmax=True,
        )  # fmt: skip
        for image in range(3):
            at = slice(image, image + 1)
            blank = Baseline(value=(baselines[image],))
            removal = Removal(model, images[at], classes[at], grid=grid, baseline=blank)
            ours = deletion_curves(removal, order[at])
            np.testing.assert_allclose(ours.probabilities[0, 1:], theirs[image], rtol=1e-5)
