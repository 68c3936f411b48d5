"""A whole training: recipe, data, training, evaluation, and a folder with the results.

The folder gets `run.json` (the settings), `log.jsonl`, `checkpoints/`, and at the end the model
(`model.safetensors`, `config.json`, `README.md`) and `metrics.json`. A run that was stopped, even
by a kill, continues from its last checkpoint and ends with bitwise equal weights.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from clearhead._atomic import write_atomic
from clearhead.data import DATASETS, DownloadProgress, ImageDataset, Source, split_dataset
from clearhead.errors import ConfigError
from clearhead.inference import (
    Evaluation,
    PronounScore,
    check_dataset,
    pronoun_scores,
    save_evaluation_plot,
)
from clearhead.models import Model
from clearhead.models.pretrained import RUN
from clearhead.training._folder import CHECKPOINTS, TrainingFolder, fingerprint
from clearhead.training.adaptation import adapt_to_images, open_splits
from clearhead.training.calibration import calibrate
from clearhead.training.config import TextTrainConfig, TrainConfig
from clearhead.training.distributed import choose_device, join_world
from clearhead.training.loop import evaluate_together, fit
from clearhead.training.recipes import configured
from clearhead.training.step import TrainingState
from clearhead.training.texts import TextData, config_with_vocabulary, generate_texts

METRICS = "metrics.json"
PICTURE = "predictions.png"
MIN_HELD_OUT = 100  # images; of fewer, 1 % is less than one


@dataclass(frozen=True, repr=False)
class TrainingResult:
    """The result of a training run.

    Attributes:
        model: The model, in evaluation mode.
        config: The settings as they were used.
        out: The folder.
        step: Steps done.
        total_steps: Steps of the whole training.
        evaluation: Of an image model, on the test images; None if the training was stopped.
        scores: Of a text model, on sentences that it was not trained on.
    """

    model: Model
    config: TrainConfig | TextTrainConfig
    out: Path
    step: int
    total_steps: int
    evaluation: Evaluation | None = None
    scores: tuple[PronounScore, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether all steps are done; False if the training was stopped."""
        return self.step >= self.total_steps

    @property
    def accuracy(self) -> float | None:
        """Of an image model, on the test images; of a text model, `main_score`; None if stopped."""
        if self.evaluation is not None:
            return self.evaluation.accuracy
        return main_score(self.scores).accuracy if self.scores else None

    def to_dict(self) -> dict[str, Any]:
        """Settings and measurements as plain data for JSON.

        Returns:
            A dictionary for `json.dumps`.
        """
        return {
            "config": asdict(self.config),
            "out": str(self.out),
            "step": self.step,
            "total_steps": self.total_steps,
            "evaluation": self.evaluation.to_dict() if self.evaluation else None,
            "scores": [score.to_dict() for score in self.scores],
        }

    def __repr__(self) -> str:
        accuracy = "" if self.accuracy is None else f", accuracy {self.accuracy:.2%}"
        return (
            f"TrainingResult({str(self.out)!r}, step {self.step} of {self.total_steps}{accuracy})"
        )


def train(
    recipe: str | TrainConfig | TextTrainConfig = "quick",
    *,
    out: str | Path,
    data: Source | tuple[ImageDataset, ...] | None = None,
    root: Path | None = None,
    device: str | torch.device = "auto",
    restart: bool = False,
    tensorboard: bool = False,
    progress: bool = True,
    stop: Callable[[], bool] | None = None,
    report: DownloadProgress | None = None,
    **settings: Any,
) -> TrainingResult:
    """Train a model, evaluate it, and write both into a folder.

    If `out` holds an unfinished training run with the same settings, it continues there. Under
    `torchrun`, each process trains on its part of every batch. Test images are used once, after
    the last step.

    Args:
        recipe: The name of a recipe, or settings. Those of a recipe are adapted to the images,
            unless they are among `settings`: the model's image size, channels and patches, and to
            few images the batch size and epochs. With `start`, the model is that of `start`.
        out: The folder for model, metrics, log and checkpoints.
        data: What `load_dataset` accepts; or training and test images, and perhaps validation
            images, each as an `ImageDataset`; None: the recipe's default. Number and names of the
            classes and the statistics of the pixels are taken from it. Text models generate their
            data.
        root: A folder that holds the files of a named data set.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        restart: Whether to discard a training run in `out`.
        tensorboard: Whether to write a log for TensorBoard too.
        progress: Whether to print progress on stderr.
        stop: Called before each step; once it returns true, training stops with a checkpoint.
        report: Called with the progress of a download; by default a terminal shows it.
        **settings: Fields of the recipe's configuration to change, such as `epochs=3` or
            `model={"depth": 4}`; a whole `ViTConfig` as `model` is used as it is, but for classes
            and statistics of the pixels.

    Returns:
        The model, and what was measured.

    Raises:
        ConfigError: If settings, data and device do not fit together, or `out` holds a training run
            with other settings.
        DataError: If the data set cannot be loaded.
        CheckpointError: If a checkpoint or the start model is damaged.
        DivergenceError: If the loss becomes NaN or infinite.
    """
    if not isinstance(out, str | Path):
        raise ConfigError(f"out is the folder to write, a str or Path, got {out!r}")
    choose_device(device := str(device))
    config, given = configured(recipe, settings)
    run = TrainingFolder(Path(out), restart=restart, tensorboard=tensorboard, progress=progress)
    if isinstance(config, TextTrainConfig):
        if data is not None or root is not None:
            raise ConfigError("text models generate their sentences; leave out data and root")
        config = config_with_vocabulary(config)
        texts = generate_texts(config)
        return _train(config, texts, run, device, stop)
    with run.console.status("looking for the data set") as status:
        report = report or (lambda what, count: status.update(f"{what}: {count / 1e6:.1f} MB"))
        config, splits = open_splits(config, data, Path(out), root, report)
        typed = settings if isinstance(recipe, str) else None
        config, images = adapt_to_images(config, splits, given, typed, run.on_message)
    train_set, test_set = images["train"], images["test"]
    check_dataset(test_set, config.model)
    validation = images.get("val")
    if validation is None and config.validation:
        train_set, validation = split_dataset(train_set, config.validation, seed=1)
    held_out = None
    if config.holdout:
        train_set, held_out = split_dataset(train_set, config.holdout)
    elif validation is not None and len(validation) >= MIN_HELD_OUT:
        held_out = validation

    return _train(config, train_set, run, device, stop, test_set, held_out, validation or held_out)


def main_score(scores: tuple[PronounScore, ...]) -> PronounScore:
    """The main score: on pairs of nouns that are not in the training texts, by position."""
    return next(score for score in scores if score.pairs == "unseen" and score.question == "place")


def _train(
    config: TrainConfig | TextTrainConfig,
    data: ImageDataset | TextData,
    run: TrainingFolder,
    device: str,
    stop: Callable[[], bool] | None,
    test_set: ImageDataset | None = None,
    held_out: ImageDataset | None = None,
    validation: ImageDataset | None = None,
) -> TrainingResult:
    """Train, evaluate and write; the last three are of a training run on images."""
    tensors = [x for x in vars(data).values() if isinstance(x, torch.Tensor)]
    kind = "images" if isinstance(data, ImageDataset) else "texts"
    with join_world(device) as world:
        with run.open(config, {kind: fingerprint(*tensors)}, world):
            state: TrainingState[Any] = fit(
                cast(Any, config),
                cast(Any, data),
                validation=validation,
                world=world,
                checkpoints=run.folder / CHECKPOINTS,
                stop=stop,
                callback=run,
            )
        model = state.result
        trained = TrainingResult(model, config, run.folder, state.step, state.total_steps)
        if not trained.finished:
            return trained
        calibration = {} if held_out is None else calibrate(model, held_out)
        is_own = isinstance(config, TrainConfig) and config.data not in DATASETS
        if is_own and len(held_out or ()) < MIN_HELD_OUT:
            model.config = replace(model.config, doubtful_below=1.0)
            run.on_message(
                f"too few images are held out to calibrate the probabilities ({MIN_HELD_OUT} are "
                "needed), so every prediction is doubtful; add images"
            )
        if world.is_first:
            model.save_pretrained(run.folder)
        if test_set is None:
            trained = replace(trained, scores=pronoun_scores(model.cpu()))
        else:
            trained = replace(trained, evaluation=evaluate_together(model, test_set, world))
        if world.is_first:
            _write_results(trained, calibration, test_set)
        return trained


def _write_results(
    trained: TrainingResult, calibration: dict[str, Any], test_set: ImageDataset | None
) -> None:
    """Write metrics.json, the model card, and of an image model the picture."""
    if trained.evaluation is None or test_set is None:
        main = main_score(trained.scores)
        measured = {"test": main.to_dict(), "all": [score.to_dict() for score in trained.scores]}
        summary = (
            f"{main.accuracy:.2%}, {main.correct:,} of {main.total:,} pronouns: the referent among "
            "two nouns that did not occur together in training, by position (chance: 50 %)"
        )
    else:
        evaluation, (low, high) = trained.evaluation, trained.evaluation.interval
        save_evaluation_plot(evaluation, test_set, trained.out / PICTURE)
        measured = {"test": evaluation.to_dict()}
        summary = (
            f"{evaluation.accuracy:.2%} (95 % interval {low:.2%} – {high:.2%}), "
            f"{evaluation.correct:,} of {evaluation.total:,} test images of {test_set.name}"
        )
    metrics = {"config": asdict(trained.config), **calibration, **measured}
    write_atomic(trained.out / METRICS, (json.dumps(metrics, indent=2) + "\n").encode())
    trained.model.write_card(
        trained.out,
        f"{summary}; `{METRICS}` has all measurements, `{RUN}` the settings of the training",
    )
