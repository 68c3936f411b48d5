from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from clearhead.data import ImageDataset, load_dataset, normalize
from clearhead.errors import ConfigError
from clearhead.models import build
from clearhead.studies.measures import classifiers
from clearhead.studies.measures.classifiers import (
    COMPARED_MODELS,
    accuracy_on_unseen,
    nearest_neighbours_accuracy,
    unseen_digits,
)
from clearhead.training import TrainConfig
from tests.studies.random_models import trial


def random_images(seed: int = 0) -> torch.Tensor:
    return torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def untrained(name: str) -> torch.nn.Module:
    torch.manual_seed(1)
    model = build(COMPARED_MODELS[name].config)
    for parameter in model.parameters():  # initial weights hardly do anything
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_compared_models_have_the_same_number_of_parameters_within_5_percent() -> None:
    sizes = [sum(x.numel() for x in untrained(name).parameters()) for name in COMPARED_MODELS]

    assert max(sizes) <= 1.05 * min(sizes)


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("no-attention", True),
        ("vit", False),
        ("uniform", False),
        ("mlp", False),
        ("cnn", False),
        ("conv", False),
    ],
)
def test_only_without_attention_patches_do_not_interact_before_the_mean(
    name: str, alone: bool
) -> None:
    # If patches contribute to the logits separately, the effect of one does not depend on others.
    model = untrained(name).double()
    one, other = random_images(1), random_images(2)

    def logits(first_patch: torch.Tensor, last_patch: torch.Tensor) -> torch.Tensor:
        images = random_images(3).double()
        images[..., :7, :7] = first_patch[..., :7, :7]
        images[..., 21:, 21:] = last_patch[..., 21:, 21:]
        with torch.no_grad():
            output: torch.Tensor = model(images)
        return output

    effect = logits(one, one) - logits(other, one)
    elsewhere = logits(one, other) - logits(other, other)

    assert (float((effect - elsewhere).norm()) < 1e-9 * float(effect.norm())) == alone


def test_accuracy_is_in_per_cent_and_loss_is_mean_cross_entropy(
    mnist_test: ImageDataset,
) -> None:
    torch.manual_seed(2)
    model = build(COMPARED_MODELS["mlp"].config)
    digits = unseen_digits(53, 7)
    with torch.no_grad():
        logits = model(normalize(digits.images, model.config)).double()

    read = accuracy_on_unseen(model, trial(seed=7, unseen=53))

    right = sum(int(a) == int(b) for a, b in zip(logits.argmax(1), digits.labels, strict=True))
    assert read["accuracy"] == pytest.approx(100 * right / 53)
    expected = torch.nn.functional.cross_entropy(logits, digits.labels)
    assert read["nll"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("count", [0, 10_001])
@pytest.mark.usefixtures("mnist_test")
def test_a_number_of_digits_that_mnist_does_not_have_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=r"count must lie in 1 … 10,000 for test, got"):
        unseen_digits(count)


@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_votes_are_those_of_the_three_smallest_distances() -> None:
    train, unseen = load_dataset("mnist", "train"), unseen_digits(600, 5)
    known = train.images[:2_000].flatten(1).numpy().astype(float)
    new = unseen.images.flatten(1).numpy().astype(float)
    nearest = cdist(new, known).argsort(axis=1)[:, :3]
    votes = train.labels.numpy()[nearest]
    expected = [row[0] if len(set(row)) == 3 else np.bincount(row).argmax() for row in votes]

    found = nearest_neighbours_accuracy(trial(seed=5, digits=2_000, unseen=600))["accuracy"]

    assert found == pytest.approx(100 * np.mean(np.array(expected) == unseen.labels.numpy()))
    assert found > 85


@pytest.mark.usefixtures("mnist_train")
def test_the_plain_set_up_is_adamw_at_a_rate_of_0_001_without_warm_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs: list[TrainConfig] = []

    def fit(config: TrainConfig, _: ImageDataset) -> SimpleNamespace:
        configs.append(config)
        return SimpleNamespace(result=None)

    monkeypatch.setattr(classifiers, "fit", fit)
    monkeypatch.setattr(classifiers, "accuracy_on_unseen", lambda *_: {})
    for condition in ("right", "plain"):
        classifiers.accuracy_in_set_up(trial(condition, size="3 k", digits=100, epochs=1))
    right, plain = configs
    changes: Any = {"optimizer": "adamw", "learning_rate": 1e-3, "warmup": 0.0}
    assert plain == replace(right, **changes)
    assert right.optimizer == "muon"
    assert right.warmup > 0
