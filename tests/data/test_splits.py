import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearhead.data.images import ImageDataset
from clearhead.data.splits import split, split_indices
from clearhead.errors import ConfigError

LABELS = [0] * 31 + [1] * 7 + [2] * 1 + [0] * 2


def dataset() -> ImageDataset:
    images = torch.arange(len(LABELS), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 3)
    return ImageDataset("test", images, torch.tensor(LABELS), ("a", "b", "c"))


def test_a_split_is_the_same_on_every_machine() -> None:
    kept, held_out = split_indices([0] * 7 + [1] * 11, fraction=0.3, seed=5)
    assert held_out.tolist() == [1, 6, 7, 9, 13]
    assert sorted(kept.tolist() + held_out.tolist()) == list(range(18))


def test_images_and_labels_stay_together_and_none_is_lost_or_doubled() -> None:
    train, validation = split(dataset(), fraction=0.25, seed=3)
    places = [*train.images[:, 0, 0, 0].tolist(), *validation.images[:, 0, 0, 0].tolist()]
    assert sorted(places) == list(range(41))
    for part in (train, validation):
        assert [LABELS[place] for place in part.images[:, 0, 1, 2].tolist()] == part.labels.tolist()
        assert (part.name, part.class_names) == ("test", ("a", "b", "c"))


def test_each_class_gives_its_share_and_a_single_example_stays() -> None:
    train, validation = split(dataset(), fraction=0.25, seed=3)
    assert validation.counts == (8, 2, 0)
    assert train.counts == (25, 5, 1)
    _, validation = split(dataset(), fraction=0.01)
    assert validation.counts == (1, 1, 0)
    train, _ = split(dataset(), fraction=0.99)
    assert train.counts == (1, 1, 1)


def test_another_seed_gives_another_split_and_the_same_seed_the_same() -> None:
    first, again, other = (split_indices(LABELS, 0.3, seed)[1].tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=47), st.floats(0.01, 0.99), st.integers())
def test_a_split_is_a_partition_for_any_labels(
    labels: list[int], fraction: float, seed: int
) -> None:
    kept, held_out = (part.tolist() for part in split_indices(labels, fraction, seed))
    assert sorted(kept + held_out) == list(range(len(labels)))
    assert (kept, held_out) == (sorted(kept), sorted(held_out))
    assert {labels[place] for place in kept} == set(labels)


def test_with_names_as_keys_the_order_of_the_files_does_not_matter() -> None:
    names = [f"picture {number}" for number in range(23)]
    _, held_out = split_indices([0] * 23, 0.2, 0, keys=names)
    _, backwards = split_indices([0] * 23, 0.2, 0, keys=names[::-1])
    assert {names[place] for place in held_out} == {names[22 - place] for place in backwards}


def test_the_places_are_in_ascending_order() -> None:
    for part in split_indices([0] * 1009, 0.01, 0):
        assert part.tolist() == sorted(part.tolist())


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_that_leaves_a_part_empty_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split_indices(LABELS, fraction, 0)
