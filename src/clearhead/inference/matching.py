"""Whether a model and a data set belong together, and how to load one that does."""

from pathlib import Path

from clearhead.data.datasets import KNOWN, Split, load_dataset
from clearhead.data.download import Report
from clearhead.data.images import ImageDataset
from clearhead.errors import ConfigError
from clearhead.models.config import ImageModelConfig


def load_for(
    config: ImageModelConfig,
    source: str,
    split: Split,
    *,
    root: Path | None = None,
    report: Report | None = None,
) -> ImageDataset:
    """A named data set as it is, or the pictures of a folder in the size the model reads."""
    if source in KNOWN:
        return load_dataset(source, split, root=root, report=report)
    return load_dataset(
        source, split, image_size=config.image_shape, in_channels=config.in_channels
    )


def check_dataset(dataset: ImageDataset, config: ImageModelConfig) -> None:
    """Raise `ConfigError` unless the data set's images and classes are the model's."""
    expected, found = (config.in_channels, *config.image_shape), tuple(dataset.images.shape[1:])
    if found != expected:
        raise ConfigError(
            f"the model reads {_size(expected)} images, {dataset.name} has {_size(found)}; choose "
            "another data set or train a model for this one"
        )
    names = dataset.class_names
    if len(names) != config.num_classes:
        raise ConfigError(
            f"the model knows {config.num_classes} classes, {dataset.name} has {len(names)}; "
            "choose another data set or train a model for this one"
        )
    if config.class_names and config.class_names != names:
        place = next(i for i, name in enumerate(names) if name != config.class_names[i])
        raise ConfigError(
            f"class {place} is {config.class_names[place]!r} to the model and {names[place]!r} in "
            f"{dataset.name}; choose another data set or train a model for this one"
        )


def _size(shape: tuple[int, ...]) -> str:
    channels, *sides = shape
    return f"{' × '.join(map(str, sides))} {'grey' if channels == 1 else f'{channels}-channel'}"
