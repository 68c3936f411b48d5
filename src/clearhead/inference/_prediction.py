"""The prediction for a picture: a class with its probability, or the text of several digits."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from html import escape
from io import BytesIO
from itertools import pairwise
from math import ceil, prod
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from clearhead.data.preprocessing.digits import SEVERAL, SLASH
from clearhead.inference.metrics import soften

LOW_CONFIDENCE = "low confidence"
NOT_CALIBRATED = "the model's probabilities are not calibrated (too few held-out images)"
NOT_RECOGNISED = "not recognised: no class is probable enough"
TOUCHING = "digits that touch, or a letter?"
MIN_CERTAINTY = 0.35  # of digits that touch
THUMBNAIL_SIZE = 64
MAX_TABLE_ROWS = 10

Status = Literal["confident", "doubtful", "rejected"]


Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; the last two are exclusive."""


@dataclass(frozen=True, eq=False)
class ModelInput:
    """A preprocessed picture.

    Attributes:
        pixels: What the model takes, from 0 to 255.
        warnings: Reasons to doubt a prediction.
        found: Whether the picture shows anything.
        box: Where the digit is, in pixels of the upright picture; None if it was not searched for.
        parts: The digits in reading order if the picture seems to show several; `pixels` then have
            all of them as one, in case that they are pieces of one.
        segments: What is between two cuts, with their numbers, if the digit may be several.
        is_coarse: Whether a digit has too few pixels to estimate its certainty, but is not a dot.
    """

    pixels: UInt8[Tensor, "channels height width"] = field(repr=False)
    warnings: tuple[str, ...] = ()
    found: bool = True
    box: Box | None = None
    parts: tuple["ModelInput", ...] = ()
    segments: tuple[tuple[int, int, "ModelInput"], ...] = ()
    is_coarse: bool = False

    def flat(self) -> Iterator["ModelInput"]:
        """The input, then those of all parts and segments, each with its own.

        Returns:
            An iterator over them.
        """
        yield self
        for item in (*self.parts, *(part for _, _, part in self.segments)):
            yield from item.flat()

    def __reduce__(self) -> tuple[object, ...]:
        # torch would send a tensor to another process through shared memory, in a file for each.
        pixels, *others = (getattr(self, field.name) for field in fields(self))
        return _from_numpy, (pixels.numpy(), *others)


def _from_numpy(pixels: np.ndarray, *others: Any) -> ModelInput:
    return ModelInput(torch.from_numpy(pixels), *others)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The class of one picture, with probabilities; or the text of a picture of several digits.

    Attributes:
        label: Name of the most probable class; None if the picture is rejected. Of several digits,
            their labels in reading order, with "?" for each one that is rejected.
        probability: Probability of `label`; 0 without one. Of several digits, the product.
        runner_up: The second most probable label; None if there is none.
        runner_up_probability: Probability of `runner_up`.
        probabilities: One for each class, in the order of `class_names`; they sum to 1. Empty if
            the model did not run because the picture is blank, and for several digits.
        class_names: Names of all classes.
        warnings: Reasons to doubt or to reject the prediction.
        box: Where the digit is, in pixels of the upright picture; None if it was not searched for.
        digits: The predictions for the single digits if there are several, in reading order.
        image: The model input, reduced to at most 64 pixels per side, for display in notebooks.
    """

    label: str | None = None
    probability: float = 0.0
    runner_up: str | None = None
    runner_up_probability: float = 0.0
    probabilities: tuple[float, ...] = ()
    class_names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    box: Box | None = None
    digits: tuple["Prediction", ...] = ()
    image: UInt8[Tensor, "channels height width"] | None = field(default=None, compare=False)

    @property
    def status(self) -> Status:
        """Doubtful if there are warnings, rejected if there is no label."""
        if self.label is None:
            return "rejected"
        return "doubtful" if self.warnings else "confident"

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON types.

        Returns:
            All fields but the image by name; `digits` has every digit, also if there is only one.
        """
        digits = [digit._as_dict() for digit in self.digits or (self,)]
        return self._as_dict() | {"digits": digits}

    def _as_dict(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "label": self.label,
            "probability": self.probability,
            "runner_up": self.runner_up,
            "runner_up_probability": self.runner_up_probability,
            "probabilities": list(self.probabilities),
            "classes": list(self.class_names),
            "warnings": list(self.warnings),
            "box": self.box and list(self.box),
        }

    def __repr__(self) -> str:
        parts = [f"label={self.label!r}", f"status={self.status!r}"]
        if self.label is not None:
            parts.append(f"probability={self.probability:.4f}")
        if self.warnings:
            parts.append(f"warnings={self.warnings}")
        if self.digits:
            parts.append(f"digits={len(self.digits)}")
        return f"Prediction({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """Model input, status, and the ten largest probabilities as bars; for each digit."""
        title = escape(" · ".join([self.label or "–", self.status, *self.warnings]))
        if self.digits:
            return f"<p>{title}</p>" + "".join(digit._repr_html_() for digit in self.digits)
        ranked = sorted(zip(self.probabilities, self.class_names, strict=False), reverse=True)
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{probability:.2%}</td><td style='text-align:left'>"
            f"<meter value='{probability:.4f}'></meter></td></tr>"
            for probability, name in ranked[:MAX_TABLE_ROWS]
        )
        image = "" if self.image is None else f"<img alt='model input' {_img_source(self.image)}>"
        return f"<figure>{image}<figcaption>{title}</figcaption></figure><table>{rows}</table>"


def prediction_of(
    probabilities: Sequence[float],
    names: tuple[str, ...],
    warnings: tuple[str, ...],
    pixels: UInt8[Tensor, "channels height width"],
    *,
    doubtful_below: float,
    rejected_below: float,
    certainty: float | None = None,
    box: Box | None = None,
) -> Prediction:
    """The prediction with these probabilities; without any, one that is rejected.

    Args:
        probabilities: One for each class; none for a picture without a digit.
        names: Class names.
        warnings: Reasons to doubt or to reject the prediction.
        pixels: The model input, from 0 to 255.
        doubtful_below: Certainty below which the prediction is doubtful.
        rejected_below: Certainty below which the prediction is rejected: it has no label.
        certainty: From 0 to 1; by default the label's probability.
        box: Left, top, right and bottom of the digit, in pixels of the picture.

    Returns:
        The prediction, with further warnings where a threshold is not reached.
    """
    step = ceil(max(pixels.shape[1:]) / THUMBNAIL_SIZE)
    image = pixels if step == 1 else pixels[:, ::step, ::step].clone()
    values = tuple(probabilities)
    best, second = [*sorted(range(len(values)), key=lambda index: -values[index]), None, None][:2]
    prediction = Prediction(
        probabilities=values, class_names=names, warnings=warnings, box=box, image=image
    )
    if best is None:
        return prediction
    certainty = values[best] if certainty is None else certainty
    if certainty < rejected_below:
        return replace(prediction, warnings=(*warnings, NOT_RECOGNISED))
    if doubtful_below >= 1:
        warnings = (*warnings, NOT_CALIBRATED)
    elif certainty < doubtful_below:
        warnings = (*warnings, LOW_CONFIDENCE)
    return replace(
        prediction,
        label=names[best],
        probability=values[best],
        runner_up=None if second is None else names[second],
        runner_up_probability=0.0 if second is None else values[second],
        warnings=warnings,
    )


def one_or_touching(
    whole: Prediction, segments: Sequence[tuple[int, int, Prediction]], temperature: float
) -> Prediction:
    """The prediction for ink that is one digit, or several that touch.

    It is several if the ink falls into segments that are all confident and, if the whole is
    confident, too, as certain as that. There is a warning if a segment is hardly certain enough, or
    if all are ones: letters fall into such segments, too.
    """

    def softened(prediction: Prediction) -> float:
        return float(
            soften(torch.tensor([prediction.probabilities], dtype=torch.float64), temperature).max()
        )

    certain = [
        (first, stop, softened(part), part)
        for first, stop, part in segments
        if part.status == "confident"
    ]
    end = max((stop for _, stop, _ in segments), default=0)
    # For each number of digits: least certainty, and the digits, of what is left of each cut.
    reached: dict[int, tuple[float, tuple[Prediction, ...]]] = {0: (1.0, ())}
    while reached:
        further: dict[int, tuple[float, tuple[Prediction, ...]]] = {}
        for first, stop, certainty, part in certain:
            if first in reached:
                least, parts = reached[first]
                way = min(least, certainty), (*parts, part)
                further[stop] = max(way, further.get(stop, way), key=lambda way: way[0])
        if end in further:
            least, parts = further[end]
            if whole.status == "confident" and least < softened(whole):
                return whole
            several = combine(parts)
            if least < MIN_CERTAINTY or set(several.label or "") == {"1"}:
                several = replace(several, warnings=(TOUCHING,))
            return several
        reached = further
    return whole


def combine(digits: Sequence[Prediction]) -> Prediction:
    """The prediction for a picture with these digits, in reading order; of one digit, its own."""
    digits = [digit for prediction in digits for digit in prediction.digits or (prediction,)]
    if len(digits) == 1:
        return digits[0]
    label, runner_up, change = "", "", 0.0
    for digit in digits:  # in the second most probable text, one digit differs
        ratio = digit.runner_up_probability / digit.probability if digit.runner_up else 0.0
        if ratio > change:
            runner_up, change = f"{label}{digit.runner_up}", ratio
        elif runner_up:
            runner_up += digit.label or "?"
        label += digit.label or "?"
    probability = prod(digit.probability for digit in digits if digit.label is not None)
    boxes = [digit.box for digit in digits if digit.box is not None]
    left, top, right, bottom = zip(*boxes, strict=True) if boxes else [()] * 4
    combined = Prediction(
        class_names=digits[0].class_names,
        warnings=tuple(dict.fromkeys(warning for digit in digits for warning in digit.warnings)),
        box=(min(left), min(top), max(right), max(bottom)) if boxes else None,
        digits=tuple(digits),
    )
    if all(digit.label is None for digit in digits):
        return combined
    return replace(
        combined,
        label=label,
        probability=probability,
        runner_up=runner_up or None,
        runner_up_probability=probability * change,
    )


def one_or_several(whole: Prediction, digits: Sequence[Prediction]) -> Prediction:
    """The prediction for a picture from those for all of it as one digit and for its parts.

    Parts that are not all digits, but together look like one, are pieces of one. Slashes and
    brackets are left out, with their warning.
    """
    if not digits:
        return whole
    warnings = dict.fromkeys(warning for digit in digits for warning in digit.warnings)
    several = combine([digit for digit in digits if SLASH not in digit.warnings] or digits)
    several = replace(several, warnings=tuple(warnings))
    if whole.status == several.status == "confident":
        boxes = [digit.box for digit in digits if digit.box is not None]
        are_side_by_side = all(after[0] >= before[2] for before, after in pairwise(boxes))
        likelier = several if are_side_by_side else whole
        return replace(likelier, warnings=(SEVERAL,))
    if whole.status == "confident" or (several.label is None and whole.label is not None):
        return whole
    return several


def _img_source(pixels: UInt8[Tensor, "channels height width"]) -> str:
    """The attributes of an HTML image, with the pixels as a PNG."""
    channels = pixels.cpu().numpy()
    picture = channels[0] if len(channels) in (1, 2) else channels[:3].transpose(1, 2, 0)
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    height, width = (2 * side for side in pixels.shape[1:])
    data = b64encode(file.getvalue()).decode()
    return f"width='{width}' height='{height}' src='data:image/png;base64,{data}'"
