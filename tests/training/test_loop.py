"""`fit` trains in memory, counts what it should, and stops at a loss that is not finite."""

import math
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clearhead.data import AugmentConfig
from clearhead.errors import ConfigError, DivergenceError
from clearhead.inference import evaluate
from clearhead.models import CNNConfig, MLPConfig, VisionTransformer, ViTConfig, build, load
from clearhead.training import Callback, TrainConfig, TrainingState, fit, initial_model, loop
from clearhead.training.batches import Batch, ImageBatches, early_patches
from clearhead.training.checkpoint import load_checkpoint
from clearhead.training.distributed import ALONE, described_speed
from clearhead.training.loop import loss_of, train_step
from clearhead.training.start import initial_state
from tests.marks import slow_after

from .small_run import MODEL, small_config, small_dataset


class Recorder(Callback):
    """Keeps what `fit` passes to its callback."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.epochs: list[dict[str, float]] = []
        self.messages: list[str] = []

    def on_message(self, text: str) -> None:
        self.messages.append(text)

    def on_step(self, state: TrainingState[Any], loss: float) -> None:
        assert all(weight.grad is None for weight in state.model.parameters())
        self.losses.append(loss)

    def on_epoch(self, state: TrainingState[Any], metrics: dict[str, float]) -> None:
        self.epochs.append(metrics)


@pytest.mark.parametrize("arguments", [("quick", small_dataset()), (small_config(),), (None,)])
def test_fit_needs_settings_and_images_that_go_together(arguments: Any) -> None:
    with pytest.raises(ConfigError, match=r"fit needs .* use clearhead\.train"):
        fit(*arguments)


@pytest.mark.parametrize("optimizer", slow_after(1, ["muon", "adamw"]))
def test_a_training_learns_and_reports_every_step_and_epoch(optimizer: str) -> None:
    recorder = Recorder()
    config = small_config(5, optimizer=optimizer, average=0.0)
    state = fit(config, small_dataset(), callback=recorder)
    assert evaluate(state.result, small_dataset(211)).accuracy > 0.9
    assert not state.result.training
    assert len(recorder.losses) == state.step == state.total_steps == 5 * 7
    first, *_, last = recorder.epochs
    assert last["loss"] < first["loss"]
    assert last["accuracy"] > first["accuracy"]
    assert (last["epoch"], last["epochs"]) == (5, 5)
    for epoch, metrics in enumerate(recorder.epochs):
        losses = recorder.losses[7 * epoch : 7 * epoch + 7]
        assert metrics["loss"] == pytest.approx(sum(losses) / 7, rel=1e-5)
    # of the last of 35 steps, of which 3.5 are of the warm-up
    rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * (34 - 3.5) / 31.5))
    assert last["learning_rate"] == pytest.approx(rate)


@pytest.mark.parametrize(
    "model",
    [
        CNNConfig(image_size=6, num_classes=3, widths=(5, 7)),
        MLPConfig(image_size=6, patch_size=3, embed_dim=20, depth=2, num_classes=3),
    ],
)
def test_the_baselines_train_too(model: CNNConfig | MLPConfig) -> None:
    state = fit(small_config(4, model=model), small_dataset())
    assert evaluate(state.result, small_dataset()).accuracy > 0.6


def test_the_result_is_the_moving_average_of_the_weights() -> None:
    weights: list[torch.Tensor] = []

    class Weights(Callback):
        def on_step(self, state: TrainingState[Any], loss: float) -> None:
            weights.append(state.model.head.weight.detach().clone())

    state = fit(small_config(1, average=0.9), small_dataset(), callback=Weights())
    average = weights[0]
    for weight in weights[1:]:
        average = 0.9 * average + 0.1 * weight
    torch.testing.assert_close(state.result.head.weight.detach(), average)


def test_the_average_includes_the_running_statistics_of_batch_norm() -> None:
    means: list[torch.Tensor] = []

    class Means(Callback):
        def on_step(self, state: TrainingState[Any], loss: float) -> None:
            means.append(state.model.get_buffer("stages.0.1.running_mean").clone())

    config = small_config(1, model=CNNConfig(image_size=6, widths=(3,), num_classes=3), average=0.7)
    state = fit(config, small_dataset(), callback=Means())
    average = means[0]
    for mean in means[1:]:
        average = 0.7 * average + 0.3 * mean
    torch.testing.assert_close(state.result.get_buffer("stages.0.1.running_mean"), average)


def test_a_loss_that_is_not_finite_stops_before_it_changes_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ImageBatches.batch

    def poisoned(self: ImageBatches, step: int, rows: torch.Tensor) -> Batch:
        (images,), labels, _ = batch(self, step, rows)
        return Batch((images * math.nan if step == 9 else images,), labels)

    monkeypatch.setattr(ImageBatches, "batch", poisoned)
    recorder = Recorder()
    with pytest.raises(DivergenceError, match=r"step 9: the loss is nan.*learning rate.*good"):
        fit(small_config(3), small_dataset(), checkpoints=tmp_path, callback=recorder)
    assert len(recorder.losses) == 9
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.state["step"] == 7
    assert all(bool(torch.isfinite(t).all()) for t in checkpoint.tensors.values())


def one_batch(config: TrainConfig) -> tuple[TrainingState[Any], Batch]:
    """A new state for ten steps, and a batch."""
    state = initial_state(config, initial_model(config).train(), total_steps=10)
    return state, ImageBatches(small_dataset(), config, ALONE).batch(0, torch.arange(13))


def test_a_step_is_the_clipped_step_of_torch_at_the_rate_of_the_schedule() -> None:
    config = small_config(
        model=replace(MODEL, dropout=0.0, key_dropout=0.0), optimizer="adamw", warmup=0.9,
        label_smoothing=0.3, clip_norm=0.1, weight_decay=0.0, average=0.0,
    )  # fmt: skip
    state, batch = one_batch(config)
    (images,), labels, _ = batch
    other = deepcopy(state.model)
    reference = torch.optim.AdamW(other.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    for step in range(3):
        train_step(state.model, state, batch)
        reference.zero_grad()
        F.cross_entropy(other(images), labels, label_smoothing=0.3).backward()
        assert nn.utils.clip_grad_norm_(other.parameters(), 0.1) > 0.1
        reference.param_groups[0]["lr"] = config.learning_rate * (step + 1) / 10
        reference.step()
    torch.testing.assert_close(state.model.state_dict(), other.state_dict())


def test_dropout_is_drawn_from_seed_step_and_rank() -> None:
    config = small_config(learning_rate=1e-12, matrix_learning_rate=1e-12)
    state, batch = one_batch(config)

    def loss_at(step: int, seed: int = 0, rank: int = 0) -> float:
        state.step, state.world = step, replace(ALONE, rank=rank)
        state.config = replace(config, seed=seed)
        return train_step(state.model, state, batch)

    assert loss_at(1) == pytest.approx(loss_at(1), abs=1e-6)
    keys = ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1))
    assert len({round(loss_at(*key), 4) for key in keys}) == 4


def test_images_of_another_size_are_an_error() -> None:
    wrong = replace(small_dataset(), images=torch.zeros(101, 1, 9, 9, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="6 × 6"):
        fit(small_config(), wrong)
    with pytest.raises(ConfigError, match="6 × 6"):
        fit(small_config(), small_dataset(), validation=wrong)


def test_fewer_images_than_a_batch_give_one_step_per_epoch() -> None:
    assert fit(small_config(3, augment=AugmentConfig()), small_dataset(7)).total_steps == 3


@pytest.mark.slow
@pytest.mark.unchecked
def test_compiled_blocks_train_like_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "COMPILE_STEPS", 1)
    config = small_config(1, model=replace(MODEL, dropout=0.0))  # compiled dropout draws otherwise
    plain, compiled = Recorder(), Recorder()
    expected = fit(config, small_dataset(), callback=plain).result
    result = fit(replace(config, compile=True), small_dataset(), callback=compiled).result
    assert [text for text in compiled.messages if "failed" in text] == []
    assert plain.losses == pytest.approx(compiled.losses, rel=1e-3)
    # Muon rounds to bfloat16 inside, so that the last bits of a gradient can move a weight
    torch.testing.assert_close(expected.state_dict(), result.state_dict(), rtol=0, atol=1e-2)


def test_blocks_that_cannot_be_compiled_are_reported_and_trained_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: nn.Module, **__: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(nn.Module, "compile", fail)
    monkeypatch.setattr(loop, "COMPILE_STEPS", 7)
    recorder = Recorder()
    state = fit(small_config(1, compile=True), small_dataset(), callback=recorder)
    assert state.finished
    assert recorder.messages == [
        "compiling the model's blocks; the first step may take a minute",
        "compilation failed (RuntimeError); training is slower",
        described_speed(torch.device("cpu"), bfloat16=False, compiled=False),
    ]
    cnn = CNNConfig(image_size=6, num_classes=3, widths=(5, 7))
    fit(small_config(1, model=cnn, compile=True), small_dataset(), callback=recorder)
    assert recorder.messages[3:] == recorder.messages[2:3]


def test_a_short_training_compiles_nothing_and_names_its_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "COMPILE_STEPS", 8)  # it has 7
    recorder = Recorder()
    fit(small_config(1, compile=True, precision="bfloat16"), small_dataset(), callback=recorder)
    (message,) = recorder.messages
    assert message.endswith(", bfloat16, blocks not compiled")


@pytest.mark.parametrize(("number", "threads"), [(1, "1 thread"), (2, "2 threads")])
def test_a_training_names_its_number_of_threads(
    number: int, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: number)
    message = described_speed(torch.device("cpu"), bfloat16=False, compiled=True)
    assert message == f"training on cpu, {threads}, float32, blocks compiled"


def test_initial_weights_come_from_a_model_or_a_saved_one(tmp_path: Path) -> None:
    first = build(MODEL)
    first.save_pretrained(tmp_path)
    before = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    for model in (
        initial_model(small_config(start=str(tmp_path), seed=5)),
        initial_model(small_config(seed=5), first),
    ):
        assert all(map(torch.equal, before.values(), model.state_dict().values()))
    trained = fit(small_config(1, average=0.0), small_dataset(), model=first).result
    assert all(map(torch.equal, before.values(), first.state_dict().values()))
    assert not torch.equal(trained.head.weight, first.head.weight)
    assert torch.equal(load(tmp_path).head.weight, first.head.weight)
    free = replace(MODEL, dropout=0.0, key_dropout=0.0, rejected_below=0.5)
    assert initial_model(small_config(model=free), first).config == free


def test_probabilities_that_are_smoothed_labels_give_the_loss_of_the_labels() -> None:
    config = small_config(non_digits=0.1, label_smoothing=0.2)
    batch = ImageBatches(small_dataset(), config, ALONE).batch(0, torch.arange(13))
    logits = torch.randn(13, 3)
    labels = batch._replace(targets=None)
    torch.testing.assert_close(*(loss_of(logits, x, config) for x in (batch, labels)))


SIX_PATCHES = ViTConfig(image_size=(6, 9), patch_size=3, embed_dim=8, depth=1, num_heads=2)


def images_with_contrast(patches: list[int]) -> torch.Tensor:
    """An image of zeros, with one bright pixel in each of the patches."""
    images = torch.zeros(1, 1, 6, 9)
    for strength, patch in enumerate(patches, start=1):
        images[0, 0, patch // 3 * 3 + 1, patch % 3 * 3 + 1] = strength
    return images


@pytest.mark.parametrize("pool", ["mean", "class"])
def test_the_blocks_get_the_patches_of_the_highest_contrast_in_their_order(
    pool: Literal["mean", "class"],
) -> None:
    torch.manual_seed(0)
    model = build(replace(SIX_PATCHES, pool=pool))
    assert isinstance(model, VisionTransformer)
    images = torch.cat([images_with_contrast([5, 1, 4]), images_with_contrast([0, 2, 3])])
    tokens = model.embedded(images)
    prefix = [0] if pool == "class" else []
    rows = [[*prefix, *(len(prefix) + patch for patch in kept)] for kept in ([1, 4, 5], [0, 2, 3])]
    kept = torch.stack([image[row] for image, row in zip(tokens, rows, strict=True)])
    expected = model.head(model.pooled(model.norm(model.blocks(kept))))
    whole = model(images)
    state = initial_state(small_config(model=model.config, early_patches=0.5), model, 3)
    with early_patches(state, images):
        result = model(images)
    torch.testing.assert_close(result, expected)
    assert not torch.allclose(result, whole)
    torch.testing.assert_close(model(images), whole)


def test_all_patches_are_used_in_the_last_third_of_a_training() -> None:
    seen: list[int] = []

    class Hooked(Callback):
        def on_start(self, state: TrainingState[Any]) -> None:
            state.model.get_submodule("blocks.0").register_forward_pre_hook(
                lambda _, args: seen.append(args[0].shape[1])
            )

    fit(small_config(3, model=MODEL, early_patches=0.5), small_dataset(), callback=Hooked())
    assert seen == [2] * 14 + [4] * 7
