"""Distillation: what a model learns from teachers, and from which one at each step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from clearhead.data import normalize
from clearhead.errors import ConfigError
from clearhead.models import CNNConfig, ViTConfig, build
from clearhead.training import TrainConfig, fit
from clearhead.training.adaptation import config_for_dataset
from clearhead.training.batches import ImageBatches, Teachers
from clearhead.training.distributed import ALONE
from clearhead.training.step import distillation_loss, labels_of
from clearhead.training.texts import NO_LABEL

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


def loaded(config: TrainConfig) -> Teachers:
    teachers = Teachers.load(config, ALONE)
    assert teachers is not None
    return teachers


def test_the_loss_is_the_softened_cross_entropy() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(size=(7, 5))
    targets = softmax(random.normal(size=(7, 5)), axis=1)
    expected = -(targets * log_softmax(logits / TEMPERATURE, axis=1)).sum() / 7 * TEMPERATURE**2
    loss = distillation_loss(torch.tensor(logits).float(), torch.tensor(targets), TEMPERATURE)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_targets_are_the_softened_answers_of_the_teacher_whose_turn_it_is(
    teachers: tuple[str, ...],
) -> None:
    model = config_for_dataset(MODEL, small_dataset())
    config = small_config(teachers=teachers, model=model, distill_temperature=TEMPERATURE)
    both = loaded(config)
    torch.manual_seed(0)
    images = torch.rand(11, 1, 6, 6)
    for step in range(4):
        with torch.no_grad():
            expected = (both.models[step % 2](images) / TEMPERATURE).softmax(dim=1)
        found = both.targets(images, expected.argmax(dim=1), step)
        assert torch.equal(found, expected)
    assert not torch.allclose(found, both.targets(images, expected.argmax(dim=1), 0))


def test_a_wrong_answer_exchanges_its_probability_with_the_labels(
    teachers: tuple[str, ...],
) -> None:
    config = small_config(teachers=teachers, model=config_for_dataset(MODEL, small_dataset()))
    both = loaded(config)
    images = torch.rand(7, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    answers = both.targets(images, torch.full((7,), 2), 0)
    for labels in (torch.arange(7) % 3, torch.full((7,), 1)):
        targets = both.targets(images, labels, 0)
        assert torch.equal(targets.argmax(dim=1), labels)
        assert torch.equal(targets.sort(dim=1).values, answers.sort(dim=1).values)
        assert torch.equal(labels_of(targets), labels)


def test_an_image_of_no_class_has_equal_probabilities_and_no_label(
    teachers: tuple[str, ...],
) -> None:
    config = small_config(teachers=teachers, model=config_for_dataset(MODEL, small_dataset()))
    both = loaded(config)
    targets = both.targets(torch.rand(2, 1, 6, 6), torch.tensor([1, 3]), 0)
    assert targets[1].tolist() == pytest.approx([1 / 3] * 3)
    assert labels_of(targets).tolist() == [1, NO_LABEL]


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
    only = loaded(config)
    with torch.no_grad():
        answers = only.models[0](images).softmax(dim=1)
    labelled = replace(data, labels=answers.argmax(dim=1))
    learned = fit(config, labelled).result(images).softmax(dim=1)
    by_labels = fit(replace(config, teachers=()), labelled).result(images).softmax(dim=1)
    assert (learned - answers).abs().mean() < (by_labels - answers).abs().mean() / 2


def test_teachers_get_the_images_without_their_style(teachers: tuple[str, ...]) -> None:
    data = small_dataset()
    plain = small_config(teachers=teachers, model=config_for_dataset(MODEL, data))
    styled = replace(plain, augment=replace(plain.augment, style=1.0))
    (images, targets), (changed, same) = (
        ImageBatches(data, config, ALONE, Teachers.load(config, ALONE)).batch(5, torch.arange(101))
        for config in (plain, styled)
    )
    assert torch.equal(targets, same)
    assert not torch.isclose(images, changed).all(dim=(1, 2, 3)).any()


def test_a_teacher_of_other_images_is_refused(teachers: tuple[str, ...]) -> None:
    config = small_config(teachers=teachers, model=ViTConfig(num_classes=3))
    with pytest.raises(ConfigError, match="has image_size 6, expected 28"):
        Teachers.load(config, ALONE)
