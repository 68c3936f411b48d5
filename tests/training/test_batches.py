"""The order and augmentation of images are functions of (seed, epoch, step) alone."""

from dataclasses import replace

import pytest
import torch

from clearhead.data import distort, draw_distortion, drawn_digits
from clearhead.errors import ConfigError
from clearhead.training import TrainConfig, fit
from clearhead.training.batches import (
    NO_LABEL,
    Batch,
    ImageBatches,
    generator_for,
    seed_of,
    with_generated_images,
)
from clearhead.training.distributed import ALONE, World

from .small_run import small_config, small_dataset


def test_an_epoch_holds_every_image_once_in_an_order_of_seed_and_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, list[int]]] = []
    make = ImageBatches.batch

    def batch(self: ImageBatches, step: int, rows: torch.Tensor) -> Batch:
        seen.append((step, rows.tolist()))
        return make(self, step, rows)

    monkeypatch.setattr(ImageBatches, "batch", batch)
    for seed in (3, 3, 4):
        fit(small_config(2, seed=seed), small_dataset(91))
    assert [step for step, _ in seen] == [*range(14)] * 3
    assert {len(rows) for _, rows in seen} == {13}
    epochs = [[x for _, rows in seen[i : i + 7] for x in rows] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == list(range(91)) for epoch in epochs)
    assert epochs[:2] == epochs[2:4]
    assert len(set(map(tuple, epochs))) == 4


def test_seeds_are_the_same_on_every_machine() -> None:
    assert seed_of("order", 0, 0) == 9000469282592126558


def test_generators_do_not_depend_on_torchs_default_generator() -> None:
    torch.manual_seed(1)
    first = torch.rand(3, generator=generator_for("x", 1))
    torch.manual_seed(2)
    assert torch.equal(torch.rand(3, generator=generator_for("x", 1)), first)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_several_processes_share_the_batch_of_one(size: int) -> None:
    dataset, config = small_dataset(), small_config()
    rows = torch.randperm(101)[:13]
    (images,), labels, _ = ImageBatches(dataset, config, ALONE).batch(17, rows)
    parts = [
        ImageBatches(dataset, config, World(rank, size, torch.device("cpu"))).batch(17, rows)
        for rank in range(size)
    ]
    torch.testing.assert_close(torch.cat([part.inputs[0] for part in parts]), images)
    assert torch.equal(torch.cat([part.labels for part in parts]), labels)
    assert torch.equal(labels, dataset.labels[rows])


def test_a_batch_is_augmented_pixels_that_are_then_normalised() -> None:
    dataset, config = small_dataset(), small_config()
    rows = torch.randperm(101)[:13]
    (images,), _, targets = ImageBatches(dataset, config, ALONE).batch(9, rows)
    pixels = dataset.images[rows] / 255
    generator = generator_for("augment", config.seed, 9)
    augmented = distort(pixels, draw_distortion(config.augment, 13, (6, 6), generator))
    expected = (augmented - config.model.mean[0]) / config.model.std[0]
    torch.testing.assert_close(images, expected)
    assert targets is None


def test_generated_images_are_shares_of_the_training_data_with_a_label_of_their_own() -> None:
    digits = drawn_digits(101)
    config = TrainConfig(drawn_digits=0.25, non_digits=0.125)
    data = with_generated_images(digits, config)
    assert len(data) == 101 + 40 + 20
    assert torch.equal(data.images[:101], digits.images)
    assert data.class_counts[10] == 20
    assert not torch.equal(data.images[101:121], digits.images[:20])
    other = with_generated_images(digits, replace(config, seed=1))
    assert not torch.equal(data.images[101:141], other.images[101:141])
    assert not torch.equal(data.images[141:], other.images[141:])
    assert with_generated_images(digits, TrainConfig()) is digits
    with pytest.raises(ConfigError, match="ten classes of digits"):
        with_generated_images(small_dataset(), config)


def test_non_digits_have_the_uniform_distribution_as_target_in_a_batch() -> None:
    config = TrainConfig(non_digits=0.125, label_smoothing=0.2)
    data = with_generated_images(drawn_digits(14), config)
    assert data.labels.tolist()[14:] == [10, 10]
    _, labels, targets = ImageBatches(data, config, ALONE).batch(0, torch.arange(16))
    assert labels.tolist() == [*data.labels.tolist()[:14], NO_LABEL, NO_LABEL]
    expected = torch.full((16, 10), 0.02)
    expected[torch.arange(14), data.labels[:14]] = 0.82
    expected[14:] = 0.1
    torch.testing.assert_close(targets, expected)
