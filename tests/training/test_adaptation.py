"""Image size, patches and channels that follow from the images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clearhead.data import drawn_digits
from clearhead.data.labelled import LabelledImages
from clearhead.errors import ConfigError, DataError
from clearhead.models import CNNConfig, ViTConfig
from clearhead.training import RECIPES, TrainConfig, train
from clearhead.training.adaptation import adapt_to_images, config_for_shape, sizes_for

from .small_run import small_config, small_dataset

RECIPE = ViTConfig(depth=2)


@pytest.mark.parametrize(
    ("size", "image", "patch"),
    [
        ((28, 28), (28, 28), (7, 7)),
        ((32, 32), (32, 32), (4, 4)),
        ((48, 48), (48, 48), (6, 6)),
        ((64, 64), (64, 64), (8, 8)),
        ((96, 96), (96, 96), (12, 12)),
        ((72, 96), (72, 96), (12, 12)),
        ((96, 40), (96, 40), (12, 10)),
        ((41, 43), (40, 45), (5, 5)),
        ((82, 80), (80, 80), (10, 10)),
        ((96, 61), (96, 60), (12, 12)),
        ((11, 9), (12, 8), (2, 2)),
        ((10, 10), (10, 10), (2, 2)),
        ((3, 5), (4, 4), (2, 2)),
    ],
)
def test_images_have_about_8_patches_along_the_longer_side(
    size: tuple[int, int], image: tuple[int, int], patch: tuple[int, int]
) -> None:
    model = config_for_shape(RECIPE, (3, *size), {})
    assert (model.image_shape, model.patch_shape, model.in_channels) == (image, patch, 3)


@pytest.mark.parametrize(
    ("given", "image", "patch"),
    [
        ({"image_size": 56}, (56, 56), (7, 7)),
        ({"image_size": 64}, (64, 64), (8, 8)),
        ({"image_size": (30, 50)}, (30, 50), (6, 5)),
        ({"patch_size": 9}, (45, 36), (9, 9)),
        ({"image_size": 41, "patch_size": 41}, (41, 41), (41, 41)),
    ],
)
def test_settings_that_are_given_are_kept(
    given: dict[str, Any], image: tuple[int, int], patch: tuple[int, int]
) -> None:
    model = config_for_shape(RECIPE, (3, 47, 38), given | {"embed_dim": 8, "in_channels": 1})
    assert (model.image_shape, model.patch_shape) == (image, patch)
    assert (model.in_channels, model.embed_dim, model.depth) == (1, 8, 2)
    assert model.mean == RECIPE.mean


def test_a_convolutional_network_takes_any_size() -> None:
    model = config_for_shape(CNNConfig(widths=(3, 5)), (3, 41, 43), {})
    assert (model.image_size, model.in_channels) == ((41, 43), 3)


def test_sizes_that_patches_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"height \(64\) must be divisible by patch height \(7\)"):
        config_for_shape(RECIPE, (3, 47, 38), {"image_size": 64, "patch_size": 7})


@pytest.mark.parametrize("name", ["image_size", "patch_size"])
@pytest.mark.parametrize("size", [0, -3, (7, 0), (1, 2, 3), "7"])
def test_values_that_are_not_sizes_are_refused(name: str, size: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} must be a positive integer, or"):
        config_for_shape(RECIPE, (3, 47, 38), {name: size})


@pytest.mark.parametrize("recipe", ["quick", "teacher", "digits", "sharp"])
def test_the_models_of_digits_are_not_changed_by_digits(recipe: str) -> None:
    config = RECIPES[recipe]()
    assert isinstance(config, TrainConfig)
    assert config_for_shape(config.model, (1, 28, 28), {}) == config.model


@pytest.mark.parametrize(
    ("counts", "settings", "share"),
    [
        ((10, 10, 10), {}, 0.1),
        ((30, 9, 30), {}, None),
        ((10, 10, 10), {"validation": 0.0}, 0.0),
        ((10, 10, 10), {"holdout": 0.2}, None),
        ((10, 10, 10), {"data": "mnist"}, None),
    ],
)
def test_a_tenth_is_for_validation_where_each_class_has_ten_images(
    counts: tuple[int, ...], settings: dict[str, Any], share: float | None
) -> None:
    dataset = small_dataset(sum(counts))
    labels = torch.arange(3).repeat_interleave(torch.tensor(counts))
    images = LabelledImages.from_dataset(replace(dataset, labels=labels))
    messages: list[str] = []

    def adapted(**others: LabelledImages) -> float | None:
        config = small_config(**{"data": "small"} | settings)
        splits: Any = {"train": images, "test": images} | others
        return adapt_to_images(config, splits, None, {}, messages.append)[0].validation

    assert adapted() == share
    assert any("--validation" in x or "validation=" in x for x in messages) == (share == 0.1)
    assert adapted(val=images) == settings.get("validation")


def test_digits_of_the_default_size_are_not_reported_as_adapted() -> None:
    images = LabelledImages.from_dataset(drawn_digits(60))
    splits: Any = {"train": images, "test": images}
    messages: list[str] = []
    config, _ = adapt_to_images(TrainConfig(), splits, {}, None, messages.append)
    assert (config, messages) == (TrainConfig(), [])
    adapt_to_images(TrainConfig(), splits, {"patch_size": 4}, None, messages.append)
    assert len(messages) == 1


def test_statistics_of_other_channels_are_not_kept() -> None:
    colours = replace(RECIPE, in_channels=3, mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1))
    grey = config_for_shape(colours, (1, 28, 28), {})
    assert (grey.in_channels, grey.mean, grey.std) == (1, (0.5,), (0.5,))


def test_images_of_one_class_are_refused(tmp_path: Path) -> None:
    arrays = np.zeros((12, 8, 8), np.uint8), ["cat"] * 12
    with pytest.raises(DataError, match=r"^arrays has only images of cat; a classifier needs"):
        train("quick", out=tmp_path / "run", data=arrays)


@pytest.mark.parametrize(
    ("recipe", "images", "batch_size", "epochs"),
    [
        ("quick", 60_000, 288, 5),  # those of the recipe
        ("digits", 60_000, 512, 150),
        ("quick", 48, 8, 67),  # 6 steps an epoch, 402 steps
        ("quick", 5, 8, 400),  # a step per epoch
        ("quick", 1000, 125, 50),  # 8 steps an epoch
        ("quick", 5003, 288, 24),  # 17 steps an epoch, 408 steps
    ],
)
def test_few_images_make_small_batches_and_at_least_400_steps(
    recipe: str, images: int, batch_size: int, epochs: int
) -> None:
    config = RECIPES[recipe]()
    assert isinstance(config, TrainConfig)
    assert sizes_for(config, images) == (batch_size, epochs)
