"""Learning from sentences: hidden words, next words, and what a pronoun stands for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clearhead.data.sentences import QUESTION, Text, training_texts, vocabulary
from clearhead.data.words import WordTokenizer, split_words
from clearhead.errors import ConfigError
from clearhead.training.config import TextTrainConfig
from clearhead.training.distributed import World
from clearhead.training.order import epoch_order, generator_for, steps_per_epoch
from clearhead.training.step import NO_LABEL

PRONOUN = "it"


@dataclass(frozen=True)
class TextData:
    """Texts as tensors: words, where words are, where answers are, what each pronoun stands for.

    `meant` has two columns, noun and colour (the noun again where no colour is told), or `NO_LABEL`
    where nothing decides; `pronoun` is the place of "it".
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


def encode_texts(texts: Sequence[Text], config: TextTrainConfig) -> TextData:
    """Texts as tensors. Raises `ConfigError` if one is longer than the model's context."""
    tokenizer = WordTokenizer(config.model.vocabulary)
    words = [split_words(text.words) for text in texts]
    ids, padding_mask = tokenizer.pad([tokenizer.encode(text.words).ids for text in texts])
    if ids.shape[1] > config.model.context_length:
        raise ConfigError(
            f"context_length ({config.model.context_length}) is too short for the sentences, the "
            f"longest of which has {ids.shape[1]} words"
        )
    meant = [
        [tokenizer.place_of[word] for word in (text.meant[0], text.meant[-1])]
        if text.meant
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
    from dataclasses import replace

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
        lots = torch.rand(3, len(whole), ids.shape[1], generator=generator)[:, share]
        inputs, labels = self._hidden(mine, lots.to(self.world.device))
        return (inputs, padding_mask), labels

    def _hidden(self, mine: Tensor, lots: Tensor) -> tuple[Tensor, Tensor]:
        config, data = self.config, self.data
        ids, mask = data.ids[mine], config.model.vocabulary.index("[mask]")
        share = torch.where(data.answers[mine], config.hidden_answers, config.hidden)
        hidden = (lots[0] < share) & data.padding_mask[mine]
        inputs = torch.where(hidden, mask, ids)
        labels = torch.where(hidden, ids, NO_LABEL)
        return self._with_pronouns(mine, inputs, labels, lots)

    def _with_pronouns(
        self, mine: Tensor, inputs: Tensor, labels: Tensor, lots: Tensor
    ) -> tuple[Tensor, Tensor]:
        """At some pronouns the label is what is meant; half of these pronouns are hidden."""
        places = self.data.pronoun[mine][:, None]
        lot, which = (part.gather(1, places) for part in lots[1:])
        meant = self.data.meant[mine].gather(1, (which < 0.5).long())
        asked = (lot < self.config.asked_pronouns) & (meant != NO_LABEL)
        shown = self.data.ids[mine].gather(1, places)
        mask = self.config.model.vocabulary.index("[mask]")
        shown = torch.where(lot < self.config.asked_pronouns / 2, mask, shown)
        inputs = inputs.scatter(1, places, torch.where(asked, shown, inputs.gather(1, places)))
        labels = labels.scatter(1, places, torch.where(asked, meant, labels.gather(1, places)))
        return inputs, labels


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
    question = split_words(QUESTION)[-2:]
    for row, text in enumerate(words):
        for place in range(len(text) - 2):
            if text[place : place + 2] == question:
                answers[row, place + 2] = True
    return answers
