"""How text models resolve "it": its attention, and effects of masking.

All sentences have the same shape and differ only in the referent. They come in counterbalanced sets
of four, with each noun as the referent in each position once: what depends on position, noun or
verb alone is right in half of them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearhead.data import PronounSentence, WordTokenizer, pronoun_sentences, vocabulary
from clearhead.data.sentences import NounSplit
from clearhead.data.tokenizer import MASK
from clearhead.inference import pronoun_score
from clearhead.models.config import TextConfig
from clearhead.models.text import TextTransformer
from clearhead.recording import AttentionRecord, intervene
from clearhead.studies import Curves, Measure, Summary, Trial, Values
from clearhead.studies.measures.classifiers import recorded, untrained
from clearhead.training import TextTrainConfig, fit

FIRST, SECOND, PRONOUN = 1, 4, 6  # the dog chased the ball because it was hungry .
SPLITS: tuple[NounSplit, ...] = ("seen", "unseen")
MASKED: Mapping[str, str] = {"nothing": "nothing", "other": "other noun", "right": "referent"}
"""Which noun "it" cannot attend to, by its key in the values"""
MODELS: Mapping[str, str] = {
    "causal": "causal",
    "asked at it": "referent predicted at “it”",
    "asked afterwards": "questions only",
    "untrained": "untrained",
    "untrained causal": "untrained, causal",
}
"""The models of a trial, by their keys in its values"""

KNOWN: Measure = [(model, "known", "place", "unseen") for model in MODELS]
"""Accuracy on the referent's position, by model"""
BY_MASK: Measure = [("asked at it", "cut_at_it", "noun", name) for name in MASKED]
"""Accuracy at "it" of the model trained to predict there, by masked noun"""

TINY = torch.finfo(torch.float32).tiny

Weights = Float[Tensor, "layers heads sentences"]


@dataclass(frozen=True)
class PronounBatch:
    """Sentences as model inputs, alone or each with a question.

    `position` is that of the query token of interest; `referent` and `distractor` are positions.
    """

    ids: Int[Tensor, "sentences tokens"]
    position: int
    referent: Int[Tensor, " sentences"]
    distractor: Int[Tensor, " sentences"]

    @property
    def is_first(self) -> Bool[Tensor, " sentences"]:
        """Whether the referent is the first noun."""
        return self.referent == FIRST


def pronoun_models(trial: Trial) -> dict[str, TextTransformer]:
    """The models of a trial; both bidirectional ones start from the trained causal one."""
    settings = trial.settings
    causal = TextConfig(vocabulary=vocabulary(), causal=True)
    bidirectional = TextConfig(vocabulary=vocabulary())
    config = TextTrainConfig(
        model=causal,
        texts=settings["texts"],
        batch_size=32,
        epochs=settings["epochs"],
        learning_rate=7e-3,
        seed=trial.seed,
    )
    start = fit(config).result
    second = replace(
        config, model=bidirectional, epochs=settings["epochs_on"], learning_rate=2.5e-3
    )
    return {
        "causal": start,
        "asked at it": fit(second, model=start).result,
        "asked afterwards": fit(replace(second, referent_prob=0.0), model=start).result,
        "untrained": untrained(bidirectional, trial.seed),
        "untrained causal": untrained(causal, trial.seed),
    }


def resolve_pronouns(trial: Trial) -> Values:
    """All measures of each model, by the keys of `MODELS`, on sets of each noun split.

    `known`: accuracy on the referent's position; `at_it`, `at_answer`: share of sentences in which
    the referent has the larger weight (`referent_preferred`); `cut_at_it`: accuracy at "it", by the
    noun that it cannot attend to. The setting `fours` is the number of counterbalanced sets.
    """
    splits = {x: pronoun_sentences(x, trial.settings["fours"], trial.seed) for x in SPLITS}

    def preferred(model: TextTransformer, batched: Any) -> Values:
        batches = {split: batched(model, sentences) for split, sentences in splits.items()}
        return {
            split: {"named": referent_preferred(*noun_weights(model, batch)).tolist()}
            for split, batch in batches.items()
        }

    def measured(model: TextTransformer) -> Values:
        unseen = at_pronoun(model, splits["unseen"])
        known = pronoun_score(model, splits["unseen"], "unseen", "place").accuracy
        masks = dict(zip(MASKED, (None, unseen.distractor, unseen.referent), strict=True))
        masked = {name: referent_accuracy(model, unseen, mask) for name, mask in masks.items()}
        return {
            "known": {"place": {"unseen": known}},
            "at_it": preferred(model, at_pronoun),
            "at_answer": preferred(model, at_answer),
            "cut_at_it": {"noun": masked},
        }

    return {name: measured(model) for name, model in pronoun_models(trial).items()}


def attention_accuracies(values: Values) -> list[float]:
    """`attention_accuracy` by model: at "it", in causal models at the word before the answer."""
    where = {x: "at_answer" if "causal" in x else "at_it" for x in MODELS}
    return [attention_accuracy(model, place)(values) for model, place in where.items()]


def attention_accuracy(model: str, where: str = "at_it") -> Callable[[Values], float]:
    """Share of sentences in which the chosen head gives the referent the larger weight.

    The head, or mean of a layer's heads, is that of the largest share for noun pairs of training.
    """

    def share(values: Values) -> float:
        attention = values[model][where]
        shares = np.array(attention["seen"]["named"])
        return float(np.ravel(attention["unseen"]["named"])[shares.argmax()])

    return share


def at_pronoun(model: TextTransformer, items: Sequence[PronounSentence]) -> PronounBatch:
    """The sentences alone; the query token is "it"."""
    return _batch(model, items, [item.text for item in items], PRONOUN)


def at_answer(model: TextTransformer, items: Sequence[PronounSentence]) -> PronounBatch:
    """The sentences, each with "first or second ?"; the query token predicts the answer.

    That is the masked answer, and in a causal model the word before it.
    """
    texts = [item.with_question("place", MASK) for item in items]
    position = len(texts[0].split()) - 2 - model.config.causal
    return _batch(model, items, texts, position)


def noun_weights(model: TextTransformer, batch: PronounBatch) -> tuple[Weights, Weights]:
    """Weights of the query token on the referent and on the distractor."""
    records = recorded(model, batch.ids).records
    rows = torch.stack([x.stages(queries=batch.position).weights[:, :, 0] for x in records])
    rows = rows.permute(0, 2, 1, 3)  # layers, heads, sentences, keys
    sentences = torch.arange(len(batch.ids))
    return rows[:, :, sentences, batch.referent], rows[:, :, sentences, batch.distractor]


def referent_preferred(referent: Weights, distractor: Weights) -> Float[Tensor, "layers columns"]:
    """Share of sentences in which the referent has the larger weight; equal ones count one half.

    A column for each head, and a last one for the mean of a layer's heads.
    """
    both = (referent, distractor)
    one, other = (torch.cat([x, x.mean(dim=1, keepdim=True)], dim=1) for x in both)
    return ((one > other).double() + (one == other).double() / 2).mean(dim=2)


@torch.no_grad()
def referent_accuracy(
    model: TextTransformer, batch: PronounBatch, masked: Int[Tensor, " sentences"] | None = None
) -> float:
    """Share of sentences whose referent gets a larger logit than the distractor.

    With `masked`, "it" cannot attend to these positions in any layer.
    """
    with nullcontext() if masked is None else intervene(without_keys(masked)):
        logits = model(batch.ids)[:, batch.position]
    first, second = logits.gather(1, batch.ids[:, [FIRST, SECOND]]).unbind(dim=1)
    return float(((first > second) == batch.is_first).double().mean())


def without_keys(masked: Int[Tensor, " sentences"]) -> Callable[[AttentionRecord], Tensor]:
    """The change by which "it" cannot attend to a position; other weights are renormalised."""

    def change(record: AttentionRecord) -> Tensor:
        weights = record.weights.clone()
        weights[torch.arange(len(masked)), :, PRONOUN, masked] = 0.0
        rest = weights[:, :, PRONOUN].sum(dim=-1, keepdim=True)
        weights[:, :, PRONOUN] = weights[:, :, PRONOUN] / rest.clamp_min(TINY)
        return record.context_from(weights)

    return change


def _batch(
    model: TextTransformer, items: Sequence[PronounSentence], texts: Sequence[str], position: int
) -> PronounBatch:
    tokenizer = WordTokenizer(model.config.vocabulary)
    ids = torch.tensor([tokenizer.encode(text).ids for text in texts])
    referent = torch.tensor([SECOND if x.referent == x.object else FIRST for x in items])
    return PronounBatch(ids, position, referent, distractor=FIRST + SECOND - referent)


_shares = partial(Curves, join=False, scale=100, ylim=(0, 103), lines={50: "chance"})
_by_model = partial(_shares, xlabel="model", x=tuple(MODELS.values()))
PANELS = (
    _by_model(KNOWN, "accuracy on the referent's position (%)"),
    _by_model(attention_accuracies, "referent has more weight (%)"),
    _shares(BY_MASK, "accuracy at “it” (%)", "masked for “it”", x=tuple(MASKED.values())),
)
SUMMARIES = (
    Summary("Accuracy on the position, by model", KNOWN),
    Summary("More weight on the referent", attention_accuracies),
    Summary("Accuracy by masked noun", BY_MASK),
)
