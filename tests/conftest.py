"""Fixtures for every room: the real data sets, where they can be had.

Torch is imported only where a test asks for one of them.
"""

import os
from typing import TYPE_CHECKING, Literal

import pytest

from clearhead.errors import FetchError

# The tests' tensors are tiny: a second thread only waits for the first. Children inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from clearhead.data.datasets import ImageDataset


def _or_skip(name: str, split: Literal["train", "test"]) -> "ImageDataset":
    from clearhead.data.datasets import load_dataset

    try:
        return load_dataset(name, split)
    except FetchError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def mnist_train() -> "ImageDataset":
    return _or_skip("mnist", "train")


@pytest.fixture(scope="session")
def mnist_test() -> "ImageDataset":
    return _or_skip("mnist", "test")
