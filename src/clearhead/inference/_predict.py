"""What a picture shows, how sure the model is, and what speaks against believing it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.data.preprocessing.any_picture import Picture
from clearhead.errors import ImageError, InputError
from clearhead.inference._evaluate import predict_dataset
from clearhead.inference.prepare import Prepared, prepare
from clearhead.models.config import ImageModelConfig
from clearhead.models.pretrained import ImageModel

BATCH = 128
# A small CNN on MNIST's test digits: below it half of the answers are wrong, above it 1 in 270.
SURE = 0.6
UNSURE = "unsure answer"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer to one picture.

    `label` is None, and there are no probabilities, if there was nothing to answer: `warnings`
    then says "no digit found". Probabilities are in the order of the model's answers.
    """

    label: str | None = None
    probability: float = 0.0
    runner_up: str | None = None
    runner_up_probability: float = 0.0
    probabilities: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()


def predict(model: ImageModel, image: Picture) -> Prediction:
    """The answer to a path, bytes, a Pillow image, a numpy array or a tensor.

    Raises `ImageError` if it cannot be read.
    """
    if not isinstance(getattr(model, "config", None), ImageModelConfig):
        raise InputError(
            f"predict reads with clearhead's models, got {type(model).__module__}."
            f"{type(model).__name__}; those of timm and transformers: clearhead.explanation.explain"
        )
    return answer(model, [prepare(image, model.config)])[0]


def predict_many(model: ImageModel, images: Iterable[Picture]) -> list[Prediction]:
    """The same answers as one by one, in less time; an `ImageError` tells which image it was."""
    numbered = enumerate(images)
    predictions: list[Prediction] = []
    while batch := list(islice(numbered, BATCH)):
        predictions += answer(model, [_prepare_numbered(model, *pair) for pair in batch])
    return predictions


def answer(model: ImageModel, prepared: Sequence[Prepared]) -> list[Prediction]:
    """The model's answers to pictures that are ready for it, in one batch."""
    if not prepared:
        return []
    pixels = torch.stack([picture.pixels for picture in prepared])
    rows = predict_dataset(model, pixels, BATCH)
    names = model.config.labels
    return [_prediction(names, row, picture) for row, picture in zip(rows, prepared, strict=True)]


def _prepare_numbered(model: ImageModel, number: int, image: Picture) -> Prepared:
    try:
        return prepare(image, model.config)
    except ImageError as error:
        raise ImageError(f"image {number}: {error}") from error


def _prediction(
    names: tuple[str, ...], probabilities: Float[Tensor, " classes"], picture: Prepared
) -> Prediction:
    if not picture.found:
        return Prediction(warnings=picture.warnings)
    best, *others = probabilities.argsort(descending=True, stable=True).tolist()
    values = tuple(probabilities.tolist())
    unsure = () if values[best] >= SURE else (UNSURE,)
    return Prediction(
        label=names[best],
        probability=values[best],
        runner_up=names[others[0]] if others else None,
        runner_up_probability=values[others[0]] if others else 0.0,
        probabilities=values,
        warnings=(*picture.warnings, *unsure),
    )
