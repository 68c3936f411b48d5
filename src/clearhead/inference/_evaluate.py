"""How well a model reads a data set.

`predict_dataset` asks the model, `Evaluation.from_probabilities` counts. Between the two, a
distributed run can join the probabilities of its parts.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clearhead.data.images import ImageDataset
from clearhead.data.pixels import normalize
from clearhead.errors import ConfigError, InputError
from clearhead.inference.matching import check_dataset
from clearhead.inference.metrics import (
    ClassScores,
    ReliabilityBin,
    calibration_error_of,
    class_scores,
    confusion_matrix,
    negative_log_likelihood,
    reliability,
    wilson_interval,
)
from clearhead.inference.mode import evaluation_mode
from clearhead.models.pretrained import ImageModel

NUM_SAMPLES = 32
NUM_MISTAKES = 32


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to one image, by its index in the data set; classes are numbers."""

    index: int
    true: int
    predicted: int
    probability: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All that was measured, as plain data.

    `interval` is the 95 % Wilson interval of the accuracy. `confusion` has one row for each true
    class. `nll` is in nats. `samples` are evenly spaced over the data set; `worst` are the
    mistakes, the surest first.
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
    samples: tuple[Answer, ...]
    worst: tuple[Answer, ...]

    @classmethod
    def from_probabilities(
        cls,
        probabilities: Float[Tensor, "n classes"],
        labels: Int[Tensor, " n"],
        class_names: tuple[str, ...],
    ) -> Self:
        """Measure the probabilities a model gave to images with these labels."""
        probabilities, labels = probabilities.cpu(), labels.cpu()
        table = reliability(probabilities, labels)
        predictions = probabilities.max(dim=1).indices
        confusion = confusion_matrix(labels, predictions, probabilities.shape[1])
        total, correct = len(labels), int(confusion.trace())
        return cls(
            class_names=class_names,
            total=total,
            correct=correct,
            accuracy=correct / total,
            interval=wilson_interval(correct, total),
            nll=negative_log_likelihood(probabilities, labels),
            ece=calibration_error_of(table),
            per_class=class_scores(confusion, class_names),
            confusion=tuple(map(tuple, confusion.tolist())),
            reliability=table,
            samples=_answers(probabilities, labels, _evenly_spaced(total, NUM_SAMPLES)),
            worst=_answers(probabilities, labels, _surest_mistakes(probabilities, labels)),
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it: dicts, lists and numbers, None where nothing is defined."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain


def evaluate(
    model: ImageModel,
    dataset: ImageDataset,
    *,
    batch_size: int = 1000,
    device: torch.device | str | None = None,
) -> Evaluation:
    """Ask the model about every image of the data set, and measure its answers.

    The model runs where it lies, or is first moved to `device` and stays there. Raises
    `ConfigError` if model and data set do not belong together, `InputError` on NaN.
    """
    check_dataset(dataset, model.config)
    if device is not None:
        model.to(device)
    probabilities = predict_dataset(model, dataset.images, batch_size)
    return Evaluation.from_probabilities(probabilities, dataset.labels, dataset.class_names)


def predict_dataset(
    model: ImageModel, images: UInt8[Tensor, "n channels height width"], batch_size: int = 1000
) -> Float[Tensor, "n classes"]:
    """The probability of every class for every image: softmax(logits) in float64, on the CPU.

    Runs on the model's device and in its number type, in evaluation mode; each module gets its
    own mode back.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    like = next(model.parameters())
    with evaluation_mode(model), torch.inference_mode():
        parts = [
            model(normalize(batch.to(like.device), model.config).to(like.dtype)).cpu().double()
            for batch in torch.split(images, batch_size)
            if len(batch)
        ]
    logits = torch.cat([torch.empty(0, model.config.num_classes, dtype=torch.float64), *parts])
    if not logits.isfinite().all():
        first = int((~logits.isfinite()).any(dim=1).nonzero()[0])
        raise InputError(
            f"the model gave NaN or infinite logits, first for image {first}; its weights or "
            "settings are broken, so load another checkpoint"
        )
    return logits.softmax(dim=1)


def _evenly_spaced(total: int, wanted: int) -> Int[Tensor, " m"]:
    return torch.arange(min(wanted, total)) * total // min(wanted, total)


def _surest_mistakes(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]
) -> Int[Tensor, " m"]:
    confidences, predictions = probabilities.max(dim=1)
    wrong = (predictions != labels).nonzero()[:, 0]
    order = confidences[wrong].argsort(descending=True, stable=True)
    return wrong[order][:NUM_MISTAKES]


def _answers(
    probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], indices: Int[Tensor, " m"]
) -> tuple[Answer, ...]:
    confidences, predictions = probabilities[indices].double().max(dim=1)
    columns = (indices, labels[indices], predictions, confidences)
    return tuple(
        Answer(index=index, true=true, predicted=predicted, probability=probability)
        for index, true, predicted, probability in zip(
            *(column.tolist() for column in columns), strict=True
        )
    )
