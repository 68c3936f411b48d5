"""How a text model reads "it": what it attends to there, what is known there, what cuts do.

All sentences have the same shape, so that each word's place is the same in all: only which of the
two nouns is meant differs. They come in fours in which each noun is meant once in each place:
whatever goes by place, by noun or by verb alone is right in half of them.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearhead.data import PronounSentence, WordTokenizer, vocabulary
from clearhead.data.sentences import POSITIONS, Question
from clearhead.data.tokenizer import MASK
from clearhead.models import build
from clearhead.models.config import TextConfig
from clearhead.models.text import TextTransformer
from clearhead.recording import AttentionRecord, capture, intervene
from clearhead.studies.table import Trial
from clearhead.training import TextTrainConfig, fit

FIRST, SECOND, PRONOUN = 1, 4, 6  # the dog chased the ball because it was hungry .
RIDGE = 1.0
TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Sentences as a model is given them: alone, or with a question after each.

    `asked` is the place of the word that is watched: "it", or where the model answers. `right` and
    `other` are the places of the noun that is meant, and of the other one.
    """

    ids: Int[Tensor, "sentences tokens"]
    asked: int
    right: Int[Tensor, " sentences"]
    other: Int[Tensor, " sentences"]

    @property
    def is_first(self) -> Bool[Tensor, " sentences"]:
        """Whether the noun that is meant is the first."""
        return self.right == FIRST


def at_pronoun(model: TextTransformer, about: Sequence[PronounSentence]) -> Reading:
    """The sentences alone, watched at "it"."""
    return _reading(model, about, [one.text for one in about], PRONOUN)


def at_answer(model: TextTransformer, about: Sequence[PronounSentence]) -> Reading:
    """The sentences, each with "first or second ?", watched where the model answers.

    That is the hidden answer itself, and in a causal model the word before it.
    """
    texts = [one.with_question("place", MASK) for one in about]
    place = len(texts[0].split()) - 2 - model.config.causal
    return _reading(model, about, texts, place)


@torch.no_grad()
def noun_weights(
    model: TextTransformer, reading: Reading
) -> tuple[Float[Tensor, "layers heads sentences"], Float[Tensor, "layers heads sentences"]]:
    """What the watched word gives to the noun that is meant, and to the other one."""
    with capture() as seen:
        model(reading.ids)
    rows = torch.stack([x.stages(queries=reading.asked).weights[:, :, 0] for x in seen.records])
    rows = rows.permute(0, 2, 1, 3)  # layers, heads, sentences, keys
    return _at(rows, reading.right), _at(rows, reading.other)


def named(
    right: Float[Tensor, "layers heads sentences"], other: Float[Tensor, "layers heads sentences"]
) -> Float[Tensor, "layers columns"]:
    """How often who follows the larger weight comes to the noun that is meant.

    A column for each head, and a last one for the mean of a layer's heads: heads may share the
    work. Equal weights count one half.
    """
    right, other = (torch.cat([x, x.mean(dim=1, keepdim=True)], dim=1) for x in (right, other))
    return ((right > other).double() + (right == other).double() / 2).mean(dim=2)


@torch.no_grad()
def read_rightly(
    model: TextTransformer,
    reading: Reading,
    asked: Question,
    cut: Int[Tensor, " sentences"] | None = None,
) -> float:
    """How often the watched word has more for the noun that is meant than for the other one.

    By noun or by place. With `cut`, in all layers "it" cannot attend to these places; the rest of
    its weights is made to sum to one again.
    """
    with nullcontext() if cut is None else intervene(_without(cut)):
        logits = model(reading.ids)[:, reading.asked]
    words = torch.tensor([model.config.vocabulary.index(word) for word in POSITIONS])
    pairs = reading.ids[:, [FIRST, SECOND]] if asked == "noun" else words.expand(len(logits), 2)
    first, second = logits.gather(1, pairs).unbind(dim=1)
    return float(((first > second) == reading.is_first).double().mean())


@torch.no_grad()
def certainty(model: TextTransformer, reading: Reading) -> float:
    """What the likelier of "first" and "second" has of both: from one half, undecided, to one."""
    words = [model.config.vocabulary.index(word) for word in POSITIONS]
    shares = model(reading.ids)[:, reading.asked, words].softmax(dim=-1)
    return float(shares.amax(dim=-1).double().mean())


@torch.no_grad()
def states_at(model: TextTransformer, reading: Reading) -> Float[Tensor, "sentences embed_dim"]:
    """The watched word's token after the last block."""
    kept: list[Tensor] = []
    with model.norm.register_forward_pre_hook(lambda _, x: kept.append(x[0][:, reading.asked])):
        model(reading.ids)
    return kept[0].double()


def probe_accuracy(
    seen: tuple[Tensor, Bool[Tensor, " n"]], unseen: tuple[Tensor, Bool[Tensor, " m"]]
) -> float:
    """How well a straight cut through the tokens of one set tells yes from no in another.

    Ridge regression on ± 1.
    """
    (x, yes), (new, expected) = seen, unseen
    mean, ones = x.mean(dim=0), torch.eye(x.shape[1], dtype=x.dtype)
    sign = yes.double() * 2 - 1
    centred = x - mean
    direction = torch.linalg.solve(centred.T @ centred + RIDGE * ones, centred.T @ sign)
    told = (new - mean) @ direction + sign.mean() > 0
    return float((told == expected).double().mean())


def _reading(
    model: TextTransformer, about: Sequence[PronounSentence], texts: Sequence[str], asked: int
) -> Reading:
    tokenizer = WordTokenizer(model.config.vocabulary)
    ids = torch.tensor([tokenizer.encode(text).ids for text in texts])
    right = [SECOND if one.referent == one.object else FIRST for one in about]
    places = torch.tensor(right)
    return Reading(ids=ids, asked=asked, right=places, other=FIRST + SECOND - places)


def _without(cut: Tensor) -> Callable[[AttentionRecord], Tensor]:
    def change(record: AttentionRecord) -> Tensor:
        weights = record.weights.clone()
        weights[torch.arange(len(cut)), :, PRONOUN, cut] = 0.0
        left = weights[:, :, PRONOUN].sum(dim=-1, keepdim=True)
        weights[:, :, PRONOUN] = weights[:, :, PRONOUN] / left.clamp_min(TINY)
        return record.context_from(weights)

    return change


def _at(rows: Tensor, places: Tensor) -> Tensor:
    return rows[:, :, torch.arange(len(places)), places]


BATCH, RATE, RATE_ON = 32, 7e-3, 2.5e-3


def sentence_models(trial: Trial) -> dict[str, TextTransformer]:
    """The causal one first; the two of both directions go on from it."""
    told = trial.settings
    causal = TextConfig(vocabulary=vocabulary(), causal=True)
    both = TextConfig(vocabulary=vocabulary())
    config = TextTrainConfig(
        model=causal,
        texts=told["texts"],
        batch_size=BATCH,
        epochs=told["epochs"],
        learning_rate=RATE,
        seed=trial.seed,
        precision="float32",
        compile=False,
    )
    first = fit(config).result
    on = replace(config, model=both, epochs=told["epochs_on"], learning_rate=RATE_ON)
    return {
        "causal": first,
        "asked at it": fit(on, model=first).result,
        "asked afterwards": fit(replace(on, referent_prob=0.0), model=first).result,
        "untrained": _untrained(both, trial.seed),
        "untrained causal": _untrained(causal, trial.seed),
    }


def _untrained(config: TextConfig, seed: int) -> TextTransformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config).eval()
