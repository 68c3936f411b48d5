"""The digit of the lessons: a drawing that the microscope has too."""

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.data import rasterise
from clearhead.errors import InputError
from clearhead.microscope._payload import examples


def example_digit(label: int = 7, number: int = 2) -> Float[Tensor, "1 28 28"]:
    """One of the microscope's example drawings, as the microscope computes with it.

    Args:
        label: The digit.
        number: Which drawing of this digit, from 1.

    Returns:
        Ink from 0 to 1, in double precision.

    Raises:
        InputError: If there is no such example.
    """
    strokes = [example["strokes"] for example in examples() if example["label"] == str(label)]
    if not 1 <= number <= len(strokes):
        raise InputError(
            f"expected a digit 0 … 9 and one of its drawings from 1, got {label} and {number}"
        )
    return torch.from_numpy(rasterise(strokes[number - 1]))[None]
