"""The images of a training run, and the settings of model and training that follow from them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil, prod
from pathlib import Path
from typing import Any, NamedTuple

from clearhead._paths import is_folder
from clearhead._validate import check
from clearhead.data import DATASETS, DownloadProgress, ImageDataset, Split, split_dataset
from clearhead.data.datasets import check_split, open_dataset
from clearhead.data.labelled import LabelledImages, decode
from clearhead.errors import ConfigError, DataError, setting
from clearhead.models import load
from clearhead.models.config import SIZE, PatchModelConfig, pair
from clearhead.models.pretrained import ImageModel
from clearhead.training.config import TrainConfig
from clearhead.training.start import NOT_IN_WEIGHTS

STEPS_PER_EPOCH, MIN_BATCH_SIZE, MIN_STEPS = 8, 8, 400  # at least, on few images
AVERAGED = 5  # steps of a training run, at least, over the averaging time of its weights
VALIDATION = 0.1
MIN_IMAGES = 10
"""Images of each class from which a part is held out for validation by default"""
PATCHES = 8  # along the longer side, about
MIN_PATCH = 2  # pixels
TOKENS = range(16, 101)
"""Numbers of patches for which patches, or an image size, are left as they are"""

MIN_HELD_OUT = 100  # images; of fewer, 1 % is less than one

Size = tuple[int, int]


class Images(NamedTuple):
    """The images of a training run; those held out, to calibrate, may be those for validation."""

    train: ImageDataset
    test: ImageDataset
    validation: ImageDataset | None
    held_out: ImageDataset | None


def open_splits(
    config: TrainConfig, data: Any, out: Path, root: Path | None, report: DownloadProgress | None
) -> tuple[TrainConfig, dict[Split, LabelledImages]]:
    """The settings with the name of `data`, and its splits, not decoded yet."""
    if isinstance(data, str | Path):
        if is_folder(data) and out.resolve().is_relative_to(Path(data).resolve()):
            raise ConfigError(f"out is in the folder of the images, {data}; choose another folder")
        config, data = replace(config, data=str(data)), None
    if isinstance(data, tuple) and all(isinstance(part, ImageDataset) for part in data):
        names: tuple[Split, ...] = ("train", "test", "val")
        named = zip(names, data, strict=False)
        splits = {name: LabelledImages.from_dataset(part) for name, part in named}
    else:
        source = config.data if data is None else data
        splits = open_dataset(source, root=root, progress=report)
    check_split(splits, "test")
    train = splits["train"]
    if len(train.class_names) < 2:
        raise DataError(
            f"{train.name} has only images of {', '.join(train.class_names)}; a classifier needs "
            "those of at least 2 classes"
        )
    return replace(config, data=config.data if data is None else train.name), splits


def adapt_to_images(
    config: TrainConfig,
    splits: Mapping[Split, LabelledImages],
    given: Mapping[str, Any] | None,
    settings: Mapping[str, Any] | None,
    message: Callable[[str], None],
) -> tuple[TrainConfig, Images]:
    """Adapt settings to the images, and decode these in the model's size.

    Settings of the model in `given` and of the training in `settings` are not changed; None stands
    for all of them. `message` is called with a line for each adaptation.
    """
    if given is not None:
        config = _with_model(config, splits["train"], given, message)
    if settings is not None:
        sizes = len(splits["train"]), len(splits["test"])
        config = _with_sizes(config, *sizes, settings, message)
        if config.validation is None:
            config = _with_validation(config, splits, message)
    images = decode(splits, config.model.image_shape, config.model.in_channels)
    if config.data != "mnist":  # whose statistics and classes are the defaults
        config = replace(config, model=config_for_dataset(config.model, images["train"]))
    _report_unseen(images["test"], message)
    train, validation, held_out = images["train"], images.get("val"), None
    if validation is None and config.validation:
        train, validation = split_dataset(train, config.validation, seed=1)
    if config.holdout:
        train, held_out = split_dataset(train, config.holdout)
    elif validation is not None and len(validation) >= MIN_HELD_OUT:
        held_out = validation
    return config, Images(train, images["test"], validation or held_out, held_out)


def _with_model(
    config: TrainConfig,
    images: LabelledImages,
    given: Mapping[str, Any],
    message: Callable[[str], None],
) -> TrainConfig:
    """The model of the recipe, in the size of the images; or that of the start model."""
    base: Any = config.model
    shape = images.usual_shape()
    if config.start is not None:
        base = load(str(config.start), ImageModel).config
        kept = [
            name for name in NOT_IN_WEIGHTS if hasattr(base, name) and hasattr(config.model, name)
        ]
        base = replace(base, **{name: getattr(config.model, name) for name in kept})
        shape = (base.in_channels, *base.image_shape)
    model = config_for_shape(base, shape, given)
    if config.data not in DATASETS or model != config.model:
        names = ("image_size", "in_channels", "patch_size")
        options = [setting(f"model.{name}") for name in names if hasattr(model, name)]
        message(
            f"{images.name}: the model's images are {_input(model)}; to change that, set "
            f"{', '.join(options)}"
        )
    return replace(config, model=model)


def _with_sizes(
    config: TrainConfig,
    images: int,
    test_images: int,
    settings: Mapping[str, Any],
    message: Callable[[str], None],
) -> TrainConfig:
    """Batch size, epochs and the weights' average for this number of training images."""
    batch_size, epochs = (
        settings.get(name, value)
        for name, value in zip(("batch_size", "epochs"), sizes_for(config, images), strict=True)
    )
    fitting: dict[str, Any] = {"batch_size": batch_size, "epochs": epochs}
    if config.data not in DATASETS and "average" not in settings:
        steps = epochs * max(images // batch_size, 1)
        fitting["average"] = min(config.average, round(max(1 - AVERAGED / steps, 0), 3))
    changed = {name: value for name, value in fitting.items() if value != getattr(config, name)}
    if changed:
        changes = [
            f"{setting(name, new)} instead of {getattr(config, name)}"
            for name, new in changed.items()
        ]
        message(
            f"{images} image{'s' * (images != 1)} to train on and {test_images} to test on: "
            f"{', '.join(changes)}; set {'them' if len(changes) > 1 else 'it'} to change that"
        )
    return replace(config, **changed)


def sizes_for(config: TrainConfig, images: int) -> tuple[int, int]:
    """Batch size and epochs of a recipe, adapted to the number of training images.

    Recipes are made for 60,000 digits; with a few dozen images, batches of 512 would give only a
    handful of steps. So a batch is at most an eighth of the images, and there are at least 400
    steps.
    """
    batch_size = min(config.batch_size, max(images // STEPS_PER_EPOCH, MIN_BATCH_SIZE))
    return batch_size, max(config.epochs, ceil(MIN_STEPS / max(images // batch_size, 1)))


def _with_validation(
    config: TrainConfig,
    splits: Mapping[Split, LabelledImages],
    message: Callable[[str], None],
) -> TrainConfig:
    """A tenth of your own images for validation, if there are enough and no others."""
    train = splits["train"]
    counts = [(train.labels == label).sum() for label in range(len(train.class_names))]
    if "val" in splits or config.holdout or config.data in DATASETS or min(counts) < MIN_IMAGES:
        return config
    message(
        "a tenth of the training images is held out for validation; to train on all, set "
        f"{setting('validation', 0)}"
    )
    return replace(config, validation=VALIDATION)


def _report_unseen(test_set: ImageDataset, message: Callable[[str], None]) -> None:
    counts = zip(test_set.class_names, test_set.class_counts, strict=True)
    if unseen := [name for name, count in counts if not count]:
        message(
            f"no test images of {', '.join(unseen)}: the accuracy says nothing about "
            f"{'it' if len(unseen) == 1 else 'them'}; add some to the test split"
        )


def config_for_shape(model: Any, shape: tuple[int, int, int], given: Mapping[str, Any]) -> Any:
    """A model's configuration for images of a shape.

    Patches are those of the configuration if they fit; if not, there are about 8 along the longer
    side. Where the sides have no such divisors, the size becomes a multiple of square patches. The
    settings in `given` replace those of `model`, and what follows from `shape`.
    """
    for name in given.keys() & {"image_size", "patch_size"}:
        check(name, given[name], SIZE)
    changes: dict[str, Any] = {"in_channels": shape[0]} | dict(given)
    if changes["in_channels"] != model.in_channels:
        changes = {"mean": (0.5,), "std": (0.5,)} | changes
    size = pair(changes.get("image_size", shape[1:]))
    if isinstance(model, PatchModelConfig):
        if "patch_size" not in given:
            size, patch = _patches(size, model.patch_shape, keep="image_size" in given)
            changes["patch_size"] = _plain(patch)
        elif "image_size" not in given:
            size = _multiple(size, pair(changes["patch_size"]))
    return replace(model, **changes | {"image_size": _plain(size)})


def config_for_dataset(model: Any, dataset: ImageDataset) -> Any:
    """A model's configuration with the classes and the pixel statistics of a data set."""
    pixels = dataset.images.transpose(0, 1).flatten(1).double() / 255
    return replace(
        model,
        num_classes=len(dataset.class_names),
        class_names=dataset.class_names,
        mean=tuple(round(value, 4) for value in pixels.mean(dim=1).tolist()),
        std=tuple(max(round(value, 4), 1e-4) for value in pixels.std(dim=1).tolist()),
    )


def _input(model: Any) -> str:
    """The input of a model in words."""
    channels = {1: "grey", 3: "colour"}.get(model.in_channels, f"{model.in_channels} channels")
    text = "{} × {} pixels, ".format(*model.image_shape) + channels
    if isinstance(model, PatchModelConfig):
        text += ", in patches of {} × {}".format(*model.patch_shape)
    return text


def _patches(size: Size, patch: Size, *, keep: bool) -> tuple[Size, Size]:
    """A size and the patches that divide it; with `keep` the size is the given one."""
    if _tokens(size, patch) in TOKENS:
        return size, patch
    wanted = [PATCHES * side / max(size) for side in size]
    grid = [_parts(side, parts) for side, parts in zip(size, wanted, strict=True)]
    patch = size[0] // grid[0], size[1] // grid[1]
    is_near = all(abs(n - x) <= x / 2 for n, x in zip(grid, wanted, strict=True))
    if keep or (is_near and _tokens(size, patch) in TOKENS):
        return size, patch
    side = max(MIN_PATCH, round(max(size) / PATCHES))
    return _multiple(size, (side, side)), (side, side)


def _parts(side: int, wanted: float) -> int:
    """The number of patches of equal length that is nearest to the one wanted."""
    possible = [n for n in range(1, side // MIN_PATCH + 1) if side % n == 0]
    return min(possible or [1], key=lambda n: abs(n - wanted))


def _tokens(size: Size, patch: Size) -> int:
    """Number of patches; 0 if they do not divide the size."""
    divides = all(side % part == 0 for side, part in zip(size, patch, strict=True))
    return prod(size) // prod(patch) if divides else 0


def _multiple(size: Size, patch: Size) -> Size:
    height, width = (
        max(1, round(side / part)) * part for side, part in zip(size, patch, strict=True)
    )
    return height, width


def _plain(size: Size) -> int | Size:
    return size[0] if size[0] == size[1] else size
