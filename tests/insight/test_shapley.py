"""Shapley values by their definition over all orders, and by shap's exact explainer."""

from itertools import combinations, permutations
from math import factorial
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from clearhead.errors import ConfigError, InputError
from clearhead.insight import Baseline, Grid, shapley
from clearhead.insight.coalitions import all_coalitions, estimate, solve_exactly
from clearhead.insight.forward import Score

from .reference import cell, oblong_images, oblong_model, plain_logits

GRID = Grid(5, 3)
BASELINE = Baseline(value=(0.3, -0.2))
GROUPS = torch.tensor([0, 1, -1, 2, 3, 0, 1, 2, -1, 3, 0, 1, 2, 3, 0])


def random_game(players: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2**players, generator=generator, dtype=torch.float64)


def by_orders(game: Tensor, players: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over all orders, and the interaction index by its formula."""

    def value(coalition: tuple[int, ...]) -> float:
        return float(game[sum(2**player for player in coalition)])

    values, pairs = np.zeros(players), np.zeros((players, players))
    for order in permutations(range(players)):
        for place, player in enumerate(order):
            values[player] += value(order[: place + 1]) - value(order[:place])
    for i, j in permutations(range(players), 2):
        others = [x for x in range(players) if x not in (i, j)]
        for size in range(players - 1):
            share = factorial(size) * factorial(players - size - 2) / factorial(players - 1)
            for some in combinations(others, size):
                joint = value((*some, i, j)) - value((*some, i)) - value((*some, j)) + value(some)
                pairs[i, j] += share * joint
    return values / factorial(players), pairs


@pytest.mark.parametrize("players", [1, 2, 5])
def test_values_and_interactions_are_means_over_all_orders(players: int) -> None:
    game = random_game(players)
    solution = solve_exactly(game)
    values, pairs = by_orders(game, players)
    np.testing.assert_allclose(solution.values, values, atol=1e-12)
    assert solution.interactions is not None
    np.testing.assert_allclose(solution.interactions, pairs, atol=1e-12)


def test_the_axioms_hold() -> None:
    one, other = random_game(7), random_game(7, seed=1)
    first, second = solve_exactly(one), solve_exactly(other)
    assert float(first.values.sum()) == pytest.approx(float(one[-1] - one[0]))  # efficiency
    both = solve_exactly(2 * one - 3 * other).values  # linearity
    torch.testing.assert_close(both, 2 * first.values - 3 * second.values)
    members = all_coalitions(7)
    swapped = members.clone()
    swapped[:, [2, 5]] = members[:, [5, 2]]
    numbers = swapped.long() @ (2 ** torch.arange(7))
    values = solve_exactly(one + one[numbers]).values  # symmetry
    assert float(values[2]) == pytest.approx(float(values[5]))
    without = members.clone()
    without[:, 3] = False
    null = solve_exactly(one[without.long() @ (2 ** torch.arange(7))])  # null player
    assert float(null.values[3]) == pytest.approx(0.0, abs=1e-12)
    assert null.interactions is not None
    np.testing.assert_allclose(null.interactions[3], 0.0, atol=1e-12)


@pytest.mark.slow
def test_values_equal_those_of_shap() -> None:
    shap = pytest.importorskip("shap")
    players = 9
    game, bits = random_game(players).numpy(), 2 ** np.arange(players)
    explainer = shap.explainers.Exact(
        lambda x: game[(x.astype(int) @ bits)], np.zeros((1, players))
    )
    expected = explainer(np.ones((1, players))).values[0]
    np.testing.assert_allclose(solve_exactly(torch.from_numpy(game)).values, expected, atol=1e-9)


def score_of(logits: Tensor, target: int, score: Score) -> float:
    probabilities = logits.softmax(0)
    return {
        "logit": float(logits[target]),
        "probability": float(probabilities[target]),
        "log-odds": float((probabilities[target] / (1 - probabilities[target])).log()),
    }[score]


@pytest.mark.parametrize("score", ["log-odds", "logit", "probability"])
@torch.no_grad()
def test_coalitions_are_images_with_the_other_players_replaced(score: Score) -> None:
    model, images = oblong_model("class"), oblong_images(2)
    result = shapley(model, images, GROUPS, grid=GRID, baseline=BASELINE, score=score)
    assert result.classes.tolist() == model(images).argmax(1).tolist()
    for image in range(2):
        game = torch.empty(16, dtype=torch.float64)
        for number in range(16):
            changed = images[image : image + 1].clone()
            for patch, player in enumerate(GROUPS.tolist()):
                if player >= 0 and not number >> player & 1:
                    for channel, value in enumerate(BASELINE.value):
                        changed[(0, channel, *cell(patch))] = value
            logits = plain_logits(model, changed)[0]
            game[number] = score_of(logits, int(result.classes[image]), score)
        values, pairs = by_orders(game, 4)
        np.testing.assert_allclose(result.values[image], values, atol=1e-6)
        assert result.interactions is not None
        np.testing.assert_allclose(result.interactions[image], pairs, atol=1e-6)
        assert float(result.full[image]) == pytest.approx(float(game[15]))
        assert float(result.empty[image]) == pytest.approx(float(game[0]))


def test_players_that_equal_the_baseline_are_null_and_left_out() -> None:
    model, images = oblong_model(), oblong_images(2)
    blank = BASELINE.of(images)
    images[0, :, 7:] = blank[0, :, 7:]
    images[1] = blank[1]
    some = torch.arange(15)
    some[6:] = -1
    result = shapley(model, images, some, grid=GRID, baseline=BASELINE)
    assert result.num_coalitions.tolist() == [8, 1]
    assert result.is_exact
    assert result.values[0].ne(0).tolist() == [True] * 3 + [False] * 3
    assert result.values[1].eq(0).all()
    torch.testing.assert_close(result.values.sum(1), result.full - result.empty)
    # the same without leaving them out
    images[0, 0, 7:, 0] += 1e-3
    close = shapley(model, images[:1], some, grid=GRID, baseline=BASELINE)
    assert close.num_coalitions.tolist() == [16]
    torch.testing.assert_close(close.values[0, :3], result.values[0, :3], atol=1e-2, rtol=0)


def test_margins_are_students_over_pairs_of_orders() -> None:
    game, numbers = random_game(5), 2 ** torch.arange(5)
    result = estimate(lambda x: game[x.long() @ numbers], 5, 6, torch.Generator().manual_seed(3))
    generator, changes = torch.Generator().manual_seed(3), np.empty((6, 2, 5))
    for pair in changes:
        order = torch.randperm(5, generator=generator).tolist()
        for change, one in zip(pair, (order, order[::-1]), strict=True):
            for place, player in enumerate(one):
                before, after = (sum(2**x for x in one[:n]) for n in (place, place + 1))
                change[player] = game[after] - game[before]
    means = changes.mean(axis=1)
    low, high = stats.t.interval(0.95, 5, means.mean(axis=0), stats.sem(means))
    np.testing.assert_allclose(result.values, means.mean(axis=0))
    np.testing.assert_allclose(result.margins, (high - low) / 2)


def test_more_than_16_players_are_estimated() -> None:
    grid, weights = Grid(3, 6), torch.linspace(-1, 2, 18)

    def linear(images: Tensor) -> Tensor:
        return (grid.patch_means(images).flatten(1) @ weights)[:, None] * torch.tensor([1.0, 0.0])

    images = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(0)) + 0.5
    images[1, :, :2, :2] = 0.0
    began = perf_counter()
    result = shapley(
        linear, images, grid=grid, baseline=Baseline(), score="logit", num_permutations=3
    )
    assert 0 < 2 * result.seconds <= perf_counter() - began
    assert not result.is_exact
    assert result.num_coalitions.tolist() == [2 + 3 * 2 * 19, 2**16]
    expected = grid.patch_means(images).flatten(1) * weights
    torch.testing.assert_close(result.values, expected.double(), atol=1e-5, rtol=1e-5)
    assert float(result.margins.max()) < 1e-5
    assert result.margins[1].eq(0).all()
    assert "2 images, 18 players, estimated" in repr(result)
    assert len(result.to_dict()["values"][0]) == 18


@torch.no_grad()
def test_the_seed_determines_the_orders_of_an_estimate() -> None:
    options: dict[str, Any] = {
        "grid": GRID, "baseline": BASELINE, "max_exact_players": 3, "num_permutations": 2
    }  # fmt: skip
    results = [
        shapley(oblong_model(), oblong_images(1), GROUPS, seed=seed, **options)
        for seed in (0, 0, 1)
    ]
    assert not results[0].is_exact
    assert torch.equal(results[0].values, results[1].values)
    assert not torch.allclose(results[0].values, results[2].values)
    for result in results:  # each order sums to the whole
        torch.testing.assert_close(result.values.sum(1), result.full - result.empty)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"players": torch.tensor([0, 2])}, InputError, "15 patches"),
        ({"players": GROUPS * 2}, InputError, "without gaps"),
        ({"players": GROUPS.view(5, 3)}, InputError, "15 patches"),
        ({"players": [0, 1]}, InputError, "15 patches"),
        ({"players": "heads"}, ConfigError, '"patches" or a tensor'),
        ({"classes": 11}, InputError, r"from 0 to 10 for each image, got \[11\]"),
        ({"num_permutations": 1}, ConfigError, "at least 2"),
        ({"baseline": None, "model": torch.nn.Flatten()}, ConfigError, "mean and std"),
        ({"grid": None, "model": lambda x: x}, ConfigError, "for a function, give the grid"),
        ({"score": "loss"}, ConfigError, "log-odds"),
    ],
)
@pytest.mark.unchecked
def test_wrong_arguments_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments: dict[str, Any] = {"model": oblong_model(), "grid": GRID, "baseline": BASELINE}
    with pytest.raises(error, match=message):
        shapley(images=oblong_images(1), **(arguments | options))
