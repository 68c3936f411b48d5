"""Accuracy, calibration and mistakes of a classifier on a data set."""

import json
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearhead.data import DownloadProgress, ImageDataset, Split, load_dataset
from clearhead.errors import ConfigError, InputError
from clearhead.inference._model import ModelLike, check_image_model, move, with_engine
from clearhead.inference._names import EngineChoice
from clearhead.inference._predict import predict_probabilities
from clearhead.inference.metrics import (
    ClassScores,
    ReliabilityBin,
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
    wilson_interval,
)
from clearhead.models.config import ImageModelConfig

NUM_EXAMPLES = 32
NUM_MISTAKES = 32
MAX_CLASSES_IN_TABLE = 20


@dataclass(frozen=True, kw_only=True)
class Example:
    """The prediction for one image of a data set.

    Attributes:
        index: Position of the image in the data set.
        true: Number of its class.
        predicted: Number of the most probable class.
        probability: Probability of `predicted`.
    """

    index: int
    true: int
    predicted: int
    probability: float


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation:
    """Measures of a classifier on a data set.

    Attributes:
        class_names: Names of the classes, in the order of `per_class` and `confusion`.
        total: Number of images.
        correct: Number of images whose most probable class is their own.
        accuracy: `correct / total`.
        interval: 95 % Wilson interval of the accuracy.
        nll: Mean negative log likelihood in nats.
        ece: Expected calibration error, with 15 bins.
        per_class: Recall, precision and F1 of each class.
        confusion: Numbers of images: true class (row) by predicted class (column).
        reliability: Confidence and accuracy in bins of confidence.
        examples: Images evenly spaced over the data set.
        mistakes: Misclassified images, the most confident first.
    """

    class_names: tuple[str, ...]
    total: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    nll: float
    ece: float
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    examples: tuple[Example, ...]
    mistakes: tuple[Example, ...]

    @classmethod
    def from_probabilities(
        cls,
        probabilities: Float[Tensor, "n classes"],
        labels: Int[Tensor, " n"],
        class_names: tuple[str, ...],
    ) -> Self:
        """Measure predicted probabilities of images with known labels.

        Args:
            probabilities: Predicted, a row for each image.
            labels: Index of the true class of each image.
            class_names: In the order of the columns.

        Returns:
            The measures.

        Raises:
            InputError: There is no image, not one row per label, a label without a column, or a
                probability outside of 0 to 1.
        """
        probabilities, labels = probabilities.cpu(), labels.cpu()
        confidences, predictions = probabilities.max(dim=1)
        confusion = confusion_matrix(labels, predictions, probabilities.shape[1])
        total, correct = len(labels), int(confusion.trace())
        spaced = torch.arange(min(NUM_EXAMPLES, total)) * total // min(NUM_EXAMPLES, total)
        wrong = (predictions != labels).nonzero()[:, 0]
        order = confidences[wrong].argsort(descending=True, stable=True)
        return cls(
            class_names=class_names,
            total=total,
            correct=correct,
            accuracy=correct / total,
            interval=wilson_interval(correct, total),
            nll=negative_log_likelihood(probabilities, labels),
            ece=expected_calibration_error(probabilities, labels),
            per_class=class_scores(confusion, class_names),
            confusion=tuple(map(tuple, confusion.tolist())),
            reliability=reliability(probabilities, labels),
            examples=_examples(probabilities, labels, spaced),
            mistakes=_examples(probabilities, labels, wrong[order][:NUM_MISTAKES]),
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON types.

        Returns:
            All fields by name; None where a measure is undefined.
        """
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"Evaluation(accuracy={self.accuracy:.4f}, interval=({low:.4f}, {high:.4f}), "
            f"correct={self.correct}, total={self.total}, nll={self.nll:.4f}, ece={self.ece:.4f})"
        )

    def _repr_html_(self) -> str:
        """Accuracy, and the confusion matrix of up to 20 classes."""
        low, high = self.interval
        text = (
            f"<p>Accuracy {self.accuracy:.2%} ({self.correct:,} of {self.total:,}; 95 % interval "
            f"{low:.2%} – {high:.2%}), calibration error {self.ece:.2%}</p>"
        )
        if len(self.class_names) > MAX_CLASSES_IN_TABLE:
            return text
        names = [f"<th>{escape(name)}</th>" for name in self.class_names]
        rows = (
            f"<tr>{name}{''.join(f'<td>{count}</td>' for count in counts)}</tr>"
            for name, counts in zip(names, self.confusion, strict=True)
        )
        caption = "<caption>true class (row) by predicted class (column)</caption>"
        return f"{text}<table>{caption}<tr><td></td>{''.join(names)}</tr>{''.join(rows)}</table>"


def evaluate(
    model: ModelLike,
    dataset: ImageDataset | str | Path,
    *,
    batch_size: int = 1000,
    device: torch.device | str | None = None,
    engine: EngineChoice = "torch",
) -> Evaluation:
    """Evaluate a classifier on a data set.

    Args:
        model: One of Clearhead's image classifiers.
        dataset: Images in the model's input size, with the model's classes; or the name or folder
            of a data set (see `load_dataset`), whose test images are used.
        batch_size: Images in a forward pass; the result does not depend on it.
        device: Where the model is moved to first; None leaves it where it is. An `EngineModel`
            is not moved: its device is the only one that can be given.
        engine: What computes the forward pass, as in `load_engine`.

    Returns:
        Accuracy with its interval, per-class measures, calibration, examples and mistakes.

    Raises:
        ConfigError: Image size or classes of the data set are not the model's, or the engine or the
            device cannot be used.
        InputError: The data set is empty, or the model is not an image model or returns NaN.
        DataError: The named data set cannot be loaded.
    """
    check_image_model(model, "evaluate")
    if not isinstance(dataset, ImageDataset | str | Path):
        raise InputError(
            "evaluate needs an ImageDataset, or the name or folder of a data set, got "
            f"{type(dataset).__name__}; make one: clearhead.ImageDataset(images=..., ...)"
        )
    if isinstance(dataset, ImageDataset):
        check_dataset(dataset, model.config)
    if device is not None:
        move(model, device)
    model = with_engine(model, engine, batch_size=batch_size)  # before a data set is downloaded
    if not isinstance(dataset, ImageDataset):
        dataset = load_dataset_for(model.config, dataset, "test")
        check_dataset(dataset, model.config)
    probabilities = predict_probabilities(model, dataset.images, batch_size)
    return Evaluation.from_probabilities(probabilities, dataset.labels, dataset.class_names)


def load_dataset_for(
    config: ImageModelConfig,
    source: str | Path,
    split: Split,
    *,
    root: Path | None = None,
    report: DownloadProgress | None = None,
) -> ImageDataset:
    """Load a data set in a model's input size.

    Args:
        config: The model's configuration.
        source: As in `load_dataset`.
        split: "train", "val" or "test".
        root: Folder with files of a named data set.
        report: Called during a download with the name of the file and the bytes received.

    Returns:
        The data set, with the height, width and channels of the model's input.

    Raises:
        DataError: As in `load_dataset`.
        ConfigError: As in `load_dataset`.
    """
    shape: dict[str, Any] = {"image_size": config.image_shape, "in_channels": config.in_channels}
    return load_dataset(source, split, root=root, progress=report, **shape)


def check_dataset(dataset: ImageDataset, config: ImageModelConfig) -> None:
    """Check that image size and classes of a data set are the model's.

    Args:
        dataset: The data set.
        config: The model's configuration.

    Raises:
        ConfigError: Image size, number of channels or classes differ.
    """
    advice = "choose another data set or train a model for this one"
    expected, shape = (config.in_channels, *config.image_shape), tuple(dataset.images.shape[1:])
    if shape != expected:
        raise ConfigError(
            f"the model's input is {_size(expected)}, {dataset.name} has {_size(shape)} images; "
            f"{advice}"
        )
    names = dataset.class_names
    if len(names) != config.num_classes:
        raise ConfigError(
            f"the model has {config.num_classes} classes, {dataset.name} has {len(names)}; {advice}"
        )
    if config.class_names and config.class_names != names:
        index = next(i for i, name in enumerate(names) if name != config.class_names[i])
        raise ConfigError(
            f"class {index} is {config.class_names[index]!r} in the model and {names[index]!r} in "
            f"{dataset.name}; {advice}"
        )


def _size(shape: tuple[int, ...]) -> str:
    channels, *sides = shape
    return f"{' × '.join(map(str, sides))} {'grey' if channels == 1 else f'{channels}-channel'}"


def _examples(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], indices: Int[Tensor, " m"]
) -> tuple[Example, ...]:
    confidences, predictions = probabilities[indices].double().max(dim=1)
    columns = (indices, labels[indices], predictions, confidences)
    return tuple(
        Example(index=int(index), true=int(true), predicted=int(predicted), probability=value)
        for index, true, predicted, value in zip(*(c.tolist() for c in columns), strict=True)
    )
