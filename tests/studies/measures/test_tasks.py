"""Both tasks: answers by independent counts and look-ups, balance, no shortcut and no leak."""

from collections import Counter
from itertools import product

import pytest
import torch

from clearhead.data import ImageDataset, Split
from clearhead.errors import ConfigError
from clearhead.models import TextTransformer, build
from clearhead.studies.measures import tasks
from clearhead.studies.measures.tasks import (
    FIRST_QUERY,
    NUM_PAIRS,
    NUM_WORDS,
    RECALL_MODEL,
    VOCABULARY,
    CommonDigits,
    common_digits,
    recall_accuracy,
    recall_texts,
)

pytestmark = pytest.mark.usefixtures("mnist_test")
COUNT = 500


@pytest.fixture(scope="module")
def made() -> CommonDigits:
    return common_digits("test", COUNT, 3)


def halves(made: CommonDigits, image: int) -> list[Counter[int]]:
    """The classes of each half, found by where the digits are."""
    found: list[Counter[int]] = [Counter(), Counter()]
    for label, place in zip(
        made.classes[image].flatten().tolist(), made.places[image].flatten().tolist(), strict=True
    ):
        found[place // 8][label] += 1
    return found


def test_the_label_is_the_only_class_that_both_halves_have(made: CommonDigits) -> None:
    for image, label in enumerate(made.dataset.labels.tolist()):
        upper, lower = halves(made, image)
        assert set(upper) & set(lower) == {label}
        assert sorted(upper.values()) == sorted(lower.values()) == [1, 2]
        assert len(upper | lower) == 3


def test_digits_are_in_their_patches_and_nothing_else_is(made: CommonDigits) -> None:
    patches = made.dataset.images[:, 0].unfold(1, 7, 7).unfold(2, 7, 7).flatten(1, 2).flatten(2)
    inked = (patches > 0).any(dim=2)
    expected = torch.zeros_like(inked).scatter(1, made.places.flatten(1), value=True)
    assert torch.equal(inked, expected)
    assert (expected.sum(dim=1) == 6).all()


def test_classes_are_equally_frequent_and_digits_are_everywhere(made: CommonDigits) -> None:
    assert made.dataset.class_counts == (COUNT // 10,) * 10
    by_place = torch.bincount(made.places.flatten(), minlength=16) / (COUNT * 6 / 16)
    assert by_place.min() > 0.75
    assert by_place.max() < 1.25
    every = torch.bincount(made.classes.flatten(), minlength=10) / (COUNT * 6 / 10)
    assert every.min() > 0.85
    assert every.max() < 1.15


def test_no_weighting_of_counts_in_the_halves_beats_the_floor(made: CommonDigits) -> None:
    """The class with the largest weighted count; among equals the label has its share."""
    counts = torch.zeros(2, COUNT, 10)
    for half in range(2):
        counts[half].scatter_add_(1, made.classes[:, half], torch.ones(COUNT, 3))
    for upper, lower in product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=2):
        scores = upper * counts[0] + lower * counts[1]
        best = scores == scores.amax(dim=1, keepdim=True)
        right = best.gather(1, made.dataset.labels[:, None])[:, 0] / best.sum(dim=1)
        assert right.mean() <= 1 / 3 + 1e-6, (upper, lower)


def test_images_depend_on_the_seed_and_the_split_alone() -> None:
    one, again, other = (common_digits("test", 20, seed) for seed in (5, 5, 6))
    assert torch.equal(one.dataset.images, again.dataset.images)
    assert torch.equal(one.dataset.labels, again.dataset.labels)
    assert not torch.equal(one.dataset.images, other.dataset.images)


@pytest.mark.parametrize("split", ["train", "test"])
def test_digits_come_from_their_own_split_and_class(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digits that are squares, whose brightness is their class in one split alone."""
    brightness = {"train": 70, "test": 120}

    def squares(name: Split) -> ImageDataset:
        labels = torch.arange(50) % 10
        images = torch.zeros(50, 1, 28, 28, dtype=torch.uint8)
        images[:, :, 3:25, 3:25] = (brightness[name] + 4 * labels)[:, None, None, None]
        return ImageDataset(name, images, labels, tuple("0123456789"))

    monkeypatch.setattr(tasks, "whole_dataset", squares)
    made = common_digits(split, 10, 0)
    patches = made.dataset.images[:, 0].unfold(1, 7, 7).unfold(2, 7, 7).flatten(1, 2)
    middles = patches[:, :, 3, 3].gather(1, made.places.flatten(1))
    expected = (1.5 * (brightness[split] + 4 * made.classes.flatten(1))).int()
    assert torch.equal(middles.int(), expected)


def test_counts_that_cannot_be_balanced_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 10"):
        common_digits("test", 25, 0)


def test_a_digit_is_cropped_around_its_ink_and_averaged() -> None:
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 6:26, 10:16] = 200  # 20 rows and 6 columns
    (cropped,) = tasks._cropped(image)
    rows, columns = (cropped > 0).any(1).nonzero()[:, 0], (cropped > 0).any(0).nonzero()[:, 0]
    assert (len(rows), len(columns)) == (20, 6)
    assert abs(int(rows[0]) - (20 - int(rows[-1]))) <= 1
    assert abs(int(columns[0]) - (20 - int(columns[-1]))) <= 1
    small = tasks._small(cropped[None, None])
    assert small.shape == (1, 1, 7, 7)
    assert int(small.max()) == 255


def test_answers_are_the_values_that_follow_the_keys_in_the_text() -> None:
    texts = recall_texts("test", COUNT, 3)
    for ids, answers, pairs in zip(
        texts.ids.tolist(), texts.answers.tolist(), texts.pairs.tolist(), strict=True
    ):
        words = [VOCABULARY[x] for x in ids]
        values = dict(zip(words[:FIRST_QUERY:2], words[1:FIRST_QUERY:2], strict=True))
        assert len(values) == len(set(values.values())) == NUM_PAIRS
        assert {word[0] for word in values} == {"k"}
        assert {word[0] for word in values.values()} == {"v"}
        assert [values[word] for word in words[FIRST_QUERY:]] == [VOCABULARY[x] for x in answers]
        assert [ids[2 * pair + 1] for pair in pairs] == answers


def test_neither_position_nor_frequency_predicts_an_answer() -> None:
    texts = recall_texts("test", 4_000, 3)
    for query in range(texts.pairs.shape[1]):
        position = torch.bincount(texts.pairs[:, query], minlength=NUM_PAIRS) / 4_000
        assert (position - 1 / NUM_PAIRS).abs().max() < 0.03
    word = torch.bincount(texts.answers.flatten() - NUM_WORDS, minlength=NUM_WORDS)
    assert (word / word.sum() - 1 / NUM_WORDS).abs().max() < 0.01
    key = texts.ids[:, FIRST_QUERY]
    same_key = texts.answers[key == key[0], 0]  # the values of one key are as varied
    assert torch.bincount(same_key).max() / len(same_key) < 0.2


def test_texts_depend_on_the_seed_and_the_split() -> None:
    one, again = (recall_texts("train", COUNT, 7) for _ in range(2))
    assert torch.equal(one.ids, again.ids)
    for other in (recall_texts("train", COUNT, 8), recall_texts("test", COUNT, 7)):
        assert not torch.equal(one.ids, other.ids)
    test = {tuple(x) for x in recall_texts("test", COUNT, 7).ids.tolist()}
    assert not test & {tuple(x) for x in one.ids.tolist()}


def test_accuracy_is_that_of_the_largest_logit_at_the_queries() -> None:
    texts = recall_texts("test", 20, 1)
    torch.manual_seed(0)
    model: TextTransformer = build(RECALL_MODEL).eval()
    logits = torch.zeros(20, texts.ids.shape[1], len(VOCABULARY))
    logits[:, FIRST_QUERY:].scatter_(2, texts.answers[:, :, None], 1.0)
    logits[0, FIRST_QUERY:] = -logits[0, FIRST_QUERY:]
    model.head.register_forward_hook(lambda *_: logits)
    assert recall_accuracy(model, texts) == 95.0
