"""How corruption changes predictions from equal starts, and what patches attend to."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from clearhead.data import CORRUPTIONS, ImageDataset, corrupt, normalize
from clearhead.insight import Foreground, Grid
from clearhead.insight.forward import probabilities
from clearhead.insight.tokens import coordinates
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.studies import Curves, Summary, Trial, Values, side_by_side
from clearhead.studies.measures.classifiers import recorded
from clearhead.studies.measures.tasks import COMMON, CommonDigits, common_digits
from clearhead.studies.measures.trainings import floor_of, model_of, unseen_of
from clearhead.training.batches import generator_for

BLANK = "noise on blank patches"
ALL_CORRUPTIONS = (*CORRUPTIONS, BLANK)
GRID = Grid(4, 4)  # that of the ViT, for all models

LABELS = {"vit": "ViT", "uniform": "uniform attention", "cnn": "CNN"}
"""The models on digits"""

Images = UInt8[Tensor, "images 1 28 28"]
Weights = Float[Tensor, "images heads queries keys"]


class _Result(NamedTuple):
    correct: Bool[Tensor, " images"]
    weights: list[Weights]


def robustness(
    models: Mapping[str, ImageModel],
    dataset: ImageDataset,
    seed: int,
    corruptions: tuple[str, ...] = ALL_CORRUPTIONS,
) -> Values:
    """What corruption changes in the images that all models classify correctly at first.

    So a fall does not depend on the accuracy on clean images. `clean`: that accuracy, in per cent,
    by model; `common`: share of the images that all models classify correctly; `falls`: per cent of
    these that a model classifies wrongly, by model and corruption; `on_blank`, of models with
    attention: attention on blank patches with and without noise, in per cent.
    """
    clean = {x: _evaluated(models[x], dataset.images, dataset.labels) for x in models}
    common = torch.stack([x.correct for x in clean.values()]).all(dim=0)
    blank = Foreground.of(dataset.images, GRID).background
    result: Values = {
        "clean": {name: 100 * _share(x.correct) for name, x in clean.items()},
        "common": _share(common),
        "falls": {name: {} for name in models},
        "on_blank": {},
    }
    for corruption in corruptions:
        change = noisy_blanks if corruption == BLANK else corrupt
        generator = generator_for("corruption", corruption, seed)
        images = change(dataset.images, corruption, generator)
        for name, model in models.items():
            corrupted = _evaluated(model, images, dataset.labels)
            wrong = ~corrupted.correct[common]
            result["falls"][name][corruption] = 100 * _share(wrong)
            if corruption == BLANK and corrupted.weights:
                shares = {"clean": clean[name].weights, "noisy": corrupted.weights}
                result["on_blank"][name] = {x: on_patches(y, blank) for x, y in shares.items()}
    return result


def falls_and_neighbours(trial: Trial) -> Values:
    """`robustness` of the models on digits, and `relevance_of_neighbours`."""
    models, unseen = {name: model_of(trial, name) for name in LABELS}, unseen_of(trial)
    found = robustness(models, unseen, trial.seed)
    return found | relevance_of_neighbours(models["vit"], unseen)


def falls_and_twins(trial: Trial) -> Values:
    """`robustness` on the common digit with noise on blank patches, and `relevance_of_twins`."""
    model, seed = model_of(trial), trial.seed
    images = common_digits("test", trial.settings["unseen"], seed)
    found = robustness({"vit": model}, images.dataset, seed, (BLANK,))
    return floor_of(trial) | found | relevance_of_twins(model, images)


def noisy_blanks(images: Images, name: str, generator: torch.Generator) -> Images:
    """Impulse noise on the patches without ink alone."""
    blank = Foreground.of(images, GRID).background.view(-1, 1, GRID.rows, GRID.columns)
    height, width = images.shape[2] // GRID.rows, images.shape[3] // GRID.columns
    noisy = blank.repeat_interleave(height, dim=2).repeat_interleave(width, dim=3)
    return torch.where(noisy, corrupt(images, "impulse noise", generator), images)


def on_patches(layers: list[Weights], patches: Bool[Tensor, "images patches"]) -> float:
    """Attention on some patches of each image, in per cent, mean over queries, heads and layers."""
    shares = [(x.mean(dim=(1, 2)) * patches).sum(dim=1).double().mean() for x in layers]
    return 100 * float(torch.stack(shares).mean())


def relevance_of_neighbours(model: VisionTransformer, dataset: ImageDataset) -> Values:
    """Mean weight, in per cent, of a patch with ink on each adjacent patch with ink, and without.

    Uniform weights are 100 / 16 = 6.25 per cent.
    """
    weights = _mean_weights(model, dataset.images)
    ink = Foreground.of(dataset.images, GRID)
    places = coordinates(GRID)
    adjacent = torch.cdist(places, places, p=torch.inf) == 1
    pairs = adjacent & ink.mask[:, :, None]
    kinds = {"inked": ink.mask, "blank": ink.background}
    return {x: 100 * float(weights[pairs & keys[:, None]].mean()) for x, keys in kinds.items()}


def relevance_of_twins(model: VisionTransformer, images: CommonDigits) -> Values:
    """Mean weight, in per cent, of digits on others in the other half: of their class, and not.

    In the common digit, the one digit of the same class in the other half decides the label.
    """
    weights = _mean_weights(model, images.dataset.images)
    classes, places = images.classes.flatten(1), images.places.flatten(1)
    size = images.classes.shape[2]
    half = torch.arange(classes.shape[1]) // size
    between = weights.gather(1, places[:, :, None].expand(-1, -1, weights.shape[2]))
    between = between.gather(2, places[:, None].expand(-1, places.shape[1], -1))
    queries = (classes == images.dataset.labels[:, None])[:, :, None]
    other_half = half[:, None] != half
    same = classes[:, :, None] == classes[:, None]
    return {
        "twin": 100 * float(between[queries & other_half & same].mean()),
        "others": 100 * float(between[queries & other_half & ~same].mean()),
    }


def fall_under(model: str, *corruptions: str) -> Callable[[Values], float]:
    """Mean fall of a model under some corruptions, in percentage points."""
    return lambda values: sum(values["falls"][model][x] for x in corruptions) / len(corruptions)


def _mean_weights(model: VisionTransformer, images: Images) -> Float[Tensor, "images queries keys"]:
    records = recorded(model, normalize(images, model.config)).records
    return torch.stack([x.weights.double().mean(dim=1) for x in records]).mean(dim=0)


def _evaluated(model: ImageModel, images: Tensor, labels: Int[Tensor, " images"]) -> _Result:
    pixels = normalize(images, model.config)
    predicted = probabilities(model, pixels).argmax(dim=1)
    records = recorded(model, pixels).records if isinstance(model, VisionTransformer) else ()
    return _Result(predicted == labels, [x.weights for x in records])


def _share(mask: Bool[Tensor, " images"]) -> float:
    return float(mask.double().mean()) if len(mask) else 0.0


WEIGHTS: dict[str, Any] = {"ylim": (0, None), "lines": {6.25: "uniform"}}
PANELS = (
    *(
        Curves(
            [("falls", name, x) for x in ALL_CORRUPTIONS],
            f"fall of {label} (points)",
            "corruption",
            x=ALL_CORRUPTIONS,
            conditions=("digits",),
            join=False,
            ylim=(0, 100),
        )
        for name, label in LABELS.items()
    ),
    side_by_side(
        {"inked": "with ink", "blank": "blank"},
        "weight of a patch with ink (%)",
        "adjacent patch",
        conditions=("digits",),
        **WEIGHTS,
    ),
    side_by_side(
        {"twin": "same class", "others": "other class"},
        "weight of a digit that decides (%)",
        "digit in the other half",
        conditions=(COMMON,),
        **WEIGHTS,
    ),
)
SUMMARIES = (
    *(Summary(f"Accuracy on clean images (%), {LABELS[x]}", ("clean", x)) for x in LABELS),
    Summary("Share of the images that all models classify correctly", "common"),
    Summary(
        "Fall under fifteen corruptions (points): ViT, uniform attention, CNN",
        [fall_under(name, *CORRUPTIONS) for name in LABELS],
        conditions=("digits",),
    ),
)
