"""The influence of patches and words on a prediction, and how maps of weights correlate with it."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.data import ImageDataset, normalize
from clearhead.insight import Grid, Part, attribute, grid_of, shapley
from clearhead.insight.ablation import without_part
from clearhead.insight.attribution import INK, RANDOM, RAW, RELEVANCE, ROLLOUT, VALUES
from clearhead.insight.coalitions import all_coalitions, solve_exactly
from clearhead.insight.forward import class_scores, probabilities
from clearhead.insight.metrics import partial_rank_correlations, rank_correlations
from clearhead.models.text import TextTransformer
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from clearhead.studies import Curves, Summary, Trial, Values
from clearhead.studies.measures.tasks import FIRST_QUERY, NUM_PAIRS, NUM_WORDS, RecallTexts
from clearhead.studies.measures.trainings import floor_of, images_of, model_of, texts_of
from clearhead.training.batches import generator_for

MAPS = (RAW, VALUES, RELEVANCE, ROLLOUT, INK, RANDOM)
BY_MAP = {
    "correlation": f"Rank correlation ({', '.join(MAPS)})",
    "beyond_ink": "The same given the ink, without ink",
    "masking": "The same with masking in all layers",
}
OTHERS = {"masking in all layers": "masking", "signed Shapley values": "signed"}
"""Other measures of influence than the size of the Shapley values"""


def influence(model: VisionTransformer, dataset: ImageDataset, seed: int) -> Values:
    """For every map, mean rank correlation with the influence of the patches.

    Influence is the size of a patch's exact Shapley value, for the log-odds of the predicted class
    (Shapley 1953; `insight.shapley`): the mean change over all orders in which patches can be
    added. `beyond_ink` has partial correlations, given the ink of a patch; `masking` correlations
    with `ablation_effects` instead, and `signed` with the Shapley values themselves.
    """
    pixels, grid = normalize(dataset.images, model.config), grid_of(model)
    maps = {name: attribute(name, model, pixels) for name in MAPS if name != RANDOM}
    generator = generator_for("random map", seed)
    maps[RANDOM] = torch.rand(len(pixels), grid.num_patches, generator=generator).double()
    values = shapley(model, pixels).values
    influences = {"correlation": values.abs(), "signed": values}
    influences["masking"] = ablation_effects(model, pixels, grid)
    found = {
        measure: {name: float(rank_correlations(x, y).mean()) for name, x in maps.items()}
        for measure, y in influences.items()
    }
    ink = maps.pop(INK)
    given_ink = {x: partial_rank_correlations(maps[x], values.abs(), ink) for x in maps}
    return found | {"beyond_ink": {name: float(x.mean()) for name, x in given_ink.items()}}


def influence_of_patches(trial: Trial) -> Values:
    """`floor_of` a task, and `influence`."""
    images = images_of(trial, trial.settings["images"])
    return floor_of(trial) | influence(model_of(trial), images, trial.seed)


def influence_of_pairs(trial: Trial) -> Values:
    """`floor_of` recall, and `recall_influence`."""
    return floor_of(trial) | recall_influence(model_of(trial), texts_of(trial))


def by_map(measure: str) -> Callable[[Values], list[float]]:
    """A measure of all maps that have it, in the order of `MAPS`."""
    return lambda values: [values[measure][name] for name in MAPS if name in values[measure]]


def ablation_effects(
    model: VisionTransformer, images: Float[Tensor, "images channels height width"], grid: Grid
) -> Float[Tensor, "images patches"]:
    """Total variation between predictions with and without each patch, from 0 to 1.

    The patch is masked in the softmax of all layers and heads; its token is still passed on. Half
    the sum of absolute changes in probability over classes, as Jain & Wallace (2019, arXiv
    1902.10186) measure leave-one-out.
    """
    before = probabilities(model, images)
    effects = []
    for patch in range(grid.num_patches):
        around = without_part(Part(patch=patch), "mask", grid=grid)
        effects.append((probabilities(model, images, around=around) - before).abs().sum(1) / 2)
    return torch.stack(effects, dim=1)


@torch.no_grad()
def recall_influence(model: TextTransformer, texts: RecallTexts) -> Values:
    """Rank correlation of the first query's weights on the pairs with their exact Shapley values.

    The score is the log-odds of the predicted value; no token attends to the words of a pair that
    is left out. `weights` is the correlation for the last layer's weights, `first` for the first
    layer's, `random` for random numbers; `on_answer` the last layer's weight on the pair in
    question, in per cent.
    """
    ids = texts.ids[:, : FIRST_QUERY + 1]
    with capture() as recording:
        logits = model(ids)[:, -1, NUM_WORDS:]
    predicted = logits.argmax(dim=1)
    games = []
    for coalition in all_coalitions(NUM_PAIRS):
        kept = torch.cat([coalition.repeat_interleave(2), torch.ones(1, dtype=torch.bool)])
        masked = model(ids, kept.expand(len(ids), -1))[:, -1, NUM_WORDS:].double()
        games.append(class_scores(masked, predicted, "log-odds"))
    values = torch.stack([solve_exactly(x).values for x in torch.stack(games, dim=1)]).abs()
    layers = [
        x.weights[:, :, -1, :FIRST_QUERY].double().mean(dim=1).unflatten(1, (-1, 2)).sum(dim=2)
        for x in recording.records
    ]
    random = torch.rand(values.shape, generator=generator_for("random weights", len(ids)))
    on_answer = layers[-1].gather(1, texts.pairs[:, :1])
    return {
        "weights": float(rank_correlations(layers[-1], values).mean()),
        "first": float(rank_correlations(layers[0], values).mean()),
        "random": float(rank_correlations(random.double(), values).mean()),
        "on_answer": 100 * float(on_answer.mean()),
    }


PANELS = tuple(
    Curves(
        by_map(measure),
        ylabel,
        x=tuple(name for name in MAPS if name != INK or measure != "beyond_ink"),
        join=False,
    )
    for measure, ylabel in (
        ("correlation", "rank correlation"),
        ("beyond_ink", "rank correlation, given the ink"),
        ("masking", "rank correlation with masking"),
    )
)
SUMMARIES = (
    *(Summary(label, by_map(measure)) for measure, label in BY_MAP.items()),
    Summary("Recall: weight on the pair in question (%)", "on_answer"),
)
