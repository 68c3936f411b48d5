"""The corpus gives nothing away: neither place nor frequency says what a pronoun stands for."""

from collections import Counter

import pytest

from clearhead.data.text.lexicon import KINDS, OPEN_QUALITIES
from clearhead.data.text.sentences import (
    PLACES,
    PronounSentence,
    Text,
    four_of,
    is_decided_by_its_last_word,
    noun_pairs,
    sentences,
    training_texts,
    vocabulary,
)
from clearhead.data.text.words import SPECIAL, WordTokenizer, split_words

KIND_OF = {noun: name for name, kind in KINDS.items() for noun in (*kind.nouns, *kind.unseen_nouns)}
FITS = {quality: name for name, kind in KINDS.items() for quality in kind.qualities}
NOT_VISIBLE = {noun for kind in KINDS.values() for noun in kind.unseen_nouns}


def clauses(text: Text) -> tuple[str, str, str, str] | None:
    """Subject, verb, object and quality of the sentence with "it", read from the words alone."""
    words = split_words(text.words)
    if "it" not in words:
        return None
    at = words.index("it")
    assert words[at - 1 : at + 2] == ("because", "it", "was")
    assert words[at - 6] == words[at - 3] == "the"
    return words[at - 5], words[at - 4], words[at - 2], words[at + 2]


def answer_of(text: Text) -> str | None:
    words = split_words(text.words)
    return words[words.index("?") + 2] if "?" in words else None


@pytest.fixture(scope="module")
def texts() -> tuple[Text, ...]:
    return training_texts(6000, seed=3)


def test_the_same_seed_gives_the_same_texts() -> None:
    assert training_texts(50, 7) == training_texts(50, 7)
    assert training_texts(50, 7) == training_texts(80, 7)[:50]
    assert training_texts(50, 7) != training_texts(50, 8)
    assert sentences("unseen", 5, 7) == sentences("unseen", 5, 7)
    assert sentences("unseen", 5, 7) != sentences("unseen", 5, 8)


def test_every_word_is_in_the_vocabulary(texts: tuple[Text, ...]) -> None:
    words = vocabulary()
    assert words[:3] == SPECIAL
    assert len(set(words)) == len(words)
    tokenizer, used = WordTokenizer(words), set()
    for text in texts:
        encoded = tokenizer.encode(text.words)
        assert encoded.unknown == ()
        used |= set(encoded.tokens)
    assert set(words) - used == set(SPECIAL)


def test_what_is_meant_is_the_noun_whose_kind_the_quality_fits(texts: tuple[Text, ...]) -> None:
    decided = 0
    for text in texts:
        found = clauses(text)
        if found is None:
            assert text.meant == ()
            continue
        subject, _, thing, quality = found
        assert KIND_OF[subject] != KIND_OF[thing]
        if quality in OPEN_QUALITIES:
            continue
        decided += 1
        meant = subject if KIND_OF[subject] == FITS[quality] else thing
        assert KIND_OF[meant] == FITS[quality]
        place = PLACES[meant == thing]
        answer = answer_of(text)
        expected = {None: (meant, place), meant: (meant,), place: (place,)}
        assert text.meant == expected[answer]
    assert decided > 3000


@pytest.mark.parametrize("pairs", ["seen", "unseen", "unseen nouns"])
def test_fours_are_balanced_in_every_way(pairs: str) -> None:
    """For each four: each noun twice subject, twice object, twice meant, in each place once."""
    asked = sentences(pairs, 40, seed=1)  # type: ignore[arg-type]
    assert len(asked) == 160
    for start in range(0, 160, 4):
        four = asked[start : start + 4]
        nouns = sorted({one.subject for one in four} | {one.object for one in four})
        assert len(nouns) == 2
        assert len({one.verb for one in four}) == 1
        seen = Counter((one.called(str(one.referent), "place"), one.referent) for one in four)
        assert seen == {(place, noun): 1 for place in PLACES for noun in nouns}
        for one in four:
            assert one.referent != one.other
            assert {one.referent, one.other} == {one.subject, one.object}
            assert KIND_OF[str(one.referent)] == FITS[one.quality]


def test_neither_place_nor_noun_nor_verb_tells_the_answer(texts: tuple[Text, ...]) -> None:
    """Texts come in whole fours, so every count is exactly even but for the last, cut one."""
    places: Counter[str] = Counter()
    by_verb: Counter[tuple[str, str]] = Counter()
    nouns: Counter[tuple[str, bool]] = Counter()
    for text in texts:
        found = clauses(text)
        if found is None or found[3] in OPEN_QUALITIES:
            continue
        subject, verb, thing, quality = found
        meant = subject if KIND_OF[subject] == FITS[quality] else thing
        places[PLACES[meant == thing]] += 1
        by_verb[verb, PLACES[meant == thing]] += 1
        nouns[meant, True] += 1
        nouns[thing if meant == subject else subject, False] += 1
    assert abs(places["first"] - places["second"]) <= 2
    for verb, _ in by_verb:
        assert abs(by_verb[verb, "first"] - by_verb[verb, "second"]) <= 2
    for noun, _ in nouns:
        assert abs(nouns[noun, True] - nouns[noun, False]) <= 2


def test_a_quality_that_fits_both_has_both_answers_equally(texts: tuple[Text, ...]) -> None:
    answers: Counter[str] = Counter()
    for text in texts:
        found, answer = clauses(text), answer_of(text)
        if found is None or found[3] not in OPEN_QUALITIES:
            continue
        if answer is None:
            assert text.meant == ()
        else:
            answers[PLACES[answer == found[2]] if answer not in PLACES else answer] += 1
    assert min(answers.values()) > 50
    assert abs(answers["first"] - answers["second"]) <= 2


def test_unseen_nouns_and_pairs_never_meet_a_pronoun(texts: tuple[Text, ...]) -> None:
    left_out = {frozenset(pair) for pair in noun_pairs("unseen")}
    elsewhere: Counter[str] = Counter()
    for text in texts:
        found = clauses(text)
        if found is None:
            elsewhere.update(NOT_VISIBLE & set(split_words(text.words)))
            continue
        assert frozenset((found[0], found[2])) not in left_out
        if not NOT_VISIBLE.isdisjoint(split_words(text.words)):  # in the sentence before, at most
            assert NOT_VISIBLE.isdisjoint((found[0], found[2]))
    assert set(elsewhere) == NOT_VISIBLE
    assert min(elsewhere.values()) > 10


def test_pairs_are_apart_and_each_noun_misses_as_many_partners() -> None:
    seen, unseen = set(noun_pairs("seen")), set(noun_pairs("unseen"))
    new = set(noun_pairs("unseen nouns"))
    assert (len(seen), len(unseen), len(new)) == (6 * 48, 6 * 16, 6 * 4)
    assert not seen & unseen
    assert {noun for pair in new for noun in pair} == NOT_VISIBLE
    partners = Counter(noun for pair in unseen for noun in pair)
    assert set(partners.values()) == {6}  # two of each other kind
    assert set(Counter(noun for pair in seen for noun in pair).values()) == {18}


def test_a_four_reads_as_in_a_book() -> None:
    four = four_of("dog", "ball", "chased", ("hungry", "round"))
    assert [one.sentence for one in four] == [
        "the dog chased the ball because it was hungry .",
        "the dog chased the ball because it was round .",
        "the ball chased the dog because it was hungry .",
        "the ball chased the dog because it was round .",
    ]
    assert [one.referent for one in four] == ["dog", "ball", "dog", "ball"]
    assert [one.called(str(one.referent), "place") for one in four] == [
        *("first", "second"),
        *("second", "first"),
    ]
    assert four[0].told("noun", "dog").endswith("hungry . which one ? the dog .")
    assert four[0].told("place", "first").endswith("hungry . first or second ? the first .")


def test_nothing_decides_an_open_quality() -> None:
    one = PronounSentence(subject="dog", verb="hit", object="ball", quality="old", referent=None)
    assert one.other is None


def test_kinds_share_no_word() -> None:
    words = [
        word
        for kind in KINDS.values()
        for word in (*kind.nouns, *kind.unseen_nouns, *kind.qualities)
    ]
    assert len(set(words)) == len(words)
    assert not set(OPEN_QUALITIES) & set(words)


def test_the_shape_of_a_sentence_is_seen_whatever_its_words() -> None:
    assert all(is_decided_by_its_last_word(one.sentence) for one in sentences("seen", 20, 0))
    assert not is_decided_by_its_last_word("The zebra chased the ball, because it was hungry.")
    assert is_decided_by_its_last_word("The zebra chased the ball because it was hungry.")
    for other in (
        "The cat sat.",
        "",
        "The dog chased a ball because it was round.",
        "The cat sat. The dog sat because it was tired.",
    ):
        assert not is_decided_by_its_last_word(other)
