"""Fixtures for every room: the real data sets, where they can be had."""

import pytest

from clearhead.data.datasets import ImageDataset, load_dataset
from clearhead.errors import FetchError


def _or_skip(name: str, split: str) -> ImageDataset:
    try:
        return load_dataset(name, "train" if split == "train" else "test")
    except FetchError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mnist_train() -> ImageDataset:
    return _or_skip("mnist", "train")


@pytest.fixture(scope="session")
def mnist_test() -> ImageDataset:
    return _or_skip("mnist", "test")
