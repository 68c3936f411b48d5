"""Texts as training data: masked words, next words, and the referents of pronouns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clearhead.data import TrainingText, WordTokenizer, training_texts, vocabulary
from clearhead.data.tokenizer import MASK
from clearhead.errors import ConfigError
from clearhead.training.batches import NO_LABEL, Batch, generator_for
from clearhead.training.config import TextTrainConfig
from clearhead.training.distributed import World

CUE_OFFSET = 2  # words from the pronoun to the cue: it was hungry


@dataclass(frozen=True)
class TextData:
    """Texts as tensors.

    Attributes:
        ids: Ids of words, padded.
        padding_mask: True at words, False at padding.
        answers: True at the answer to a question ("which one ? the dog").
        pronoun: Position of "it" in each text, 0 without one.
        referents: Id of the pronoun's referent, by noun and by position ("dog", "first"); in a text
            with a question, twice as the question asks; `NO_LABEL` where it is undecided.
    """

    ids: Int[Tensor, "texts tokens"]
    padding_mask: Bool[Tensor, "texts tokens"]
    answers: Bool[Tensor, "texts tokens"]
    pronoun: Int[Tensor, " texts"]
    referents: Int[Tensor, "texts 2"]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> "TextData":
        """The same on another device."""
        return TextData(*(tensor.to(device) for tensor in vars(self).values()))


def generate_texts(config: TextTrainConfig) -> TextData:
    """The texts that a training run generates with its seed."""
    return encode_texts(training_texts(config.texts, config.seed), config_with_vocabulary(config))


def encode_texts(texts: Sequence[TrainingText], config: TextTrainConfig) -> TextData:
    """Texts as tensors. Raises `ConfigError` if one is longer than the model's context."""
    tokenizer = WordTokenizer(config.model.vocabulary)
    ids, padding_mask = tokenizer.pad([tokenizer.encode(text.text).ids for text in texts])
    if ids.shape[1] > config.model.context_length:
        raise ConfigError(
            f"context_length ({config.model.context_length}) is too short for the sentences, the "
            f"longest of which has {ids.shape[1]} words"
        )
    referents = [
        [tokenizer.token_ids[word] for word in (targets[0], targets[-1])]  # one or two
        if (targets := text.pronoun_targets)
        else [NO_LABEL, NO_LABEL]
        for text in texts
    ]
    question, article, pronoun = (tokenizer.token_ids.get(word, -1) for word in ("?", "the", "it"))
    answers = torch.zeros_like(padding_mask)  # "which one ? the dog"
    answers[:, 2:] = (ids[:, :-2] == question) & (ids[:, 1:-1] == article) & padding_mask[:, 2:]
    return TextData(
        ids=ids,
        padding_mask=padding_mask,
        answers=answers,
        pronoun=(ids == pronoun).int().argmax(dim=1),
        referents=torch.tensor(referents, dtype=torch.int64),
    )


def config_with_vocabulary(config: TextTrainConfig) -> TextTrainConfig:
    """The settings, with the vocabulary of the sentences if it is empty."""
    if config.model.vocabulary:
        return config
    return replace(config, model=replace(config.model, vocabulary=vocabulary()))


@dataclass(frozen=True)
class TextBatches:
    """The batches of a training run on texts, which the processes of `world` share."""

    data: TextData
    config: TextTrainConfig
    world: World

    def batch(self, step: int, rows: Int[Tensor, " texts"]) -> Batch:
        """This process's part of a step on the texts at `rows`: ids and padding mask."""
        part = self.world.part(len(rows))
        mine = rows[part].to(self.world.device)
        ids, padding_mask = self.data.ids[mine], self.data.padding_mask[mine]
        if self.config.model.causal:
            return Batch((ids, padding_mask), next_words(ids, padding_mask))
        # the generator's name is part of the seed: another one would change every training
        generator = generator_for("hidden words", self.config.seed, step)
        tokens = self.data.ids.shape[1]
        random = torch.rand(3, len(rows), tokens, generator=generator)[:, part]
        inputs, labels = self._masked(mine, random.to(self.world.device))
        return Batch((inputs, padding_mask), labels)

    def _masked(self, indices: Tensor, random: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs with masked words, and labels there: one word in texts with a cloze, else any."""
        config, data = self.config, self.data
        ids, answers = data.ids[indices], data.answers[indices]
        decided = data.referents[indices, 0] != NO_LABEL
        has_answer = answers.any(dim=1)
        cloze = (has_answer | decided) & (random[2, :, 0] < config.cloze_prob)
        of_cue = cloze & has_answer & decided & (random[2, :, 1] < config.cue_prob)
        anywhere = (random[0] < config.mask_prob) & data.padding_mask[indices]
        masked = torch.where(cloze[:, None], answers, anywhere)
        places = torch.arange(ids.shape[1], device=ids.device)
        cues = places == data.pronoun[indices][:, None] + CUE_OFFSET
        masked = torch.where(of_cue[:, None], cues, masked)
        inputs = torch.where(masked, self._mask_id, ids)
        labels = torch.where(masked, ids, NO_LABEL)
        return self._with_referents(indices, cloze & decided & ~of_cue, inputs, labels, random)

    def _with_referents(
        self, indices: Tensor, cloze: Tensor, inputs: Tensor, labels: Tensor, random: Tensor
    ) -> tuple[Tensor, Tensor]:
        """At some pronouns the label is the referent, by noun or by position; half are masked."""
        positions, referents = self.data.pronoun[indices][:, None], self.data.referents[indices]
        draw, probability = random[1, :, :1], self.config.referent_prob
        labelled = cloze[:, None] & (draw < probability)
        words, label = inputs.gather(1, positions), labels.gather(1, positions)
        words = torch.where(labelled & (draw < probability / 2), self._mask_id, words)
        column = (random[2, :, 2:3] < 0.5).long()
        label = torch.where(labelled, referents.gather(1, column), label)
        return inputs.scatter(1, positions, words), labels.scatter(1, positions, label)

    @property
    def _mask_id(self) -> int:
        return self.config.model.vocabulary.index(MASK)


def next_words(
    ids: Int[Tensor, "batch tokens"], padding_mask: Bool[Tensor, "batch tokens"]
) -> Int[Tensor, "batch tokens"]:
    """The label of each word is the word after it, or `NO_LABEL` after the last."""
    labels = torch.full_like(ids, NO_LABEL)
    labels[:, :-1] = torch.where(padding_mask[:, 1:], ids[:, 1:], NO_LABEL)
    return labels
