"""How different the heads of a layer are, compared with untrained ones; what exchanging them costs.

Beside `insight`, which describes the heads of one model.
"""

import statistics
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clearhead.data import ImageDataset, normalize
from clearhead.insight import roles
from clearhead.insight.foreground import Foreground
from clearhead.insight.forward import probabilities
from clearhead.insight.measures import HeadMeasures, measure_heads
from clearhead.insight.tokens import grid_of
from clearhead.models.text import TextTransformer
from clearhead.models.vit import VisionTransformer
from clearhead.recording import AttentionRecord, intervene
from clearhead.studies import Curves, Summary, Trial, Values, side_by_side
from clearhead.studies.measures import trainings
from clearhead.studies.measures.classifiers import recorded
from clearhead.studies.measures.tasks import COMMON, FIRST_QUERY, RecallTexts
from clearhead.studies.measures.trainings import accuracy_on_task, floor_of, images_of, model_of
from clearhead.training.batches import seed_of

UNTRAINED = 20
"""Roles at a level of 5 % need 19 untrained models; one more takes the place of the trained one"""

Change = Callable[[AttentionRecord], Tensor | None]


def compare_with_untrained(
    model: VisionTransformer, images: UInt8[Tensor, "images channels height width"], seed: int
) -> Values:
    """Distances between heads and roles, of this model and of untrained ones.

    Untrained models are measured as initialised (`fresh`) and with the entropy of each head
    matched to that of the trained one (`sharp`). Distances are in hundredths.
    """

    def apart(measures: HeadMeasures) -> float:
        return 100 * distance_between_heads(measures.agreement)

    foreground, pixels = Foreground.of(images, grid_of(model)), normalize(images, model.config)
    trained = measure_heads(model, pixels, foreground=foreground)
    seeds = [seed_of("untrained", seed, place) for place in range(UNTRAINED + 1)]
    fresh = roles.untrained_heads(model.config, pixels, foreground=foreground, seeds=seeds)
    sharp = roles.untrained_heads(
        model.config, pixels, foreground=foreground, seeds=seeds, match_entropy=trained
    )
    baselines = fresh[:-1], sharp[:-1]
    return {
        "apart": apart(trained),
        "apart_fresh": statistics.fmean(map(apart, fresh)),
        "apart_sharp": statistics.fmean(map(apart, sharp)),
        "roles": [role.label for role in roles.describe_heads(trained, *baselines)],
        "roles_untrained": [role.label for role in roles.describe_heads(sharp[-1], *baselines)],
    }


def compare_heads(trial: Trial) -> Values:
    """Heads of a condition's image model against untrained ones, and with other weights.

    Digits are shifted at random, because in MNIST all centres are the same.
    """
    model, shown = model_of(trial), images_of(trial, trial.settings["images"]).images
    if trial.condition != COMMON:
        shown = roles.shift_images(shown, roles.MAX_SHIFT, trial.seed)
    found = compare_with_untrained(model, shown, trial.seed)
    accuracy = accuracy_on_images(model, trainings.unseen_of(trial))
    return floor_of(trial) | found | accuracies_with_other_weights(model, accuracy)


def compare_heads_on_recall(trial: Trial) -> Values:
    """The specialised head of the text model, and the heads with other weights."""
    model = model_of(trial)
    other = accuracies_with_other_weights(model, partial(accuracy_on_task, trial, model))
    return floor_of(trial) | specialised_head(model, trainings.texts_of(trial)) | other


def distance_between_heads(agreement: Float[Tensor, "*batch heads heads"]) -> float:
    """Jensen-Shannon distance of two heads, from 0 to 1, mean over all pairs; 0 for one head."""
    heads = agreement.shape[-1]
    pairs = torch.triu(torch.ones(heads, heads, dtype=torch.bool), diagonal=1)
    return float((1 - agreement[..., pairs]).mean()) if heads > 1 else 0.0


def accuracy_on_images(model: VisionTransformer, dataset: ImageDataset) -> Callable[[], float]:
    """Measures the accuracy of a classifier, in per cent; `without_head` acts on 250 images."""
    pixels = normalize(dataset.images, model.config)

    def accuracy() -> float:
        labels = probabilities(model, pixels).argmax(dim=1)
        return 100 * float((labels == dataset.labels).double().mean())

    return accuracy


def accuracies_with_other_weights(
    model: VisionTransformer | TextTransformer, measure: Callable[[], float]
) -> Values:
    """Accuracy (`measure`) with each head's own weights, another head's, and the layer's mean.

    `falls`: by how much accuracy falls without each head, its output replaced by its mean over the
    inputs.
    """

    def accuracy(change: Change) -> float:
        with intervene(change):
            return measure()

    heads, own = model.config.num_heads, measure()
    places = [(layer, head) for layer in range(model.config.depth) for head in range(heads)]
    return {
        "accuracy": own,
        "exchanged": statistics.fmean(accuracy(exchange_weights(x)) for x in range(1, heads)),
        "shared": accuracy(share_weights),
        "falls": [own - accuracy(without_head(*place)) for place in places],
    }


def exchange_weights(offset: int) -> Callable[[AttentionRecord], Tensor]:
    """An intervention: head h of every layer gets the weights of head h - offset."""

    def change(record: AttentionRecord) -> Tensor:
        return record.context_from(record.applied_weights.roll(offset, dims=-3))

    return change


def share_weights(record: AttentionRecord) -> Tensor:
    """An intervention: every head of a layer gets the mean of all its heads' weights."""
    weights = record.applied_weights
    return record.context_from(weights.mean(dim=-3, keepdim=True).expand_as(weights))


def without_head(layer: int, head: int) -> Change:
    """An intervention: the output of a head is its mean over the inputs of the batch."""

    def change(record: AttentionRecord) -> Tensor | None:
        if record.name != f"blocks.{layer}.attn":
            return None
        output = record.output.clone()
        output[:, head] = output[:, head].mean(dim=0, keepdim=True)
        return output

    return change


def weights_on_answers(model: TextTransformer, texts: RecallTexts) -> Float[Tensor, "layers heads"]:
    """Weight of the queries on the values that they are about, mean over texts and queries."""
    values = (2 * texts.pairs + 1)[:, None, :, None]
    rows = [x.weights[:, :, FIRST_QUERY:] for x in recorded(model, texts.ids).records]
    found = [x.gather(3, values.expand(-1, x.shape[1], -1, -1))[..., 0] for x in rows]
    return torch.stack([x.double().mean(dim=(0, 2)) for x in found])


def specialised_head(model: TextTransformer, texts: RecallTexts) -> Values:
    """The head with the largest weight on the answers, and the mean of its layer's other heads.

    The head is chosen on the first half of the texts and measured on the second.
    """
    half = len(texts.ids) // 2
    first, second = (
        weights_on_answers(model, RecallTexts(texts.ids[x], texts.answers[x], texts.pairs[x]))
        for x in (slice(half), slice(half, None))
    )
    layer, head = divmod(int(first.argmax()), first.shape[1])
    row = second[layer]
    others = (row.sum() - row[head]) / (len(row) - 1)
    return {"chosen": float(row[head]), "others": float(others)}


def share_with_role(measure: str) -> Callable[[Values], float]:
    """Per cent of heads with a role; `measure` is "roles" or "roles_untrained"."""
    return lambda values: 100 * statistics.fmean(x != roles.NO_CLEAR_ROLE for x in values[measure])


ROLE, NO_ROLE = map(share_with_role, ("roles", "roles_untrained"))
"""Of the trained model, and of an untrained one as sharp"""

PANELS = (
    side_by_side(
        {"apart": "trained", "apart_sharp": "untrained, as sharp", "apart_fresh": "untrained"},
        "heads apart (hundredths of the JS distance)",
        "heads",
    ),
    side_by_side(
        {"accuracy": "own", "exchanged": "another head's", "shared": "mean"},
        "accuracy on unseen data (%)",
        "weights of a head",
        ylim=(0, 100),
    ),
    Curves(
        lambda values: sorted(values["falls"], reverse=True),
        "fall of accuracy without the head (points)",
        "heads, sorted by fall",
    ),
)
SUMMARIES = (
    Summary("Heads apart: trained, as sharp, untrained", ["apart", "apart_sharp", "apart_fresh"]),
    Summary("Heads with a role (%)", ROLE),
    Summary("Accuracy (%): own, exchanged, mean weights", ["accuracy", "exchanged", "shared"]),
    Summary(
        "Fall of accuracy without a head: mean, largest",
        lambda values: [statistics.fmean(values["falls"]), max(values["falls"])],
    ),
)
