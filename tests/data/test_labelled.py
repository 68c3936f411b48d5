"""The usual shape of images, and data sets from arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from clearhead.data import ImageDataset, load_dataset
from clearhead.data.datasets import open_dataset
from clearhead.data.labelled import LabelledImages, decode
from clearhead.errors import DataError


def pictures(folder: Path, mode: str, sizes: list[tuple[int, int]]) -> Path:
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number, (width, height) in enumerate(sizes):
            pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("mode", "sizes", "shape"),
    [
        ("L", [(9, 11)] * 5, (1, 11, 9)),
        ("RGB", [(9, 11)] * 5, (3, 11, 9)),
        ("P", [(32, 32)] * 5, (3, 32, 32)),
        ("L", [(10, 20), (30, 20), (20, 30), (20, 10), (20, 20)] * 2, (1, 20, 20)),
        ("L", [(200, 100)] * 5, (1, 48, 96)),
    ],
)
def test_size_and_channels_are_those_of_the_images(
    mode: str, sizes: list[tuple[int, int]], shape: tuple[int, ...], tmp_path: Path
) -> None:
    dataset = load_dataset(pictures(tmp_path / "x", mode, sizes))
    assert tuple(dataset.images.shape[1:]) == shape
    assert tuple(load_dataset(tmp_path / "x", "test").images.shape[1:]) == shape
    sized = load_dataset(str(tmp_path / "x"), image_size=11, in_channels=3)
    assert tuple(sized.images.shape[1:]) == (3, 11, 11)


def test_a_grey_image_saved_in_colour_is_grey(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(5):
            level = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
            level.save(tmp_path / name / f"{number}.jpg")
    assert load_dataset(tmp_path).images.shape[1] == 1


@pytest.mark.parametrize("axes", ["grey", "behind", "front"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_arrays_become_a_data_set_for_a_data_loader(axes: str, kind: type) -> None:
    shapes = {"grey": (20, 5, 7), "behind": (20, 5, 7, 3), "front": (20, 3, 5, 7)}
    pixels = np.random.default_rng(1).integers(0, 256, shapes[axes]).astype(np.uint8)
    names = np.array(["bee", "ant"])[np.arange(20) % 2]
    given = pixels if kind is np.uint8 else (pixels / 255 - 1e-3).clip(0).astype(kind)
    train, test = (load_dataset((given, names), split) for split in ("train", "test"))
    assert (len(train), len(test)) == (16, 4)
    assert torch.equal(train.images, load_dataset((pixels, names)).images)
    assert train.class_names == ("ant", "bee")
    first = torch.from_numpy(pixels[0] if axes == "grey" else pixels[0].reshape(shapes[axes][1:]))
    first = first[None] if axes == "grey" else first
    first = first.permute(2, 0, 1) if axes == "behind" else first
    held = [index for index in range(20) if (test.images == first).flatten(1).all(1).any()]
    assert (train.images == first).flatten(1).all(1).any() or held
    (images, labels), *_ = DataLoader(train, batch_size=16)
    assert images.dtype == torch.uint8
    assert torch.equal(labels, train.labels)


def test_the_usual_shape_is_that_of_images_from_beginning_to_end() -> None:
    pixels = [np.zeros(size, np.uint8) for size in ((10, 12), (30, 36)) for _ in range(65)]
    rows = np.arange(130)
    objects = np.fromiter(pixels, object)
    images = LabelledImages("two sizes", objects, rows % 2, ("a", "b"), rows.astype(object))
    assert images.usual_shape() == (1, 20, 24)


def test_transparent_arrays_have_three_channels_on_white() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (10, 5, 7, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[:, 2, 3, 3] = 0
    train = load_dataset((pixels, np.arange(10) % 2), "train")
    assert tuple(train.images.shape[1:]) == (3, 5, 7)
    assert (train.images[:, :, 2, 3] == 255).all()
    opaque = {tuple(image[0, 0, :3].tolist()) for image in pixels}
    assert {tuple(image[:, 0, 0].tolist()) for image in train.images} <= opaque


def test_a_data_set_in_memory_is_a_source_too() -> None:
    images = torch.arange(10 * 5 * 6 * 7).remainder(251).to(torch.uint8).view(10, 5, 6, 7)
    dataset = ImageDataset("five channels", images, torch.arange(10) % 2, ("a", "b"))
    train = load_dataset(dataset, "train")
    assert tuple(train.images.shape) == (8, 5, 6, 7)
    grey = ImageDataset("grey", images[:, :1], torch.arange(10) % 2, ("a", "b"))
    assert tuple(load_dataset(grey, image_size=(1, 4), in_channels=3).images.shape) == (8, 3, 1, 4)


def test_a_named_data_set_is_resized_on_request(mnist_test: ImageDataset) -> None:
    resized = decode({"test": open_dataset("mnist", "test")["test"].select(range(7))}, (14, 21), 3)[
        "test"
    ]
    assert tuple(resized.images.shape) == (7, 3, 14, 21)
    assert resized.labels.tolist() == mnist_test.labels[:7].tolist()


@pytest.mark.parametrize(
    ("images", "labels", "reason"),
    [
        (np.zeros((4, 5, 6), np.uint8), [0, 1], r"labels of shape \(2,\)"),
        (np.zeros((4, 5, 6), np.uint8), [[0], [1], [0], [1]], r"labels of shape \(4, 1\)"),
        (np.zeros((4, 5, 6), np.uint8), None, r"labels of shape \(\)"),
        (None, None, r"images .* got object of shape \(\)"),
        (np.zeros((4, 5), np.uint8), [0, 1, 0, 1], r"of shape \(4, 5\)"),
        (np.zeros((4, 5, 6), np.int64), [0, 1, 0, 1], "got int64"),
        (np.full((4, 5, 6), 2.0), [0, 1, 0, 1], r"in \[0, 1\], got 2 to 2"),
        (
            [np.zeros((4, 5)), np.zeros((5, 4))],
            [0, 1],
            "must be convertible to NumPy arrays .*inhomogeneous",
        ),
        (
            np.zeros((2, 5, 6), np.uint8),
            [[0], [1, 2]],
            "must be convertible to NumPy arrays .*inhomogeneous",
        ),
        (torch.zeros(2, 5, 6, device="meta"), [0, 1], "must be convertible to NumPy arrays .*meta"),
        (
            torch.zeros(2, 5, 6, requires_grad=True),
            [0, 1],
            "must be convertible to NumPy arrays .*grad",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images: Any, labels: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        load_dataset((images, labels))
    assert "\n" not in str(caught.value)
