"""Our own text models as readers."""

from pathlib import Path

import torch
from torch import Tensor

from clearhead.data.text.sentences import QUESTIONS, is_decided_by_its_last_word
from clearhead.data.text.words import MASK, Encoded, WordTokenizer
from clearhead.errors import InputError
from clearhead.explanation.text.reader import Answer, TextReader, TextView
from clearhead.models.build import load
from clearhead.models.text import TextTransformer

MOST_ANSWERS = 3


def open_own_text(source: str | Path) -> TextReader:
    """One that ships ("sentences", "sentences-causal"), a saved folder, or OWNER/NAME."""
    model = load(source, TextTransformer)
    tokenizer = WordTokenizer(model.config.vocabulary)

    def read(text: str) -> TextView:
        encoded = tokenizer.encode(text)
        _check_length(encoded, model)
        ids = torch.tensor([encoded.ids])
        return TextView(
            tokens=encoded.tokens, run=lambda: model(ids), remarks=_remarks(encoded, model)
        )

    return TextReader(
        name=str(source),
        about=_about(model),
        model=model,
        read=read,
        answer=lambda text: answer_of(model, text),
    )


@torch.no_grad()
def answer_of(model: TextTransformer, text: str) -> Answer | None:
    """What the model answers to "which one ?" after the text; None where that makes no sense.

    It has learnt to answer after sentences of one shape, "the … … the … because it was …", of words
    that it knows; and there must be room for the question.
    """
    tokenizer = WordTokenizer(model.config.vocabulary)
    question = QUESTIONS["noun"]
    encoded = tokenizer.encode(f"{text} {question} {MASK} .")
    asked = is_decided_by_its_last_word(text) and encoded.unknown == ()
    if not asked or len(encoded.ids) > model.config.context_length:
        return None
    place = len(encoded.ids) - (3 if model.config.causal else 2)
    logits: Tensor = model(torch.tensor([encoded.ids]))[0, place]
    best = logits.softmax(dim=0).topk(min(MOST_ANSWERS, len(logits)))
    words = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Answer(
        question=question.removesuffix(" the"),
        words=tuple((tokenizer.vocabulary[word], share) for word, share in words),
    )


def _about(model: TextTransformer) -> str:
    config = model.config
    numbers = sum(parameter.numel() for parameter in model.parameters())
    direction = "sees the words before alone" if config.causal else "sees both directions"
    return (
        f"a tiny model: {numbers:,} parameters, {config.depth} layers of {config.num_heads} heads, "
        f"{len(config.vocabulary)} words, {direction}"
    )


def _check_length(encoded: Encoded, model: TextTransformer) -> None:
    longest = model.config.context_length
    if len(encoded.ids) > longest:
        raise InputError(
            f"the text has {len(encoded.ids)} words and signs, this model reads at most {longest}; "
            "give a shorter one"
        )


def _remarks(encoded: Encoded, model: TextTransformer) -> tuple[str, ...]:
    if not encoded.unknown:
        return ()
    words = " and ".join(f"“{word}”" for word in encoded.unknown)
    return (f"this model does not know {words}: it reads [unknown] there",)
