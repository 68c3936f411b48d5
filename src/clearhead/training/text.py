"""Learning from sentences: hidden words, next words, and what a pronoun stands for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clearhead.data import TrainingText, WordTokenizer, training_texts, vocabulary
from clearhead.data.tokenizer import MASK, split_words
from clearhead.errors import ConfigError
from clearhead.training.config import TextTrainConfig
from clearhead.training.distributed import World
from clearhead.training.order import epoch_order, generator_for, steps_per_epoch
from clearhead.training.step import NO_LABEL

PRONOUN = "it"
DECIDING = 2  # words after the pronoun: it was hungry


@dataclass(frozen=True)
class TextData:
    """Texts as tensors: words, where words are, where answers are, what each pronoun stands for.

    `pronoun` is the place of "it". `meant` has two columns, by which the pronoun may be asked for:
    noun and place (where there is a question, the column of its kind twice), or `NO_LABEL` where
    nothing decides.
    """

    ids: Int[Tensor, "texts tokens"]
    padding_mask: Bool[Tensor, "texts tokens"]
    answers: Bool[Tensor, "texts tokens"]
    pronoun: Int[Tensor, " texts"]
    meant: Int[Tensor, "texts 2"]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> "TextData":
        """The same on another device."""
        return TextData(*(tensor.to(device) for tensor in vars(self).values()))


def text_data(config: TextTrainConfig) -> TextData:
    """The texts that `config` trains on, generated with its seed."""
    return encode_texts(training_texts(config.texts, config.seed), fitted(config))


def encode_texts(texts: Sequence[TrainingText], config: TextTrainConfig) -> TextData:
    """Texts as tensors. Raises `ConfigError` if one is longer than the model's context."""
    tokenizer = WordTokenizer(config.model.vocabulary)
    words = [split_words(text.text) for text in texts]
    ids, padding_mask = tokenizer.pad([tokenizer.encode(text.text).ids for text in texts])
    if ids.shape[1] > config.model.context_length:
        raise ConfigError(
            f"context_length ({config.model.context_length}) is too short for the sentences, the "
            f"longest of which has {ids.shape[1]} words"
        )
    meant = [
        [
            tokenizer.token_ids[word]
            for word in (text.pronoun_targets[0], text.pronoun_targets[-1])
        ]  # one or two
        if text.pronoun_targets
        else [NO_LABEL, NO_LABEL]
        for text in texts
    ]
    return TextData(
        ids=ids,
        padding_mask=padding_mask,
        answers=_answers(words, ids),
        pronoun=torch.tensor(
            [text.index(PRONOUN) if PRONOUN in text else 0 for text in words], dtype=torch.int64
        ),
        meant=torch.tensor(meant, dtype=torch.int64),
    )


def fitted(config: TextTrainConfig) -> TextTrainConfig:
    """The settings, with the vocabulary of the sentences where none is given."""
    if config.model.vocabulary:
        return config
    return replace(config, model=replace(config.model, vocabulary=vocabulary()))


@dataclass(frozen=True)
class TextBatches:
    """The batches of a training on texts, each made from (seed, epoch, step) alone."""

    data: TextData
    config: TextTrainConfig
    world: World

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return steps_per_epoch(len(self.data), self.config.batch_size)

    def order(self, epoch: int) -> Int[Tensor, " texts"]:
        """The order of the texts in `epoch`."""
        return epoch_order(self.config.seed, epoch, len(self.data))

    def batch(
        self, step: int, order: Int[Tensor, " texts"]
    ) -> tuple[tuple[Tensor, Tensor], Int[Tensor, "batch tokens"]]:
        """The share of this process in the batch of `step`: words and where they are; labels."""
        start = step % self.per_epoch * self.config.batch_size
        whole = order[start : start + self.config.batch_size]
        share = self.world.part(len(whole))
        mine = whole[share].to(self.world.device)
        ids, padding_mask = self.data.ids[mine], self.data.padding_mask[mine]
        if self.config.model.causal:
            return (ids, padding_mask), next_words(ids, padding_mask)
        generator = generator_for("hidden words", self.config.seed, step)
        tokens = self.data.ids.shape[1]
        lots = torch.rand(3, len(whole), tokens, generator=generator)[:, share]
        inputs, labels = self._hidden(mine, lots.to(self.world.device))
        return (inputs, padding_mask), labels

    def _hidden(self, mine: Tensor, lots: Tensor) -> tuple[Tensor, Tensor]:
        """Some texts are asked: one word of theirs is hidden. In the others, any words are."""
        config, data = self.config, self.data
        ids, answers, decided = data.ids[mine], data.answers[mine], data.meant[mine, 0] != NO_LABEL
        has_answer = answers.any(dim=1)
        asked = (has_answer | decided) & (lots[2, :, 0] < config.asked)
        by_end = asked & has_answer & decided & (lots[2, :, 1] < config.hidden_ends)
        anywhere = (lots[0] < config.hidden) & data.padding_mask[mine]
        hidden = torch.where(asked[:, None], answers, anywhere)
        hidden = torch.where(by_end[:, None], self._ends(mine), hidden)
        inputs = torch.where(hidden, self._mask, ids)
        labels = torch.where(hidden, ids, NO_LABEL)
        return self._with_pronouns(mine, asked & decided & ~by_end, inputs, labels, lots)

    def _with_pronouns(
        self, mine: Tensor, asked: Tensor, inputs: Tensor, labels: Tensor, lots: Tensor
    ) -> tuple[Tensor, Tensor]:
        """At some pronouns the label is what they stand for; half of these are hidden.

        In the words of the question; where there is none, by noun or by place.
        """
        places, meant = self.data.pronoun[mine][:, None], self.data.meant[mine]
        lot, asked_pronouns = lots[1, :, :1], self.config.asked_pronouns
        asked = asked[:, None] & (lot < asked_pronouns)
        shown, label = inputs.gather(1, places), labels.gather(1, places)
        shown = torch.where(asked & (lot < asked_pronouns / 2), self._mask, shown)
        which = (lots[2, :, 2:3] < 0.5).long()
        label = torch.where(asked, meant.gather(1, which), label)
        return inputs.scatter(1, places, shown), labels.scatter(1, places, label)

    def _ends(self, mine: Tensor) -> Tensor:
        """True at the word that decides what the pronoun stands for."""
        tokens = torch.arange(self.data.ids.shape[1], device=mine.device)
        return tokens == self.data.pronoun[mine][:, None] + DECIDING

    @property
    def _mask(self) -> int:
        return self.config.model.vocabulary.index(MASK)


def next_words(
    ids: Int[Tensor, "batch tokens"], padding_mask: Bool[Tensor, "batch tokens"]
) -> Int[Tensor, "batch tokens"]:
    """For each word the one that follows; nothing after the last."""
    labels = torch.full_like(ids, NO_LABEL)
    labels[:, :-1] = torch.where(padding_mask[:, 1:], ids[:, 1:], NO_LABEL)
    return labels


def _answers(words: Sequence[Sequence[str]], ids: Tensor) -> Tensor:
    """True at the first word after a question: "which one ? the" dog."""
    answers = torch.zeros(ids.shape, dtype=torch.bool)
    for row, text in enumerate(words):
        for place in range(len(text) - 2):
            if text[place : place + 2] == ("?", "the"):
                answers[row, place + 2] = True
    return answers
