"""Distillation: what a model learns from teachers, and from which one at each step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from clearhead.data import normalize
from clearhead.errors import ConfigError
from clearhead.models import CNNConfig, ViTConfig, build
from clearhead.training import fit
from clearhead.training.distillation import Teachers, distillation_loss
from clearhead.training.distributed import ALONE
from clearhead.training.run import fitted
from clearhead.training.texts import NO_LABEL

from .small_run import MODEL, small_config, small_dataset, small_training

TEMPERATURE = 2.5


@pytest.fixture(autouse=True)
def _without_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these trainings."""
    monkeypatch.setattr("clearhead.training.run.save_evaluation_plot", lambda *_: None)


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
                mean=fitted(MODEL, data).mean,
                std=fitted(MODEL, data).std,
                widths=(3, 5),
            )
        )
        nn.init.normal_(model.head.weight, std=5)
        model.save_pretrained(folder)
    return tuple(map(str, folders))


def test_the_loss_is_the_softened_divergence_from_the_teacher() -> None:
    random = np.random.default_rng(3)
    logits, teacher = random.normal(size=(2, 7, 5))
    labels = torch.tensor([0, 1, 2, 3, 4, NO_LABEL, 0])
    targets = softmax(teacher / TEMPERATURE, axis=1)
    targets[5] = 1 / 5
    gaps = np.log(targets) - log_softmax(logits / TEMPERATURE, axis=1)
    expected = TEMPERATURE**2 * (targets * gaps).sum() / 7
    loss = distillation_loss(torch.tensor(logits), torch.tensor(teacher), labels, TEMPERATURE)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_teachers_in_turn_give_the_gradient_of_their_mean_probabilities(
    teachers: tuple[str, ...],
) -> None:
    model = fitted(MODEL, small_dataset())
    both = Teachers.load(small_config(teachers=teachers, model=model), ALONE)
    assert both is not None
    torch.manual_seed(0)
    images, labels = torch.rand(11, 1, 6, 6), torch.zeros(11, dtype=torch.long)
    targets = [both.logits(images, step) for step in range(3)]
    assert torch.equal(targets[0], targets[2])
    assert not torch.allclose(targets[0], targets[1])
    logits = torch.randn(11, 3, requires_grad=True)
    losses = [distillation_loss(logits, target, labels, TEMPERATURE) for target in targets[:2]]
    in_turn = torch.autograd.grad((losses[0] + losses[1]) / 2, logits)[0]
    mean = torch.stack([(target / TEMPERATURE).softmax(dim=1) for target in targets[:2]]).mean(0)
    of_mean = distillation_loss(logits, mean.log() * TEMPERATURE, labels, TEMPERATURE)
    assert torch.allclose(in_turn, torch.autograd.grad(of_mean, logits)[0], atol=1e-6)


def test_a_model_learns_the_answers_of_its_teacher_not_the_labels(
    teachers: tuple[str, ...],
) -> None:
    data = small_dataset(60)
    config = small_config(12, teachers=teachers[:1], model=fitted(MODEL, small_dataset()))
    images = normalize(data.images, config.model)
    only = Teachers.load(config, ALONE)
    assert only is not None
    answers = only.logits(images, 0).argmax(dim=1)
    wrong = replace(data, labels=(answers + 1) % 3)
    learned = fit(config, wrong).result(images).argmax(dim=1)
    assert (learned == answers).float().mean() > 0.85


def test_a_training_with_teachers_resumes_with_the_same_bits(
    tmp_path: Path, teachers: tuple[str, ...]
) -> None:
    settings: dict[str, Any] = {
        "teachers": teachers,
        "distill_temperature": TEMPERATURE,
        "holdout": 0.2,
    }
    whole = small_training(tmp_path / "whole", 2, **settings)
    steps = iter(range(20))
    stopped = small_training(tmp_path / "cut", 2, stop=lambda: next(steps) > 6, **settings)
    assert not stopped.finished
    resumed = small_training(tmp_path / "cut", 2, **settings)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_a_teacher_of_other_images_is_refused(teachers: tuple[str, ...]) -> None:
    config = small_config(teachers=teachers, model=ViTConfig(num_classes=3))
    with pytest.raises(ConfigError, match="has image_size 6, expected 28"):
        Teachers.load(config, ALONE)
