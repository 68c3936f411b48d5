"""C6: attention does not depend on position; encodings restore order, and digits need them.

The first part is a property of the formula: permute the tokens, and the outputs permute. It is
checked to machine precision. The rest is measured: small readers with learned, sine-cosine (Vaswani
et al. 2017; two axes as in arXiv 2104.02057) and no positions, all else equal; on whole digits, and
with the patches of every test digit shuffled. A reader that is trained and tested on one fixed
shuffle shows whether it is places or neighbourhoods that matter to it (as Naseer et al. 2021, arXiv
2105.10497, and Xu et al. 2023, arXiv 2304.07735, ask of larger models).

Two rates of learning are asked alike: the usual one of these small readers, and 0.3 times it.
Learned positions grow with the tokens; sine-cosine ones cannot, and in pilots at the usual rate a
reader's tokens outgrew them, so that it answered shuffled digits almost as well as whole ones. The
claim names no rate, so it must hold at both. The reader of one fixed shuffle is described, at the
lower rate and with fewer seeds.

A reader without positions is not without hints: a patch of 7 × 7 pixels shows which part of a digit
it may be. It cannot say how much larger or longer-trained readers need positions.

Cost: quick 150, full about 1,200 seconds of one core, on two busy ones.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure
from torch import Tensor, nn

from clearhead.attention import MultiHeadAttention
from clearhead.data import ImageDataset, normalize
from clearhead.insight.forward import probabilities
from clearhead.insight.plots import KEY, MUTED, QUERY, new_figure
from clearhead.models.config import PosEmbed, ViTConfig
from clearhead.models.layers import cut_patches
from clearhead.models.vit import VisionTransformer
from clearhead.studies._unconverted import (
    Check,
    Comparison,
    Evidence,
    Study,
    outcomes_of,
    values_of,
)
from clearhead.studies.measures.classifiers import (
    train_small_classifier,
    training_digits,
    unseen_digits,
)
from clearhead.studies.table import Budget, Outcome, Trial, Values

CONFIG = ViTConfig(embed_dim=32, depth=2)
ARMS: dict[str, PosEmbed] = {"learned": "learned", "sine-cosine": "sincos", "none": "none"}
PLACED = ("learned", "sine-cosine")
ONE_SHUFFLE = "learned, one shuffle"
SHUFFLE_SEEDS = {"quick": 1, "full": 3}  # the first ones: this reader is described, not judged
RATES = {"usual rate": 2e-2, "low rate": 6e-3}
LAYERS = 30  # random layers of a trial

ROUNDING = 1e-12  # of the largest output, in float64
NEEDED = 0.02  # of accuracy: two digits in a hundred


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """Random layers; and a reader for each kind of positions and rate, on the same digits."""
    quick = budget == "quick"
    settings = {"digits": 5_000 if quick else 7_500, "epochs": 2 if quick else 3, "unseen": 2_000}
    readers = [(arm, rate, seeds) for rate in RATES for arm in ARMS]
    readers.append((ONE_SHUFFLE, "low rate", seeds[: SHUFFLE_SEEDS[budget]]))
    return (
        *(
            Trial(study=STUDY.name, condition="layers", seed=x, settings={"layers": LAYERS})
            for x in seeds
        ),
        *(
            Trial(study=STUDY.name, condition=arm, seed=seed, settings={**settings, "rate": rate})
            for arm, rate, its_seeds in readers
            for seed in its_seeds
        ),
    )


def run(trial: Trial) -> Values:
    """How far outputs are from permuting with their tokens; or a reader's accuracies."""
    return layer_errors(trial) if trial.condition == "layers" else reader_accuracies(trial)


def layer_errors(trial: Trial) -> Values:
    """Of attention alone, and (the control) with positions added to its tokens."""
    generator = torch.Generator().manual_seed(trial.seed)
    alone, placed = [], []
    for _ in range(trial.settings["layers"]):
        heads, head_dim, tokens = torch.randint(2, 20, (3,), generator=generator).tolist()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(1 << 40, (), generator=generator)))
            layer = MultiHeadAttention(heads * head_dim, heads).double().eval()
        for weight in layer.parameters():
            nn.init.normal_(weight, generator=generator)
        shape = (3, tokens, heads * head_dim)
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        positions = torch.randn(shape[1:], generator=generator, dtype=torch.float64)
        order = _all_moved(tokens, generator)
        alone.append(equivariance_error(layer, x, order))
        placed.append(equivariance_error(_Placed(layer, positions), x, order))
    return {"error": max(alone), "error_with_positions": min(placed)}


def _all_moved(tokens: int, generator: torch.Generator) -> Int[Tensor, " tokens"]:
    """A random order in which nothing stays where it was."""
    round_trip = torch.randperm(tokens, generator=generator)
    order = torch.empty_like(round_trip)
    order[round_trip] = round_trip.roll(1)
    return order


def equivariance_error(
    layer: nn.Module, x: Float[Tensor, "batch tokens embed_dim"], order: Int[Tensor, " tokens"]
) -> float:
    """The largest |layer(x)[order] - layer(x[order])|, over the largest output."""
    with torch.no_grad():
        expected, found = layer(x)[:, order], layer(x[:, order])
    return float((expected - found).abs().max() / expected.abs().max())


class _Placed(nn.Module):
    def __init__(self, layer: nn.Module, positions: Tensor) -> None:
        super().__init__()
        self.layer, self.positions = layer, positions

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, of tokens with positions."""
        found: Tensor = self.layer(x + self.positions)
        return found


def reader_accuracies(trial: Trial) -> Values:
    """On unseen digits: as they are (as trained, for one shuffle), and each shuffled anew."""
    settings = trial.settings
    generator = torch.Generator().manual_seed(trial.seed)
    patches = CONFIG.grid[0] * CONFIG.grid[1]
    fixed = torch.randperm(patches, generator=generator)
    training, unseen = training_digits(settings["digits"], trial.seed), _unseen(settings["unseen"])
    if trial.condition == ONE_SHUFFLE:
        training, unseen = _shuffled(training, fixed), _shuffled(unseen, fixed)
    config = replace(CONFIG, pos_embed=ARMS.get(trial.condition, "learned"))
    model = train_small_classifier(
        config,
        training,
        epochs=settings["epochs"],
        seed=trial.seed,
        learning_rate=RATES[settings["rate"]],
    )
    orders = torch.rand(len(unseen), patches, generator=generator).argsort(dim=1)
    tokens = torch.randn(5, patches, CONFIG.embed_dim, generator=generator, dtype=torch.float64)
    blocks = cast("VisionTransformer", model).blocks
    return {
        "accuracy": _accuracy(model, unseen),
        "shuffled": _accuracy(model, _shuffled(unseen, orders)),
        "error": equivariance_error(blocks.double(), tokens, fixed),
    }


def shuffle_patches(
    images: UInt8[Tensor, "batch channels height width"],
    order: Int[Tensor, "*batch patches"],
    patch: tuple[int, int] = CONFIG.patch_shape,
) -> UInt8[Tensor, "batch channels height width"]:
    """Patch i of the result is patch order[i], of one order for all or of one for each image."""
    cut = cut_patches(images.float(), patch)  # whole numbers up to 255 stay exact
    moved = cut.gather(1, order.expand(len(images), -1)[..., None].expand(cut.shape))
    channels, height, width = images.shape[1:]
    rows, columns = height // patch[0], width // patch[1]
    grid = moved.reshape(len(images), rows, columns, channels, *patch)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(images.shape).to(images.dtype)


def _shuffled(dataset: ImageDataset, order: Tensor) -> ImageDataset:
    return replace(dataset, images=shuffle_patches(dataset.images, order))


def _unseen(count: int) -> ImageDataset:
    return unseen_digits(count)


def _accuracy(model: nn.Module, dataset: ImageDataset) -> float:
    answers = probabilities(model, normalize(dataset.images, CONFIG)).argmax(dim=1)
    return float((answers == dataset.labels).double().mean())


def evidence(outcomes: Sequence[Outcome]) -> tuple[Evidence, ...]:
    """The formula; and at each rate, that both encodings help and that readers heed order."""
    return (
        Check(
            name="outputs of attention against permuted outputs, without positions",
            unit="of the largest output",
            values=values_of(outcomes, "layers", "error"),
            high=ROUNDING,
        ),
        *(
            comparison
            for rate in RATES
            for arm in PLACED
            for comparison in (
                Comparison(
                    name=f"{rate}: accuracy with {arm} positions against none",
                    unit="share",
                    first=values_of(outcomes, arm, "accuracy", rate=rate),
                    second=values_of(outcomes, "none", "accuracy", rate=rate),
                    margin=NEEDED,
                ),
                Comparison(
                    name=f"{rate}, {arm} positions: whole digits against shuffled patches",
                    unit="share",
                    first=values_of(outcomes, arm, "accuracy", rate=rate),
                    second=values_of(outcomes, arm, "shuffled", rate=rate),
                    margin=NEEDED,
                ),
            )
        ),
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """The formula; accuracies; shuffles."""
    errors = values_of(outcomes, "layers", "error")
    blocks = [x.values["error"] for x in outcomes if x.trial.condition != "layers"]
    placed = min(values_of(outcomes, "layers", "error_with_positions"))
    digits = outcomes_of(outcomes, "none", rate="low rate")[0].trial.settings["digits"]
    usual, low = (_told(outcomes, "accuracy", rate) for rate in RATES)
    usual_shuffled, low_shuffled = (_told(outcomes, "shuffled", rate) for rate in RATES)
    one_shuffle = statistics.fmean(values_of(outcomes, ONE_SHUFFLE, "accuracy"))
    return (
        f"Permuted tokens give permuted outputs within {max(*errors, *blocks):.0e} in float64, in "
        f"random layers and in trained blocks; with positions added they differ by {placed:.0%} "
        "of the largest output or more.",
        f"Small readers trained on {digits:,} digits at the usual rate of "
        f"{RATES['usual rate']:g} read {usual} of whole digits; at {RATES['low rate']:g}, {low}.",
        f"With the patches of every test digit shuffled they read {usual_shuffled} at the usual "
        f"rate, and {low_shuffled} at the low one; trained and tested on one fixed shuffle a "
        f"reader reaches {one_shuffle:.1%} (low rate, learned positions).",
    )


def _told(outcomes: Sequence[Outcome], measure: str, rate: str) -> str:
    """For people: "90.0% (learned positions), 86.2% (sine-cosine) and 79.2% (none)"."""
    learned, fixed, none = (
        statistics.fmean(values_of(outcomes, arm, measure, rate=rate)) for arm in ARMS
    )
    return f"{learned:.1%} (learned positions), {fixed:.1%} (sine-cosine) and {none:.1%} (none)"


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Accuracy of every reader, on digits as it was trained on and with patches shuffled."""
    drawing = new_figure(11.0, 4.2)
    axes = drawing.subplots()
    readers = [(arm, rate) for rate in RATES for arm in ARMS] + [(ONE_SHUFFLE, "low rate")]
    for place, (arm, rate) in enumerate(readers):
        kinds = (("accuracy", QUERY, -0.1), ("shuffled", KEY, 0.1))
        for measure, colour, aside in kinds:
            numbers = [100 * x for x in values_of(outcomes, arm, measure, rate=rate)]
            axes.plot([place + aside] * len(numbers), numbers, "o", color=colour, ms=4, alpha=0.6)
            mean = statistics.fmean(numbers)
            axes.plot([place + aside - 0.08, place + aside + 0.08], [mean] * 2, color=colour)
            axes.annotate(
                f"{mean:.1f}", (place + aside + 0.1, mean), fontsize=8, va="center", color=colour
            )
    axes.plot([], [], "o", color=QUERY, ms=4, label="digits as in training")
    axes.plot([], [], "o", color=KEY, ms=4, label="patches of each test digit shuffled")
    axes.axhline(10, color=MUTED, lw=1, ls=":")
    axes.text(-0.3, 10, "guessing", fontsize=8, color=MUTED, va="bottom")
    axes.set_xticks(range(len(readers)), [f"{arm}\n{rate}" for arm, rate in readers])
    axes.set_xlim(-0.4, len(readers) - 0.4)
    axes.set_xlabel("positions and rate of learning")
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(0, 100)
    axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 0.12))
    axes.set_title("Small readers with and without positions, one dot a seed", fontsize=10)
    return drawing


STUDY = Study(
    name="positions",
    claim="C6",
    statement=(
        "Self-attention does not depend on position: permute the tokens and the outputs permute; "
        "positional encodings restore order, and the digit model needs them."
    ),
    hypothesis=(
        "Permuted tokens give permuted outputs up to rounding; at the usual rate of learning and "
        f"at 0.3 times it, learned and sine-cosine positions each add {NEEDED:.0%} of accuracy or "
        "more, and a reader with either loses as much or more when patches are shuffled."
    ),
    conditions=(
        "Random layers of attention in float64; readers (width 32, two layers) trained on the "
        "same MNIST digits with learned, sine-cosine and no positions at rates of "
        f"{' and '.join(f'{x:g}' for x in RATES.values())}, and for description on one fixed "
        "shuffle."
    ),
    measure=(
        "Largest difference over the largest output; accuracy on 2,000 unseen digits, the same for "
        "all seeds."
    ),
    seeds={"quick": 3, "full": 12},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=(
        "Vaswani et al. 2017, Attention Is All You Need, arXiv 1706.03762, section 3.5",
        "Naseer et al. 2021, Intriguing Properties of Vision Transformers, arXiv 2105.10497",
        "Xu et al. 2023, Permutation Equivariance of Transformers and Its Applications, "
        "arXiv 2304.07735",
    ),
)
