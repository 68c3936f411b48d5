"""Distillation: what a model learns from teachers, and from which one at each step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn
from torch.nn import functional as F

from clearhead.data import AugmentConfig, ImageDataset, drawn_digits, normalize
from clearhead.errors import ConfigError
from clearhead.models import CNNConfig, ViTConfig, build
from clearhead.models.pretrained import ImageModel
from clearhead.training import fit
from clearhead.training.adaptation import config_for_dataset
from clearhead.training.batches import NO_LABEL, Batch, ImageBatches
from clearhead.training.distributed import ALONE
from clearhead.training.loop import loss_of
from clearhead.training.start import load_teachers

from .small_run import MODEL, small_config, small_dataset

TEMPERATURE = 2.5


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Two convolutional networks with random weights; the logits are large enough to differ."""
    data = small_dataset()
    folders = tuple(tmp_path_factory.mktemp("teacher") for _ in range(2))
    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        model = build(
            CNNConfig(
                image_size=6,
                num_classes=3,
                class_names=data.class_names,
                mean=config_for_dataset(MODEL, data).mean,
                std=config_for_dataset(MODEL, data).std,
                widths=(3, 5),
            )
        )
        nn.init.normal_(model.head.weight, std=5)
        model.save_pretrained(folder)
    return tuple(map(str, folders))


def batches_with(
    teachers: tuple[str, ...], data: ImageDataset, **changes: Any
) -> tuple[ImageBatches, tuple[ImageModel, ...]]:
    """Batches without augmentation, and the loaded teachers."""
    model = config_for_dataset(MODEL, small_dataset())
    options: dict[str, Any] = {"augment": AugmentConfig(), "distill_temperature": TEMPERATURE}
    config = small_config(teachers=teachers, model=model, **options | changes)
    loaded = load_teachers(config, ALONE)
    return ImageBatches(data, config, ALONE, loaded), loaded


def answers_of(model: Any, data: ImageDataset) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(normalize(data.images, model.config))
    return (logits / TEMPERATURE).softmax(dim=1)


def test_the_loss_is_the_softened_cross_entropy() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(size=(7, 5))
    targets = softmax(random.normal(size=(7, 5)), axis=1)
    expected = -(targets * log_softmax(logits / TEMPERATURE, axis=1)).sum() / 7 * TEMPERATURE**2
    batch = Batch((), torch.zeros(7, dtype=torch.int64), torch.tensor(targets))
    config = small_config(distill_temperature=TEMPERATURE)
    loss = loss_of(torch.tensor(logits).float(), batch, config)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_targets_are_the_softened_answers_of_the_teacher_whose_turn_it_is(
    teachers: tuple[str, ...],
) -> None:
    data, rows = small_dataset(11), torch.arange(11)
    found: list[Any] = []
    for step in range(4):
        batches, loaded = batches_with(teachers, data)
        expected = answers_of(loaded[step % 2], data)
        labelled = replace(batches, data=replace(data, labels=expected.argmax(dim=1)))
        found.append(labelled.batch(step, rows).targets)
        torch.testing.assert_close(found[-1], expected)
    assert not torch.allclose(found[0], found[1])


def test_a_wrong_answer_exchanges_its_probability_with_the_labels(
    teachers: tuple[str, ...],
) -> None:
    data, rows = small_dataset(7), torch.arange(7)
    batches, loaded = batches_with(teachers, data)
    answers = answers_of(loaded[0], data)
    for labels in (torch.arange(7) % 3, torch.full((7,), 1)):
        batch = replace(batches, data=replace(data, labels=labels)).batch(0, rows)
        assert batch.targets is not None
        assert torch.equal(batch.targets.argmax(dim=1), labels)
        torch.testing.assert_close(batch.targets.sort(dim=1).values, answers.sort(dim=1).values)
        assert torch.equal(batch.labels, labels)


def test_generated_digits_keep_their_labels(teachers: tuple[str, ...]) -> None:
    data, rows = small_dataset(9), torch.tensor([8, 1, 4, 5])
    batches, _ = batches_with(teachers, data, label_smoothing=0.3)
    taught = batches.batch(0, rows).targets
    mixed = replace(batches, generated_from=5).batch(0, rows).targets
    assert taught is not None
    assert mixed is not None
    kept = F.one_hot(data.labels[rows], 3) * 0.7 + 0.1
    torch.testing.assert_close(mixed[[0, 3]], kept[[0, 3]])
    assert mixed[[1, 2]].equal(taught[[1, 2]])


def test_a_teacher_is_used_for_the_images_of_the_data_set_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = drawn_digits(23)
    model = CNNConfig(widths=(2,), class_names=data.class_names)
    build(model).save_pretrained(tmp_path)
    config = small_config(1, model=model, teachers=(str(tmp_path),), drawn_digits=0.4)
    steps: list[ImageBatches] = []
    monkeypatch.setattr(
        "clearhead.training.run.run_steps", lambda state, batches, *_: steps.append(batches)
    )
    fit(config, data)
    (batches,) = steps
    targets = batches.batch(0, torch.arange(len(batches.data))).targets
    assert targets is not None
    certain = targets.amax(1) == targets[-1].max()
    assert certain.nonzero().flatten().tolist() == list(range(23, 38))


def test_an_image_of_no_class_has_equal_probabilities_and_no_label(
    teachers: tuple[str, ...],
) -> None:
    labels, names = torch.tensor([1, 3]), ("a", "b", "c", "none")
    data = replace(small_dataset(2), labels=labels, class_names=names)
    _, labels, targets = batches_with(teachers, data)[0].batch(0, torch.arange(2))
    assert targets is not None
    assert targets[1].tolist() == pytest.approx([1 / 3] * 3)
    assert labels.tolist() == [1, NO_LABEL]


def test_a_model_learns_the_probabilities_of_its_teacher_not_the_labels(
    teachers: tuple[str, ...],
) -> None:
    data = small_dataset(39)
    config = small_config(
        6,
        teachers=teachers[:1],
        model=config_for_dataset(MODEL, small_dataset()),
        learning_rate=2e-2,
    )
    images = normalize(data.images, config.model)
    (teacher,) = load_teachers(config, ALONE)
    with torch.no_grad():
        answers = teacher(images).softmax(dim=1)
    labelled = replace(data, labels=answers.argmax(dim=1))
    learned = fit(config, labelled).result(images).softmax(dim=1)
    by_labels = fit(replace(config, teachers=()), labelled).result(images).softmax(dim=1)
    assert (learned - answers).abs().mean() < (by_labels - answers).abs().mean() / 2


def test_teachers_get_the_images_without_their_style(teachers: tuple[str, ...]) -> None:
    data = small_dataset()
    plain = small_config(teachers=teachers, model=config_for_dataset(MODEL, data))
    styled = replace(plain, augment=replace(plain.augment, style=1.0))
    ((images,), _, targets), ((changed,), _, same) = (
        ImageBatches(data, config, ALONE, load_teachers(config, ALONE)).batch(5, torch.arange(13))
        for config in (plain, styled)
    )
    assert targets is not None
    assert same is not None
    assert torch.equal(targets, same)
    assert not torch.isclose(images, changed).all(dim=(1, 2, 3)).any()


def test_a_teacher_of_other_images_is_refused(teachers: tuple[str, ...]) -> None:
    config = small_config(teachers=teachers, model=ViTConfig(num_classes=3))
    with pytest.raises(ConfigError, match="has image_size 6, expected 28"):
        load_teachers(config, ALONE)
