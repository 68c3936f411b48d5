"""A whole training: recipe, data, training, evaluation, and a folder with the results.

The folder gets `run.json` (the settings), `log.jsonl`, `checkpoints/`, and at the end the model
(`model.safetensors`, `config.json`, `README.md`) and `metrics.json`. A training that was stopped,
even by a kill, continues from its last checkpoint and ends with the same bits as one that was not.
"""

import hashlib
import inspect
import json
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from clearhead._atomic import write_atomic
from clearhead.data import DownloadProgress, ImageDataset, split_dataset
from clearhead.errors import CheckpointError, ConfigError, did_you_mean
from clearhead.inference import (
    Evaluation,
    PronounScore,
    check_dataset,
    load_dataset_for,
    predict_probabilities,
    pronoun_scores,
    save_evaluation_plot,
)
from clearhead.models.build import Model
from clearhead.models.pretrained import CONFIG, RUN, ImageModel
from clearhead.training.checkpoint import LATEST
from clearhead.training.config import (
    RECIPES,
    BaseTrainConfig,
    TextTrainConfig,
    TrainConfig,
    sizes_for,
)
from clearhead.training.distributed import World, choose_device, is_first, join_world
from clearhead.training.loop import Callback, TrainingState, fit
from clearhead.training.texts import config_with_vocabulary, generate_texts

CHECKPOINTS = "checkpoints"
LOG = "log.jsonl"
METRICS = "metrics.json"
PICTURE = "digits.png"
EVALUATION_BATCH = 1000
TEST_FRACTION = 0.2

ConfigT = TypeVar("ConfigT", bound=BaseTrainConfig)


@dataclass(frozen=True, repr=False)
class Trained:
    """The result of a training.

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
        """Settings and measurements as plain data for JSON."""
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
        return f"Trained({str(self.out)!r}, step {self.step} of {self.total_steps}{accuracy})"


def train(
    recipe: str | TrainConfig | TextTrainConfig = "quick",
    *,
    out: str | Path,
    data: str | Path | ImageDataset | tuple[ImageDataset, ImageDataset] | None = None,
    root: Path | None = None,
    device: str = "auto",
    restart: bool = False,
    tensorboard: bool = False,
    progress: bool = True,
    stop: Callable[[], bool] | None = None,
    report: DownloadProgress | None = None,
    **settings: Any,
) -> Trained:
    """Train a model, evaluate it, and write both into a folder.

    If `out` holds an unfinished training with the same settings, it continues there. Under
    `torchrun`, each process trains on its part of every batch. Test images are used once, after
    the last step.

    Args:
        recipe: The name of a recipe, or settings. The batch size and epochs of a recipe are adapted
            to few images, unless they are among `settings`.
        out: The folder for model, metrics, log and checkpoints.
        data: "mnist", "fashion-mnist", a folder with one folder of images for each class, training
            and test images, or images of which a fifth is held out for the test; None: as the
            recipe says. Number and names of the classes and the statistics of the pixels are taken
            from it. Text models generate their data.
        root: A folder that holds the files of a named data set.
        device: "auto", "cpu", "cuda" or "cuda:N".
        restart: Whether to discard a training in `out`.
        tensorboard: Whether to write a log for TensorBoard too.
        progress: Whether to print progress on stderr.
        stop: Called before each step; once it returns true, training stops with a checkpoint.
        report: Called with the progress of a download.
        **settings: Fields of the recipe's configuration to change, such as `epochs=3`.

    Returns:
        The model, and what was measured.

    Raises:
        ConfigError: If settings, data and device do not fit together, or `out` holds a training
            with other settings.
        DataError: If the data set cannot be loaded.
        CheckpointError: If a checkpoint or the start model is damaged.
        DivergenceError: If the loss becomes NaN or infinite.
    """
    choose_device(device)
    config = configured(recipe, settings)
    run = Run(Path(out), restart=restart, tensorboard=tensorboard, progress=progress)
    if isinstance(config, TextTrainConfig):
        if data is not None or root is not None:
            raise ConfigError("text models generate their sentences; leave out data and root")
        return _train_on_texts(config_with_vocabulary(config), run, device, stop)
    if isinstance(data, str | Path):
        config, data = replace(config, data=str(data)), None
    train_set, test_set = _datasets(config, data, root, report)
    config = replace(config, data=config.data if data is None else train_set.name)
    if isinstance(recipe, str):
        batch_size, epochs = sizes_for(config, len(train_set))
        adapted: dict[str, Any] = {"batch_size": batch_size, "epochs": epochs}
        adapted = {name: value for name, value in adapted.items() if name not in settings}
        run.remark_sizes(config, config := replace(config, **adapted), len(train_set))
    if config.data != "mnist":  # whose statistics and classes are the defaults
        config = replace(config, model=fitted(config.model, train_set))
    check_dataset(train_set, config.model)
    check_dataset(test_set, config.model)
    return _train_on_images(config, train_set, test_set, run, device, stop)


def configured(
    recipe: str | TrainConfig | TextTrainConfig, settings: dict[str, Any]
) -> TrainConfig | TextTrainConfig:
    """The settings of a recipe, or the given ones, with some of them changed."""
    changed = dict(settings)
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            nearest = did_you_mean(recipe, RECIPES)
            raise ConfigError(
                f"there is no recipe {recipe!r}{nearest or f'; known are {list(RECIPES)}'}"
            )
        required = inspect.signature(RECIPES[recipe]).parameters
        for name in required:
            if changed.get(name) is None:
                raise ConfigError(f"the recipe {recipe} needs {name}: a saved model to start from")
        config = RECIPES[recipe](**{name: changed.pop(name) for name in required})
    else:
        config = recipe
    known = [field.name for field in fields(config)]
    for name in changed:
        if name not in known:
            raise ConfigError(f"there is no setting {name!r}{did_you_mean(name, known)}")
    return replace(config, **changed)


def fitted(model: Any, dataset: ImageDataset) -> Any:
    """A model's configuration with the classes and the pixel statistics of a data set."""
    pixels = dataset.images.transpose(0, 1).flatten(1).double() / 255
    return replace(
        model,
        num_classes=len(dataset.class_names),
        class_names=dataset.class_names,
        mean=tuple(round(value, 4) for value in pixels.mean(dim=1).tolist()),
        std=tuple(max(round(value, 4), 1e-4) for value in pixels.std(dim=1).tolist()),
    )


def main_score(scores: tuple[PronounScore, ...]) -> PronounScore:
    """The score that stands for all: pairs of nouns not in the training texts, by place."""
    return next(score for score in scores if score.pairs == "unseen" and score.question == "place")


def evaluate_together(model: ImageModel, dataset: ImageDataset, world: World) -> Evaluation:
    """Evaluate in all processes; the result is the same, bit by bit, as with one.

    Each process takes every n-th batch; batches are the same for any number of processes.
    """
    batches = torch.split(dataset.images, EVALUATION_BATCH)
    mine = [predict_probabilities(model, batch) for batch in batches[world.rank :: world.size]]
    shape = (0, len(dataset.class_names))
    gathered = world.gather(torch.cat([torch.empty(shape, dtype=torch.float64), *mine]))
    parts = [iter(torch.split(part, EVALUATION_BATCH)) for part in gathered]
    joined = [next(parts[number % world.size]) for number in range(len(batches))]
    return Evaluation.from_probabilities(torch.cat(joined), dataset.labels, dataset.class_names)


def _datasets(
    config: TrainConfig,
    data: ImageDataset | tuple[ImageDataset, ImageDataset] | None,
    root: Path | None,
    report: DownloadProgress | None,
) -> tuple[ImageDataset, ImageDataset]:
    """Training and test images, both at once: an error in either shows before the training."""
    if isinstance(data, ImageDataset):
        return split_dataset(data, TEST_FRACTION)
    if data is not None:
        return data
    return (
        load_dataset_for(config.model, config.data, "train", root=root, report=report),
        load_dataset_for(config.model, config.data, "test", root=root, report=report),
    )


def _train_on_images(
    config: TrainConfig,
    train_set: ImageDataset,
    test_set: ImageDataset,
    run: "Run",
    device: str,
    stop: Callable[[], bool] | None,
) -> Trained:
    with join_world(device) as world:
        images = fingerprint(train_set.images, train_set.labels)
        with run.open(config, {"images": images}, world):
            state = fit(
                config,
                train_set,
                world=world,
                checkpoints=run.folder / CHECKPOINTS,
                stop=stop,
                callback=run,
            )
        model = state.result
        trained = Trained(model, config, run.folder, state.step, state.total_steps)
        if not trained.finished:
            return trained
        if world.is_first:
            model.save_pretrained(run.folder)
        evaluation = evaluate_together(model, test_set, world)
        if world.is_first:
            run.write_metrics({"config": asdict(config), "test": evaluation.to_dict()})
            save_evaluation_plot(evaluation, test_set, run.folder / PICTURE)
            low, high = evaluation.interval
            model.write_card(
                run.folder,
                f"{evaluation.accuracy:.2%} (95 % interval {low:.2%} – {high:.2%}), "
                f"{evaluation.correct:,} of {evaluation.total:,} test images of {test_set.name}; "
                f"`{METRICS}` has all measurements, `{RUN}` the settings of the training",
            )
        return replace(trained, evaluation=evaluation)


def _train_on_texts(
    config: TextTrainConfig, run: "Run", device: str, stop: Callable[[], bool] | None
) -> Trained:
    with join_world(device) as world:
        texts = generate_texts(config)
        with run.open(config, {"texts": fingerprint(*vars(texts).values())}, world):
            state = fit(
                config,
                texts,
                world=world,
                checkpoints=run.folder / CHECKPOINTS,
                stop=stop,
                callback=run,
            )
        model = state.result
        trained = Trained(model, config, run.folder, state.step, state.total_steps)
        if not trained.finished:
            return trained
        if world.is_first:
            model.save_pretrained(run.folder)
        scores = pronoun_scores(model.cpu())
        if world.is_first:
            score = main_score(scores)
            run.write_metrics(
                {
                    "config": asdict(config),
                    "test": score.to_dict(),
                    "all": [score.to_dict() for score in scores],
                }
            )
            model.write_card(
                run.folder,
                f"{score.accuracy:.2%}, {score.correct:,} of {score.total:,} pronouns: the "
                "referent among two nouns that did not occur together in training, by place "
                f"(chance: 50 %); `{METRICS}` has all measurements, `{RUN}` the settings of the "
                "training",
            )
        return replace(trained, scores=scores)


def fingerprint(*tensors: Tensor) -> str:
    """SHA-256 over tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()


class Run(Callback):
    """The folder of a training, its log, and its progress on stderr.

    On a terminal progress is one live line, elsewhere a line an epoch. In a training with several
    processes only the first writes and prints.

    Args:
        folder: The folder.
        restart: Whether to discard a training that it holds.
        tensorboard: Whether to write a log for TensorBoard too.
        progress: Whether to print.
    """

    def __init__(
        self,
        folder: Path,
        *,
        restart: bool = False,
        tensorboard: bool = False,
        progress: bool = True,
    ) -> None:
        self.folder = folder
        self.silent = not is_first()
        self.console = Console(file=sys.stderr, highlight=False, quiet=self.silent or not progress)
        self._restart = restart
        self._board = _open_board(folder) if tensorboard and not self.silent else None
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._description: dict[str, Any] = {}
        self._batch_size, self._first_step, self._started = 1, 0, time.monotonic()

    def open(self, config: BaseTrainConfig, data: dict[str, str], world: World) -> "Run":
        """Check that the folder is free or holds this very training; a context manager.

        Args:
            config: The settings.
            data: The kind of the data, and its fingerprint.
            world: The processes; those after the first wait for it.

        Raises:
            ConfigError: If the folder holds a training with other settings or data.
        """
        self._batch_size = config.batch_size
        self._description = json.loads(json.dumps({"config": asdict(config), **data}))
        if world.is_first:
            if self._restart:
                shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
                with suppress(OSError):
                    (self.folder / RUN).unlink()
            self._check_folder()
        world.any(False)  # all wait until the folder is checked
        return self

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()

    def remark_sizes(self, recipe: BaseTrainConfig, config: BaseTrainConfig, images: int) -> None:
        """Print a line if batch size or epochs were adapted."""
        if config != recipe:
            self.on_message(
                f"{images} images to train on: batch size {config.batch_size} and {config.epochs} "
                f"epochs instead of {recipe.batch_size} and {recipe.epochs}; set batch_size and "
                "epochs to change that"
            )

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write metrics.json."""
        write_atomic(self.folder / METRICS, (json.dumps(metrics, indent=2) + "\n").encode())

    def on_start(self, state: TrainingState[Any]) -> None:
        """Write run.json and start the progress, once nothing has failed so far."""
        self._first_step, self._started = state.step, time.monotonic()
        if self.silent:
            return
        content = json.dumps(self._description, indent=2) + "\n"
        write_atomic(self.folder / RUN, content.encode())
        _drop_log_after(self.folder / LOG, state.step)
        if self.console.is_terminal and not self.console.quiet and not state.finished:
            self._bar = Progress(
                TextColumn("{task.fields[text]}"),
                BarColumn(),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task(
                "train", total=state.total_steps, completed=state.step, text="starting"
            )
            self._bar.start()

    def on_message(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, soft_wrap=True)

    def on_step(self, state: TrainingState[Any], loss: float) -> None:
        """Update the live line."""
        if self._bar is not None:
            text = f"step {state.step:,}/{state.total_steps:,}  loss {loss:.3f}"
            self._bar.update(self._task, completed=state.step, text=text)

    def on_epoch(self, state: TrainingState[Any], metrics: dict[str, float]) -> None:
        """Print a line and append one to the log."""
        if self.silent:
            return
        elapsed, done = time.monotonic() - self._started, state.step - self._first_step
        rate = self._batch_size * done / elapsed
        left = elapsed / done * (state.total_steps - state.step)
        self.on_message(
            f"epoch {metrics['epoch']:>3}/{metrics['epochs']}  loss {metrics['loss']:.4f}  "
            f"training accuracy {metrics['accuracy']:.2%}  {rate:,.0f} examples/s  "
            f"{minutes(left)} left"
        )
        line = {
            "step": state.step,
            **metrics,
            "images_per_second": round(rate, 1),
            "seconds": round(elapsed, 2),
        }
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name in ("loss", "accuracy", "learning_rate"):
                self._board.add_scalar(f"train/{name}", metrics[name], state.step)

    def _check_folder(self) -> None:
        path = self.folder / RUN
        started = (self.folder / CHECKPOINTS / LATEST).exists() or (self.folder / CONFIG).exists()
        if not path.exists() or not started:  # a start that failed leaves nothing to protect
            return
        try:
            described = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}); restore it, or begin again with --restart"
            ) from error
        differing = sorted(_differences(described, self._description))
        if differing:
            raise ConfigError(
                f"{self.folder} holds a training with other settings ({', '.join(differing)}); "
                "choose another --out, or --restart to begin again there"
            )


def minutes(seconds: float) -> str:
    """A duration as minutes:seconds."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            path
            for key in old.keys() | new.keys()
            for path in _differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if old == new else [name]


def _drop_log_after(path: Path, step: int) -> None:
    """Drop the lines of steps that will be done again, and a line that a kill cut off."""
    kept: list[str] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
    path.write_text("".join(kept), encoding="utf-8")


def _open_board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("TensorBoard is not installed: pip install tensorboard") from error
    return SummaryWriter(str(folder / "tensorboard"))
