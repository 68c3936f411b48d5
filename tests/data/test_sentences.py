"""Neither position nor frequency in the corpus predicts the referent of a pronoun."""

from collections import Counter
from dataclasses import replace

import pytest

from clearhead.data import (
    TrainingText,
    WordTokenizer,
    counterbalanced_set,
    pronoun_sentences,
    training_texts,
    vocabulary,
)
from clearhead.data.sentences import (
    AMBIGUOUS_QUALITIES,
    KINDS,
    POSITIONS,
    NounSplit,
    matches_pronoun_template,
    noun_pairs,
)
from clearhead.data.tokenizer import SPECIAL_TOKENS, split_words

KIND_OF = {noun: name for name, kind in KINDS.items() for noun in (*kind.nouns, *kind.unseen_nouns)}
FITS = {quality: name for name, kind in KINDS.items() for quality in kind.qualities}
UNSEEN = {noun for kind in KINDS.values() for noun in kind.unseen_nouns}


def clauses(text: TrainingText) -> tuple[str, str, str, str] | None:
    """Subject, verb, object and quality of the sentence with "it", from the words alone."""
    words = split_words(text.text)
    if "it" not in words:
        return None
    at = words.index("it")
    assert words[at - 1 : at + 2] == ("because", "it", "was")
    assert words[at - 6] == words[at - 3] == "the"
    return words[at - 5], words[at - 4], words[at - 2], words[at + 2]


def answer_of(text: TrainingText) -> str | None:
    words = split_words(text.text)
    return words[words.index("?") + 2] if "?" in words else None


@pytest.fixture(scope="module")
def texts() -> tuple[TrainingText, ...]:
    return training_texts(6000, seed=3)


def test_the_same_seed_gives_the_same_texts() -> None:
    assert training_texts(50, 7) == training_texts(50, 7)
    assert training_texts(50, 7) == training_texts(80, 7)[:50]
    assert training_texts(50, 7) != training_texts(50, 8)
    assert pronoun_sentences("unseen", 5, 7) == pronoun_sentences("unseen", 5, 7)
    assert pronoun_sentences("unseen", 5, 7) != pronoun_sentences("unseen", 5, 8)


def test_every_word_is_in_the_vocabulary(texts: tuple[TrainingText, ...]) -> None:
    words = vocabulary()
    assert words[:3] == SPECIAL_TOKENS
    assert len(set(words)) == len(words)
    tokenizer, used = WordTokenizer(words), set()
    for text in texts:
        encoded = tokenizer.encode(text.text)
        assert encoded.unknown == ()
        used |= set(encoded.tokens)
    assert set(words) - used == set(SPECIAL_TOKENS)


def test_the_referent_is_the_noun_whose_kind_the_quality_fits(
    texts: tuple[TrainingText, ...],
) -> None:
    decided = 0
    for text in texts:
        found = clauses(text)
        if found is None:
            assert text.pronoun_targets == ()
            continue
        subject, _, thing, quality = found
        assert KIND_OF[subject] != KIND_OF[thing]
        if quality in AMBIGUOUS_QUALITIES:
            continue
        decided += 1
        referent = subject if KIND_OF[subject] == FITS[quality] else thing
        assert KIND_OF[referent] == FITS[quality]
        place = POSITIONS[referent == thing]
        answer = answer_of(text)
        expected = {None: (referent, place), referent: (referent,), place: (place,)}
        assert text.pronoun_targets == expected[answer]
    assert decided > 3000


@pytest.mark.parametrize("split", ["seen", "unseen", "unseen nouns"])
def test_sets_are_counterbalanced(split: NounSplit) -> None:
    """In each set, each noun is the referent in each position once."""
    items = pronoun_sentences(split, 40, seed=1)
    assert len(items) == 160
    for start in range(0, 160, 4):
        four = items[start : start + 4]
        nouns = sorted({one.subject for one in four} | {one.object for one in four})
        assert len(nouns) == 2
        assert len({one.verb for one in four}) == 1
        seen = Counter((one.answer(str(one.referent), "place"), one.referent) for one in four)
        assert seen == {(place, noun): 1 for place in POSITIONS for noun in nouns}
        for one in four:
            assert one.referent != one.distractor
            assert {one.referent, one.distractor} == {one.subject, one.object}
            assert KIND_OF[str(one.referent)] == FITS[one.quality]


def test_neither_position_nor_noun_nor_verb_predicts_the_answer(
    texts: tuple[TrainingText, ...],
) -> None:
    """Texts come in whole sets, so counts are equal but for a last, incomplete set."""
    places: Counter[str] = Counter()
    by_verb: Counter[tuple[str, str]] = Counter()
    nouns: Counter[tuple[str, bool]] = Counter()
    for text in texts:
        found = clauses(text)
        if found is None or found[3] in AMBIGUOUS_QUALITIES:
            continue
        subject, verb, thing, quality = found
        referent = subject if KIND_OF[subject] == FITS[quality] else thing
        places[POSITIONS[referent == thing]] += 1
        by_verb[verb, POSITIONS[referent == thing]] += 1
        nouns[referent, True] += 1
        nouns[thing if referent == subject else subject, False] += 1
    assert abs(places["first"] - places["second"]) <= 2
    for verb, _ in by_verb:
        assert abs(by_verb[verb, "first"] - by_verb[verb, "second"]) <= 2
    for noun, _ in nouns:
        assert abs(nouns[noun, True] - nouns[noun, False]) <= 2


def test_an_ambiguous_quality_has_both_answers_equally_often(
    texts: tuple[TrainingText, ...],
) -> None:
    answers: Counter[str] = Counter()
    for text in texts:
        found, answer = clauses(text), answer_of(text)
        if found is None or found[3] not in AMBIGUOUS_QUALITIES:
            continue
        if answer is None:
            assert text.pronoun_targets == ()
        else:
            answers[POSITIONS[answer == found[2]] if answer not in POSITIONS else answer] += 1
    assert min(answers.values()) > 50
    assert abs(answers["first"] - answers["second"]) <= 2


def test_unseen_nouns_and_pairs_never_occur_with_a_pronoun(texts: tuple[TrainingText, ...]) -> None:
    left_out = {frozenset(pair) for pair in noun_pairs("unseen")}
    elsewhere: Counter[str] = Counter()
    for text in texts:
        found = clauses(text)
        if found is None:
            elsewhere.update(UNSEEN & set(split_words(text.text)))
            continue
        assert frozenset((found[0], found[2])) not in left_out
        if not UNSEEN.isdisjoint(split_words(text.text)):  # only in the sentence before
            assert UNSEEN.isdisjoint((found[0], found[2]))
    assert set(elsewhere) == UNSEEN
    assert min(elsewhere.values()) > 10


def test_splits_are_disjoint_and_each_noun_lacks_the_same_number_of_partners() -> None:
    seen, unseen = set(noun_pairs("seen")), set(noun_pairs("unseen"))
    new = set(noun_pairs("unseen nouns"))
    assert (len(seen), len(unseen), len(new)) == (6 * 48, 6 * 16, 6 * 4)
    assert not seen & unseen
    assert {noun for pair in new for noun in pair} == UNSEEN
    partners = Counter(noun for pair in unseen for noun in pair)
    assert set(partners.values()) == {6}  # two of each other kind
    assert set(Counter(noun for pair in seen for noun in pair).values()) == {18}


def test_a_counterbalanced_set_has_four_sentences() -> None:
    four = counterbalanced_set("dog", "ball", "chased", ("hungry", "round"))
    assert [one.text for one in four] == [
        "the dog chased the ball because it was hungry .",
        "the dog chased the ball because it was round .",
        "the ball chased the dog because it was hungry .",
        "the ball chased the dog because it was round .",
    ]
    assert [one.referent for one in four] == ["dog", "ball", "dog", "ball"]
    assert [one.answer(str(one.referent), "place") for one in four] == [
        *("first", "second"),
        *("second", "first"),
    ]
    assert four[0].swapped.distractor == "ball"
    assert replace(four[0], referent=None).distractor is None
    assert four[0].with_question("noun", "dog").endswith("hungry . which one ? the dog .")
    assert (
        four[0].with_question("place", "first").endswith("hungry . first or second ? the first .")
    )


def test_kinds_share_no_word() -> None:
    words = [
        word
        for kind in KINDS.values()
        for word in (*kind.nouns, *kind.unseen_nouns, *kind.qualities)
    ]
    assert len(set(words)) == len(words)
    assert not set(AMBIGUOUS_QUALITIES) & set(words)


def test_the_template_matches_sentences_of_any_words() -> None:
    assert all(matches_pronoun_template(one.text) for one in pronoun_sentences("seen", 20, 0))
    assert not matches_pronoun_template("The zebra chased the ball, because it was hungry.")
    assert matches_pronoun_template("The zebra chased the ball because it was hungry.")
    for other in (
        "The cat sat.",
        "",
        "The dog chased a ball because it was round.",
        "The cat sat. The dog sat because it was tired.",
    ):
        assert not matches_pronoun_template(other)
