"""Shapley values and interactions of the patches of an image: exact for up to 16 of them.

A coalition is an image in which some players (patches, or groups of patches) are kept and the
others are replaced by a baseline; its value is a score of one class. A Shapley value is the mean,
over all orders in which players can be added, of the change that the player makes (Shapley 1953).
A player whose pixels equal the baseline changes nothing: its value is 0, and it is left out, which
halves the number of coalitions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Tensor

from clearhead.errors import ConfigError, InputError, check_one_of
from clearhead.insight.forward import Classes, Model, Score, class_of_each, model_logits
from clearhead.insight.perturbation import Baseline, Removal, default_baseline
from clearhead.insight.tokens import Grid, grid_for

MAX_EXACT_PLAYERS = 16
CONFIDENCE = 0.95

# "patches", or the number of the player of each patch, from 0; -1: kept in every coalition.
Players = Literal["patches"] | Int[Tensor, " patches"]
Game = Callable[[Bool[Tensor, "coalitions players"]], Float[Tensor, " coalitions"]]


class Solution(NamedTuple):
    """Shapley values of one game, their margins, and interactions if they are exact."""

    values: Float[Tensor, " players"]
    margins: Float[Tensor, " players"]
    interactions: Float[Tensor, "players players"] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Shapley:
    """Shapley values of the players of each image.

    Attributes:
        values: Their sum is `full - empty`.
        interactions: The Shapley interaction index of each pair: the mean change in the effect of
            one player that is due to the other; positive where they reinforce each other. 0 on the
            diagonal. None where the values of an image are estimates.
        margins: Half the width of each value's 95 % interval (Student's t); 0 where it is exact.
            They are too small if a player changes the score in only a few of the random orders.
        full: Score of the image.
        empty: Score of the baseline.
        classes: The class of the score.
        num_coalitions: Coalitions that were evaluated for each image.
        seconds: Mean time for an image.
    """

    values: Float[Tensor, "images players"]
    interactions: Float[Tensor, "images players players"] | None
    margins: Float[Tensor, "images players"]
    full: Float[Tensor, " images"]
    empty: Float[Tensor, " images"]
    classes: Int[Tensor, " images"]
    num_coalitions: Int[Tensor, " images"]
    seconds: float

    @property
    def is_exact(self) -> bool:
        """Whether no value is an estimate."""
        return self.interactions is not None

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain data.

        Returns:
            All fields by name; tensors become nested lists.
        """
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: x.tolist() if isinstance(x, Tensor) else x for k, x in fields.items()}

    def __repr__(self) -> str:
        images, players = self.values.shape
        kind = "exact" if self.is_exact else "estimated"
        return f"Shapley({images} images, {players} players, {kind}, {self.seconds:.2g} s an image)"


def shapley(
    model: Model,
    images: Float[Tensor, "images channels height width"],
    players: Players = "patches",
    *,
    grid: Grid | None = None,
    baseline: Baseline | None = None,
    classes: Classes | None = None,
    score: Score = "log-odds",
    max_exact_players: int = MAX_EXACT_PLAYERS,
    num_permutations: int = 100,
    seed: int = 0,
    batch_size: int = 512,
) -> Shapley:
    """Shapley values of the patches for the score of one class of each image.

    The value of a coalition S is the score v(S) of the image in which all other players are
    replaced by the baseline. Of n players, player i has the value

        φ_i = Σ_{S ∌ i} |S|! (n - |S| - 1)! / n! · (v(S ∪ {i}) - v(S))    (Shapley 1953).

    The values are exact where at most `max_exact_players` players differ from the baseline: all
    their coalitions are evaluated. Otherwise they are estimated from random orders of the players,
    each together with its reverse (Castro, Gómez & Tejada 2009; Mitchell et al. 2022, arXiv
    2104.12199).

    The default score is the log-odds of the predicted class. A probability near 1 hardly changes
    when one patch is removed; the log-odds do. They do not depend on a constant that is added to
    all logits.

    Args:
        model: A module, or a function from images to logits of shape (images, classes).
        images: Normalised images of shape (images, channels, height, width).
        players: "patches", or a tensor of shape (patches,) with the number of each patch's player,
            from 0; patches with -1 are kept in every coalition.
        grid: The patches; by default those that the model declares.
        baseline: What replaces a player; by default black, for models with mean and std.
        classes: The class of each image, of shape (images,), or one for all; by default the
            predicted one.
        score: The score of that class: "log-odds", "logit" or "probability".
        max_exact_players: Up to how many players values are exact: n players that differ from the
            baseline have 2ⁿ coalitions.
        num_permutations: Random orders (and as many reversed ones) where values are estimated.
        seed: Seed of the random orders, which are the same for every image.
        batch_size: Coalitions in a forward pass.

    Returns:
        Values of shape (images, players), interactions of shape (images, players, players), and
        the scores of image and baseline.

    Raises:
        InputError: If images, players and grid do not match, or pixels or logits are not finite.
        ConfigError: For an option out of range, or a missing grid or baseline.
    """
    grid = grid_for(model, images, grid)
    baseline = baseline or default_baseline(model)
    check_one_of("score", score, get_args(Score))
    if num_permutations < 2:
        raise ConfigError(f"num_permutations must be at least 2, got {num_permutations}")
    owners = _owners(players, grid)
    start = perf_counter()
    if classes is None:
        classes = model_logits(model, images, batch_size=batch_size).argmax(1)
    classes = class_of_each(classes, len(images)).cpu()
    count = int(owners.max()) + 1
    removal = Removal(
        model, images, classes, grid=grid, baseline=baseline, score=score, batch_size=batch_size
    )

    def solve(image: Tensor, blank: Tensor, target: Tensor) -> tuple[Solution, Tensor, int]:
        live = _live_players(image, blank, owners, grid)

        def game(coalitions: Tensor) -> Tensor:
            kept = torch.ones(1, len(coalitions), count + 1, dtype=torch.bool)
            kept[0, :, live] = coalitions
            one = replace(removal, images=image[None], classes=target[None])
            return one.scores(kept[..., owners])[0]  # the last column is that of owner -1

        if len(live) <= max_exact_players:
            scores = game(all_coalitions(len(live)))
            return _spread(solve_exactly(scores), live, count), scores[[0, -1]], len(scores)
        ends = game(torch.tensor([[False], [True]]).expand(2, len(live)))
        generator = torch.Generator().manual_seed(seed)
        solution = estimate(game, len(live), num_permutations, generator)
        total = 2 + 2 * num_permutations * (len(live) + 1)
        return _spread(solution, live, count), ends, total

    done = [solve(*one) for one in zip(images, baseline.of(images), classes, strict=True)]
    solutions, every_ends, totals = zip(*done, strict=True)
    values, margins, interactions = zip(*solutions, strict=True)
    empty, full = torch.stack(every_ends).unbind(1)
    return Shapley(
        values=torch.stack(values),
        interactions=None if None in interactions else torch.stack(interactions),
        margins=torch.stack(margins),
        full=full,
        empty=empty,
        classes=classes,
        num_coalitions=torch.tensor(totals),
        seconds=(perf_counter() - start) / len(images),
    )


def all_coalitions(players: int) -> Bool[Tensor, "coalitions players"]:
    """Every coalition; number k holds the players whose bits are set in k."""
    numbers = torch.arange(2**players)[:, None]
    return (numbers >> torch.arange(players)).bitwise_and(1).bool()


def solve_exactly(values: Float[Tensor, " coalitions"]) -> Solution:
    """Shapley values and interactions from the value of each coalition, as `all_coalitions` has it.

    From the dividends (Harsanyi 1963) a(S) = Σ_{T⊆S} (-1)^{|S|-|T|} v(T): player i has the value
    Σ_{S∋i} a(S) / |S|, and the pair i, j the interaction Σ_{S∋i,j} a(S) / (|S| - 1) (Grabisch &
    Roubens 1999).
    """
    players = len(values).bit_length() - 1
    dividends = values.double().clone()
    for player in range(players):
        pairs = dividends.view(-1, 2, 2**player)
        pairs[:, 1] -= pairs[:, 0]
    members = all_coalitions(players).double()
    sizes = members.sum(1)
    pairwise = members.T @ (members * (dividends / (sizes - 1).clamp_min(1))[:, None])
    return Solution(
        values=(dividends / sizes.clamp_min(1)) @ members,
        margins=torch.zeros(players, dtype=torch.float64),
        interactions=pairwise.fill_diagonal_(0.0),
    )


def estimate(
    game: Game, players: int, num_permutations: int, generator: torch.Generator
) -> Solution:
    """Shapley values from random orders and their reverses, with 95 % margins (Student's t)."""
    changes = []
    for _ in range(num_permutations):
        order = torch.randperm(players, generator=generator)
        both = []
        for one in (order, order.flip(0)):
            steps = torch.zeros(players + 1, players, dtype=torch.bool)
            steps[:, one] = torch.ones(players + 1, players).tril(-1).bool()
            change = torch.empty(players, dtype=torch.float64)
            change[one] = game(steps).diff()
            both.append(change)
        changes.append((both[0] + both[1]) / 2)
    every = torch.stack(changes)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, num_permutations - 1))
    return Solution(values=every.mean(0), margins=reach * every.std(0) / num_permutations**0.5)


def _owners(players: Players, grid: Grid) -> Int[Tensor, " patches"]:
    """The player of each patch; `InputError` unless there is one for each patch."""
    if isinstance(players, str):
        if players != "patches":
            raise ConfigError(f'players must be "patches" or a tensor, got {players!r}')
        return torch.arange(grid.num_patches)
    players = torch.as_tensor(players)
    numbers = set(players.flatten().tolist()) - {-1}
    if players.shape != (grid.num_patches,) or numbers != set(range(len(numbers))) or not numbers:
        raise InputError(
            f"players must hold, for each of {grid.num_patches} patches, the number of its player "
            f"from 0 without gaps, or -1; got {players.tolist()}"
        )
    return players.cpu().long()


def _live_players(
    image: Tensor, blank: Tensor, owners: Int[Tensor, " patches"], grid: Grid
) -> Int[Tensor, " live"]:
    """The players with a pixel that differs from the baseline by more than rounding."""
    differs = (~torch.isclose(image, blank)).to(image.dtype)[None].cpu()
    changed = grid.patch_means(differs).flatten() > 0
    live: Tensor = owners[changed & (owners >= 0)].unique()
    return live


def _spread(solution: Solution, live: Int[Tensor, " live"], count: int) -> Solution:
    """The solution with the null players, whose values are 0."""

    def spread(x: Tensor) -> Tensor:
        index = (live,) if x.dim() == 1 else (live[:, None], live)
        return x.new_zeros(*[count] * x.dim()).index_put(index, x)

    return Solution(*(None if x is None else spread(x) for x in solution))  # type: ignore[arg-type]
