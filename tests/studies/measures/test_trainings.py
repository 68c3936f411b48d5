"""Shared trainings: trained once for each seed, and again after any change."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from clearhead.models.config import MLPConfig, ViTConfig
from clearhead.studies import _worker
from clearhead.studies.measures import trainings
from clearhead.studies.measures.classifiers import (
    COMPARED_MODELS,
    accuracy_on,
    training_digits,
    unseen_digits,
)
from clearhead.studies.measures.tasks import (
    COMMON,
    FIRST_QUERY,
    RECALL_MODEL,
    common_digits,
    recall_texts,
)
from clearhead.studies.measures.trainings import Training, fan_in_weights, on_digits, trained
from clearhead.studies.table import Trial
from clearhead.training import TrainConfig, initial_model
from clearhead.training.loop import train_step

TEXTS = Training(task="recall", model=RECALL_MODEL, examples=48, batch_size=16, rates=(0.01, 0.02))
IMAGES = Training(
    task="common digit",
    model=ViTConfig(depth=1, embed_dim=8, num_heads=2),
    examples=40,
    epochs=2,
    batch_size=20,
    rates=(0.01, 0.02),
    fan_in=True,
)


@pytest.fixture
def num_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The seeds that were trained so far, with an empty cache."""
    monkeypatch.setattr(trainings, "cache_folder", lambda: tmp_path)
    seeds: list[int] = []
    train = trainings.train

    def counted(training: Training, seed: int) -> object:
        seeds.append(seed)
        return train(training, seed)

    monkeypatch.setattr(trainings, "train", counted)
    return seeds


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: x.detach().clone() for name, x in model.named_parameters()}


def test_a_training_runs_once_for_each_seed_and_gives_the_same_model(
    num_trained: list[int],
) -> None:
    _worker._USED.clear()
    first, again, other = (trained(TEXTS, seed) for seed in (3, 3, 4))
    assert [trainings.digest(TEXTS, seed) for seed in (3, 3, 4)] == _worker._USED
    assert num_trained == [3, 4]
    assert all(torch.equal(x, weights(again)[name]) for name, x in weights(first).items())
    assert not torch.equal(first.head.weight, other.head.weight)
    assert not again.training


@pytest.mark.usefixtures("mnist_train")
def test_images_are_trained_from_weights_of_variance_1_over_inputs(num_trained: list[int]) -> None:
    model = trained(IMAGES, 0)
    assert model.config == IMAGES.model
    assert (
        0.2 < float(model.blocks[0].attn.qkv.weight.detach().std()) < 0.5
    )  # 1/√8, after four steps
    assert num_trained == [0]


def test_any_change_and_any_damage_trains_again(num_trained: list[int], tmp_path: Path) -> None:
    digests = {
        trainings.digest(training, seed)
        for training in (TEXTS, replace(TEXTS, examples=64), replace(TEXTS, rates=(0.01, 0.01)))
        for seed in (0, 1)
    }
    assert len(digests) == 6
    trained(TEXTS, 0)
    (weights_file,) = tmp_path.rglob("model.safetensors")
    weights_file.write_bytes(weights_file.read_bytes()[:-1])
    trained(TEXTS, 0)
    trained(TEXTS, 0)
    assert num_trained == [0, 0]


def test_a_change_of_the_code_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = trainings.digest(TEXTS, 0)
    monkeypatch.setattr(trainings, "_code", lambda: "other")
    assert trainings.digest(TEXTS, 0) != before


def test_recall_is_trained_on_the_answers_alone(
    num_trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    states: set[Any] = set()
    step = train_step

    def observed(*arguments: Any, **options: Any) -> float:
        states.add(arguments[1].total_steps)
        seen.append(arguments[2])
        return step(*arguments, **options)

    monkeypatch.setattr(trainings, "train_step", observed)
    trained(TEXTS, 0)
    assert num_trained == [0]
    assert len(seen) == 3
    assert states == {3}  # which the learning rate follows
    texts = recall_texts("train", 48, 0)
    assert torch.equal(torch.cat([batch.inputs[0] for batch in seen]), texts.ids)
    labels = torch.cat([batch.labels for batch in seen])
    assert torch.equal(labels[:, FIRST_QUERY:], texts.answers)
    assert (labels[:, :FIRST_QUERY] == -100).all()


@pytest.mark.parametrize("model", [ViTConfig(embed_dim=96), MLPConfig(patch_conv=True)])
def test_fan_in_weights_have_the_variance_1_over_inputs(model: ViTConfig | MLPConfig) -> None:
    found = fan_in_weights(initial_model(TrainConfig(model=model)), 5)
    other = initial_model(TrainConfig(model=model))
    for name, weight in found.named_parameters():
        if name.endswith("pos_embed"):
            assert float(weight.detach().std()) == pytest.approx(1, rel=0.1)
        elif weight.dim() > 1 and not name.startswith("head"):
            assert float(weight.detach().std()) == pytest.approx(weight[0].numel() ** -0.5, rel=0.1)
        else:
            assert torch.equal(weight, other.get_parameter(name)), name


@pytest.mark.usefixtures("mnist_train")
def test_a_model_fits_its_training_digits() -> None:
    model = trainings.train(on_digits("mlp", examples=100, steps=60), 5)

    digits = training_digits(100, 5)
    assert accuracy_on(model, digits) > 90
    assert not model.training


def test_a_training_on_digits_has_the_steps_and_changes_that_are_given() -> None:
    training = on_digits("vit", examples=300, steps=12, depth=5)
    assert (training.epochs, training.batch_size) == (4, 100)
    assert cast("ViTConfig", training.model).depth == 5


def task(condition: str, **settings: Any) -> Trial:
    return Trial(study="s", condition=condition, seed=3, settings={"unseen": 50} | settings)


def test_a_trial_can_set_the_rates_of_the_common_digit() -> None:
    usual = trainings.training_of(task(COMMON, **trainings.ON_COMMON))
    next_one = trainings.training_of(task(COMMON, **trainings.NEXT_ON_COMMON))
    assert next_one == replace(usual, rates=(1e-2, 2e-2))


def test_the_training_of_a_condition_is_that_of_its_task() -> None:
    recall = trainings.training_of(task("recall", **trainings.ON_RECALL), attention_scale=0.0)
    common = trainings.training_of(task(COMMON, **trainings.ON_COMMON), "no-attention", depth=3)
    digits = trainings.training_of(task("small", **trainings.ON_DIGITS), "cnn")
    assert [x.task for x in (recall, common, digits)] == ["recall", "common digit", "digits"]
    assert [x.fan_in for x in (recall, common, digits)] == [True, True, False]
    assert recall.model == replace(RECALL_MODEL, attention_scale=0.0)
    no_attention = cast("MLPConfig", COMPARED_MODELS["no-attention"].config)
    assert common.model == replace(no_attention, depth=3)
    assert digits.model == COMPARED_MODELS["cnn"].config
    assert (recall.examples, common.examples, common.epochs) == (38_400, 24_000, 4)


@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_training_and_unseen_images_differ_and_are_drawn_with_the_seed() -> None:
    for condition, draw in (
        ("small", {"train": training_digits, "test": unseen_digits}),
        (COMMON, {x: partial(common_digits, x) for x in ("train", "test")}),
    ):
        for split, drawn in draw.items():
            images = trainings.images_of(task(condition), 20, split)  # type: ignore[arg-type]
            expected: Any = drawn(20, 3)
            assert torch.equal(images.images, getattr(expected, "dataset", expected).images)


@pytest.mark.slow
@pytest.mark.usefixtures("small_trainings")
@pytest.mark.parametrize(
    ("trial", "least", "most"),  # accuracy with attention, and without: one of four, or three
    [
        (task("recall", **trainings.ON_RECALL), 90, 35),
        (task(COMMON, **trainings.ON_COMMON), 70, 45),
    ],
)
def test_a_task_is_learnt_with_attention_and_not_without(
    trial: Trial, least: float, most: float
) -> None:
    found = trainings.floor_of(trial)
    assert found["with_attention"] > least
    assert found["floor"] < most
