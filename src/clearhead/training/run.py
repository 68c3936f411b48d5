"""Training: `train` makes a folder with a model and results; `fit` trains a model in memory.

The folder gets `run.json` (the settings), `log.jsonl`, `checkpoints/`, and at the end the model
(`model.safetensors`, `config.json`, `README.md`) and `metrics.json`. A run that was stopped, even
by a kill, continues from its last checkpoint and ends with bitwise equal weights.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast, overload

import torch

from clearhead.data import DownloadProgress, ImageDataset, Source
from clearhead.errors import ConfigError, DivergenceError
from clearhead.inference import check_dataset
from clearhead.models import Model
from clearhead.models.pretrained import ImageModel
from clearhead.models.text import TextTransformer
from clearhead.training._folder import CHECKPOINTS, TrainingFolder, fingerprint
from clearhead.training.adaptation import Images, adapt_to_images, open_splits
from clearhead.training.batches import ImageBatches, with_generated_images
from clearhead.training.checkpoint import load_checkpoint
from clearhead.training.config import TextTrainConfig, TrainConfig
from clearhead.training.distributed import ALONE, World, choose_device, join_world
from clearhead.training.loop import run_steps
from clearhead.training.recipes import configured
from clearhead.training.results import TrainingResult, measured
from clearhead.training.start import initial_model, initial_state, load_teachers
from clearhead.training.state import Callback, TrainingState
from clearhead.training.texts import (
    TextBatches,
    TextData,
    config_with_vocabulary,
    generate_texts,
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
    images: Images | None = None
    if isinstance(config, TextTrainConfig):
        if data is not None or root is not None:
            raise ConfigError("text models generate their sentences; leave out data and root")
        config = config_with_vocabulary(config)
        examples: Any = generate_texts(config)
    else:
        with run.console.status("looking for the data set") as status:
            report = report or (lambda what, count: status.update(f"{what}: {count / 1e6:.1f} MB"))
            config, splits = open_splits(config, data, Path(out), root, report)
            typed = settings if isinstance(recipe, str) else None
            config, images = adapt_to_images(config, splits, given, typed, run.on_message)
        check_dataset(images.test, config.model)
        examples = images.train
    kind = "texts" if images is None else "images"
    tensors = [x for x in vars(examples).values() if isinstance(x, torch.Tensor)]
    with join_world(device) as world:
        with run.open(config, {kind: fingerprint(*tensors)}, world):
            state: TrainingState[Any] = fit(
                cast(Any, config),
                examples,
                validation=images.validation if images else None,
                world=world,
                checkpoints=run.folder / CHECKPOINTS,
                stop=stop,
                callback=run,
            )
        result = TrainingResult(state.result, config, run.folder, state.step, state.total_steps)
        return measured(result, images, world, run.on_message) if result.finished else result


@overload
def fit(
    config: TrainConfig,
    data: ImageDataset,
    *,
    validation: ImageDataset | None = ...,
    model: ImageModel | None = ...,
    world: World = ...,
    checkpoints: Path | None = ...,
    stop: Callable[[], bool] | None = ...,
    callback: Callback | None = ...,
) -> TrainingState[ImageModel]: ...
@overload
def fit(
    config: TextTrainConfig,
    data: TextData | None = ...,
    *,
    model: TextTransformer | None = ...,
    world: World = ...,
    checkpoints: Path | None = ...,
    stop: Callable[[], bool] | None = ...,
    callback: Callback | None = ...,
) -> TrainingState[TextTransformer]: ...
def fit(
    config: TrainConfig | TextTrainConfig,
    data: ImageDataset | TextData | None = None,
    *,
    validation: ImageDataset | None = None,
    model: Model | None = None,
    world: World = ALONE,
    checkpoints: Path | None = None,
    stop: Callable[[], bool] | None = None,
    callback: Callback | None = None,
) -> TrainingState[Any]:
    """Train a model in memory.

    Args:
        config: The settings; of a text model without vocabulary, it becomes that of the sentences.
        data: The training data, all of it used. For texts, None generates them from the settings.
        validation: Images on which loss and accuracy are measured after each epoch; not for texts.
        model: Initial weights, which are copied; None: `config.start`, or random weights.
        world: The processes that take part, from `join_world`.
        checkpoints: A folder for checkpoints. A training run continues from the newest one there.
        stop: Called before each step; once it returns true in any process, training stops.
        callback: Its methods are called while training.

    Returns:
        The state at the end; its `result` is the trained model, in evaluation mode.

    Raises:
        ConfigError: If data or initial weights do not fit the settings.
        CheckpointError: If a checkpoint or the start model is damaged.
        DivergenceError: If the loss or the gradient becomes NaN or infinite.
    """
    callback = callback or Callback()
    batches: ImageBatches | TextBatches
    if isinstance(config, TextTrainConfig):
        config = config_with_vocabulary(config)
        texts = data if isinstance(data, TextData) else generate_texts(config)
        batches = TextBatches(texts.to(world.device), config, world)
    elif isinstance(config, TrainConfig) and isinstance(data, ImageDataset):
        for images in (data, validation or data):
            check_dataset(images, config.model)
        dataset, teachers = with_generated_images(data, config), load_teachers(config, world)
        batches = ImageBatches(dataset.to(world.device), config, world, teachers, len(data))
    else:
        raise ConfigError(
            "fit needs a TrainConfig and an ImageDataset, or a TextTrainConfig, got "
            f"{config!r:.80} and {data!r:.80}; for a recipe by name use clearhead.train"
        )
    initial = initial_model(config, model, callback.on_message)
    per_epoch = max(len(batches.data) // config.batch_size, 1)  # the rest varies between epochs
    state = initial_state(config, initial, config.epochs * per_epoch, world)
    if checkpoints is not None and (saved := load_checkpoint(checkpoints)) is not None:
        state.restore(saved)
    callback.on_start(state)
    try:
        if not state.finished:
            run_steps(state, batches, validation, checkpoints, stop or (lambda: False), callback)
    except DivergenceError as error:
        kept = f"; the last good checkpoint is in {checkpoints}" if checkpoints else ""
        raise DivergenceError(f"{error}{kept}") from error
    state.result.eval().requires_grad_(True)
    return state
