"""C9: a ViT sees globally from the first layer; a CNN widens its receptive field slowly.

What a unit can see (theoretical field) and what it does see (effective field) are two things: Luo
et al. 2016 (arXiv 1701.04128) measure the gradient of a unit by every pixel, and count a pixel from
4.55 % of the largest on. Raghu et al. 2021 (arXiv 2108.08810) find in ViTs of 12 and more layers
that the first ones attend both near and far, given enough data. Here the fields of the unit in the
middle are measured after each of six layers (blocks of a ViT, convolutions of a CNN), untrained and
trained, and the mean attention distance of each layer of the ViT beside that of even attention.

A layer of the one is not a layer of the other: the ViT begins with patches of 7 × 7 pixels, so that
its first layer would see 6 % of the picture with no attention at all. Fields are those of all paths
to the pixels, the residual path among them, by which a token sees its own patch whatever attention
does. For small readers the mean over trainings is asked for (as a difference from a field of 0):
that every single training must pass would ask more, the more there are. On 28 × 28 pixels six small
convolutions and two poolings come to see everything; it cannot say what happens on large pictures.

Cost: quick 70, full about 620 seconds of one core, on two busy ones.
"""

import statistics
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from clearhead.data import normalize
from clearhead.insight.forward import probabilities
from clearhead.insight.measures import measure_heads
from clearhead.insight.plots import KEY, MUTED, OUTLINE, QUERY, new_figure
from clearhead.insight.tokens import Grid, coordinates, grid_of
from clearhead.models import build, load
from clearhead.models.baselines import ConvNet
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.studies._unconverted import Check, Comparison, Evidence, Study, outcomes_of
from clearhead.studies.measures.classifiers import (
    train_small_classifier,
    training_digits,
    unseen_digits,
)
from clearhead.studies.measures.receptive_field import SEEN, layer_fields, reached_share, seen_share
from clearhead.studies.table import Budget, Outcome, Trial, Values

CONFIGS: dict[str, ViTConfig | CNNConfig] = {
    "ViT": ViTConfig(embed_dim=32, depth=6),
    "CNN": CNNConfig(widths=(8, 16, 32)),
}
COLOURS = {"ViT": QUERY, "CNN": KEY}
LAYERS = 6
SIDE, PATCH = 28, 7  # pixels, of the ViTs

A_QUARTER = 0.25  # of the picture
MOST = 0.5  # of the picture: what "globally" must at least mean, in effect


def trials(budget: Budget, seeds: range) -> tuple[Trial, ...]:
    """A ViT and a CNN, fresh and trained on the same digits; the shipped reader, as it is."""
    quick = budget == "quick"
    images = {"images": 50, "unseen": 1_000}
    training = {"digits": 4_000 if quick else 6_000, "epochs": 2 if quick else 3}
    return tuple(
        Trial(study=STUDY.name, condition=f"{name} {state}", seed=seed, settings=settings)
        for seed in seeds
        for name, state, settings in (
            *((name, "untrained", images) for name in CONFIGS),
            *((name, "trained", {**images, **training}) for name in CONFIGS),
            ("shipped", "trained", images),
        )
    )


def run(trial: Trial) -> Values:
    """By layer: share of pixels reached, share seen, attention distance; and the last fields."""
    name, state = trial.condition.split()
    model = _model(name, state, trial)
    if not isinstance(model, VisionTransformer | ConvNet):
        raise TypeError("a model without attention or convolutions has no field to widen")
    unseen = unseen_digits(trial.settings["unseen"], trial.seed)
    images = normalize(unseen.images, model.config)
    some = images[: trial.settings["images"]]
    fields = layer_fields(model, some, torch.Generator().manual_seed(trial.seed))
    answers = probabilities(model, images).argmax(dim=1)
    found: Values = {
        "reached": [reached_share(field) for field in fields],
        "seen": [seen_share(field) for field in fields],
        "first_field": _rounded(fields[0]),
        "accuracy": float((answers == unseen.labels).double().mean()),
    }
    if isinstance(model, VisionTransformer):
        found["distance"] = measure_heads(model, some)["distance"].mean.mean(dim=1).tolist()
        found["even_distance"] = even_distance(grid_of(model))
    return found


def even_distance(grid: Grid) -> float:
    """The mean distance between two patches, a patch and itself among them, in patches."""
    places = coordinates(grid)
    return float(torch.cdist(places, places).mean())


def _model(name: str, state: str, trial: Trial) -> ImageModel:
    if name == "shipped":
        return load()
    if state == "trained":
        dataset = training_digits(trial.settings["digits"], trial.seed)
        epochs = trial.settings["epochs"]
        return train_small_classifier(CONFIGS[name], dataset, epochs=epochs, seed=trial.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        return build(CONFIGS[name]).eval()


def _rounded(field: Tensor) -> list[list[float]]:
    """For the picture alone: gradients over the largest, to three digits."""
    return [[round(x, 3) for x in row] for row in (field / field.max()).tolist()]


def evidence(outcomes: Sequence[Outcome]) -> tuple[Evidence, ...]:
    """Of trained models: what the ViT can see and does see at once; how the CNN goes on."""
    vit, cnn = (_by_layer(outcomes, f"{name} trained", "seen") for name in CONFIGS)
    return (
        Check(
            name="trained ViTs, first layer: share of the pixels that move the unit at all",
            unit="share",
            values=tuple(
                x[0]
                for name in ("ViT", "shipped")
                for x in _by_layer(outcomes, f"{name} trained", "reached")
            ),
            low=1.0,
        ),
        Comparison(
            name="small trained ViTs, first layer: effective receptive field, against 0",
            unit="share of the picture",
            first=tuple(x[0] for x in vit),
            second=(0.0,) * len(vit),
            margin=MOST,
        ),
        Check(
            name="shipped reader, first layer: effective receptive field",
            unit="share of the picture",
            values=tuple(x[0] for x in _by_layer(outcomes, "shipped trained", "seen")),
            low=MOST,
        ),
        Comparison(
            name="effective receptive field after the first layer, ViT against CNN",
            unit="share of the picture",
            first=tuple(x[0] for x in vit),
            second=tuple(x[0] for x in cnn),
            margin=A_QUARTER,
        ),
        Comparison(
            name="effective receptive field of the CNN, last layer against first",
            unit="share of the picture",
            first=tuple(x[-1] for x in cnn),
            second=tuple(x[0] for x in cnn),
            margin=A_QUARTER,
        ),
    )


def sentences(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """What can be seen, what is seen, and how far attention goes."""
    reach = {arm: _means(outcomes, f"{arm} trained", "reached") for arm in CONFIGS}
    seen = {
        (arm, state): _means(outcomes, f"{arm} {state}", "seen")
        for arm in CONFIGS
        for state in ("trained", "untrained")
    }
    distance = _means(outcomes, "ViT trained", "distance")
    even = outcomes_of(outcomes, "ViT trained")[0].values["even_distance"]
    vit, cnn = (seen[name, "trained"] for name in CONFIGS)
    fresh_vit, fresh_cnn = (seen[name, "untrained"] for name in CONFIGS)
    shipped = {x: _means(outcomes, "shipped trained", x) for x in ("seen", "distance")}
    inside, elsewhere = _own_patch(outcomes)
    return (
        f"A unit of a ViT can see {reach['ViT'][0]:.0%} of the picture after the first layer, one "
        f"of a CNN {_shares(reach['CNN'])} after its layers 1 to {LAYERS}.",
        f"In effect (pixels with 4.55 % of the largest gradient or more; means) the trained ViT "
        f"sees {_shares(vit)}, the CNN {_shares(cnn)}; untrained, {fresh_vit[0]:.0%} and "
        f"{fresh_cnn[0]:.0%} after the first layer and {fresh_vit[-1]:.0%} and {fresh_cnn[-1]:.0%} "
        f"after the last; the shipped reader, one set of weights trained far longer, sees "
        f"{_shares(shipped['seen'])}.",
        f"Fields include the residual path, which shows a token its own patch "
        f"({PATCH**2 / SIDE**2:.2%} of the picture): there lies {inside:.0%} of what the shipped "
        f"reader sees in its first layer, and no pixel elsewhere has more than {elsewhere:.1%} of "
        f"the largest gradient; attention itself reaches {distance[0]:.2f} patches far in the "
        f"small ViT's first layer and {distance[-1]:.2f} in its last, {shipped['distance'][0]:.2f} "
        f"and {shipped['distance'][-1]:.2f} in the shipped reader's, where even attention would "
        f"reach {even:.2f}.",
    )


def _own_patch(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Of the shipped reader's first field: the share within its patch, the most outside of it.

    The share is that of all pixels seen, over all samples of digits; the most is over all of them.
    """
    fields = [x.values["first_field"] for x in outcomes_of(outcomes, "shipped trained")]
    gradients = torch.tensor(fields)
    own = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    first = SIDE // PATCH // 2 * PATCH  # of the patch in the middle
    own[first : first + PATCH, first : first + PATCH] = True
    seen = gradients >= SEEN
    return float((seen & own).sum() / seen.sum()), float(gradients[:, ~own].max())


def figure(outcomes: Sequence[Outcome]) -> Figure:
    """Shares of the picture by layer, attention distance by layer, and two first fields."""
    drawing = new_figure(12.5, 4.0)
    shares, distances, first, second = drawing.subplots(1, 4, width_ratios=[1.4, 1.1, 0.8, 0.8])
    layers = range(1, LAYERS + 1)
    for name, colour in COLOURS.items():
        reached = [100 * x for x in _means(outcomes, f"{name} trained", "reached")]
        shares.plot(layers, reached, ":", color=colour, label=f"{name}, can see")
        for state, style in (("trained", "-"), ("untrained", "--")):
            for rows in _by_layer(outcomes, f"{name} {state}", "seen"):
                shares.plot(layers, [100 * x for x in rows], ".", color=colour, ms=3)
            means = [100 * x for x in _means(outcomes, f"{name} {state}", "seen")]
            shares.plot(layers, means, style, color=colour, label=f"{name}, sees, {state}")
    seen = [100 * x for x in _means(outcomes, "shipped trained", "seen")]
    shares.plot(layers, seen, color=OUTLINE, label="shipped reader, sees")
    shares.set_ylim(0, 104)
    shares.set_xlabel("layer (block or convolution)")
    shares.set_ylabel("share of the picture (%)")
    shares.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    shares.set_title("Receptive field of the middle unit", fontsize=10)
    _draw_distances(distances, outcomes)
    for axes, name in ((first, "ViT"), (second, "CNN")):
        field = outcomes_of(outcomes, f"{name} trained")[0].values["first_field"]
        axes.imshow(field, cmap="cividis", vmin=0, vmax=1)
        axes.set_title(f"{name}, trained:\nfirst layer's gradients", fontsize=9)
        axes.set_xlabel("pixels")
    return drawing


def _draw_distances(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    layers = range(1, LAYERS + 1)
    for state, style in (("trained", "-"), ("untrained", "--")):
        for rows in _by_layer(outcomes, f"ViT {state}", "distance"):
            axes.plot(layers, rows, ".", color=QUERY, ms=3)
        means = _means(outcomes, f"ViT {state}", "distance")
        axes.plot(layers, means, style, color=QUERY, label=f"ViT, {state}")
    shipped = _means(outcomes, "shipped trained", "distance")
    axes.plot(layers, shipped, color=OUTLINE, label="shipped reader")
    even = outcomes_of(outcomes, "ViT trained")[0].values["even_distance"]
    axes.axhline(even, color=MUTED, lw=1, label="even attention")
    axes.set_ylim(0, None)
    axes.set_xlabel("layer")
    axes.set_ylabel("mean attention distance (patches)")
    axes.legend(fontsize=7)
    axes.set_title("How far attention goes", fontsize=10)


def _by_layer(outcomes: Sequence[Outcome], arm: str, measure: str) -> list[list[float]]:
    return [outcome.values[measure] for outcome in outcomes_of(outcomes, arm)]


def _means(outcomes: Sequence[Outcome], arm: str, measure: str) -> list[float]:
    """For each layer, over seeds."""
    columns = zip(*_by_layer(outcomes, arm, measure), strict=True)
    return [statistics.fmean(column) for column in columns]


def _shares(numbers: Sequence[float]) -> str:
    return ", ".join(f"{x:.0%}" for x in numbers)


STUDY = Study(
    name="receptive-fields",
    claim="C9",
    statement=(
        "A ViT sees globally from the first layer; a CNN widens its receptive field slowly, layer "
        "by layer."
    ),
    hypothesis=(
        "After the first layer every pixel can move a trained ViT's unit; its effective field is "
        f"{MOST:.0%} of the picture or more, in small readers in the mean and in the shipped one "
        f"with each sample of digits, and in small ones {A_QUARTER:.0%} of the picture larger "
        f"than a CNN's; the CNN's own grows by {A_QUARTER:.0%} of the picture or more to its last "
        "layer (how steadily is shown)."
    ),
    conditions=(
        "A ViT (width 32, six blocks, patches of 7 × 7) and a CNN (widths 8, 16, 32, six "
        "convolutions of 3 × 3; a block is more than a convolution), fresh and trained on the same "
        "MNIST digits; the shipped reader (width 64, six blocks, trained far longer; a single set "
        "of weights); gradients on 50 unseen digits, others for each seed."
    ),
    measure=(
        "Share of pixels with any gradient, and with 4.55 % of the largest or more (root mean "
        "square over digits and random directions), for the unit in the middle of each layer, by "
        "all paths, the residual one among them."
    ),
    seeds={"quick": 3, "full": 12},
    trials=trials,
    run=run,
    evidence=evidence,
    sentences=sentences,
    figure=figure,
    references=(
        "Luo et al. 2016, Understanding the Effective Receptive Field, arXiv 1701.04128",
        "Raghu et al. 2021, Do Vision Transformers See Like Convolutional Neural Networks?, "
        "arXiv 2108.08810",
    ),
)
