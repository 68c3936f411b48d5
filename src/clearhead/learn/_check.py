"""Checks of the lessons' exercises: right, or what is wrong and a hint.

An answer is compared with the right one and with those that typical mistakes give.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from clearhead.errors import ConfigError

Values = Mapping[str, Any]
"""What an exercise gives, by name"""
Solution = Callable[..., Any]
"""From these values, by position, to an answer"""

ROUNDED = 0.01  # of the largest number: an answer may be rounded to two digits
EXACT = 1e-4
FUNCTION_SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Mistake:
    """The answer that a typical mistake gives, and what to do about it."""

    answer: Solution
    hint: str


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """An exercise of a lesson.

    Attributes:
        right: The right answer.
        mistakes: Typical mistakes.
        hint: For any other wrong answer.
        given: The values, from a seed; without a function the seed is always 0.
        is_function: Whether the answer is a function of the given values.
    """

    right: Solution
    mistakes: tuple[Mistake, ...]
    hint: str
    given: Callable[[int], Values] = field(default=lambda seed: {})
    is_function: bool = False

    @property
    def seeds(self) -> tuple[int, ...]:
        """A function is tried on several values, so that no chance agreement counts."""
        return FUNCTION_SEEDS if self.is_function else FUNCTION_SEEDS[:1]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """Whether an answer is right; true in a condition if it is.

    Attributes:
        exercise: Name of the exercise, such as "2.1".
        is_right: Whether the answer is right.
        message: "right", or what is wrong and a hint.
    """

    exercise: str
    is_right: bool
    message: str

    def __bool__(self) -> bool:
        return self.is_right

    def __repr__(self) -> str:
        return f"{self.exercise}: {'' if self.is_right else 'not right yet. '}{self.message}"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def check(exercise: str, answer: object) -> CheckResult:
    """Check the answer to an exercise of the lessons.

    Args:
        exercise: Its name, such as "2.1".
        answer: A number, a list, an array or a tensor, rounded to two digits or better; or a
            function, where the exercise is to write one.

    Returns:
        Right, or what is wrong and a hint.

    Raises:
        ConfigError: If there is no such exercise.
    """
    chosen = _exercise(exercise)
    if chosen.is_function != callable(answer):
        wanted = "a function" if chosen.is_function else "a number or a tensor"
        message = f"Expected {wanted}, got {type(answer).__name__}."
        return CheckResult(exercise=exercise, is_right=False, message=message)
    values = [chosen.given(seed) for seed in chosen.seeds]
    try:
        copies = [chosen.given(seed) for seed in chosen.seeds]  # the learner's function may change
        answers = [_numbers(answer(*x.values()) if callable(answer) else answer) for x in copies]
    except Exception as error:  # noqa: BLE001 - any fault in the learner's function is an answer
        message = f"{type(error).__name__}: {error}"
        return CheckResult(exercise=exercise, is_right=False, message=message)
    message = _judge(chosen, values, answers)
    return CheckResult(exercise=exercise, is_right=message == "right", message=message)


def given(exercise: str) -> SimpleNamespace:
    """The values that an exercise gives, by name.

    Args:
        exercise: Its name, such as "2.1".

    Returns:
        The values as attributes. If the exercise is to write a function, these are examples.

    Raises:
        ConfigError: If there is no such exercise.
    """
    return SimpleNamespace(**_exercise(exercise).given(0))


def exercises() -> dict[str, Exercise]:
    """All exercises by name, in the order of the lessons."""
    from clearhead.learn._attention import EXERCISES as OF_ATTENTION
    from clearhead.learn._models import EXERCISES as OF_MODELS

    return OF_ATTENTION | OF_MODELS


def _exercise(name: str) -> Exercise:
    known = exercises()
    if name not in known:
        raise ConfigError(f"expected an exercise, one of {', '.join(known)}; got {name!r}")
    return known[name]


def _judge(exercise: Exercise, values: list[Values], answers: list[Tensor]) -> str:
    tolerance = EXACT if exercise.is_function else ROUNDED

    def equals(solution: Solution) -> bool:
        expected = [_numbers(solution(*x.values())) for x in values]
        return all(
            _is_close(one, other, tolerance) for one, other in zip(answers, expected, strict=True)
        )

    if equals(exercise.right):
        return "right"
    for mistake in exercise.mistakes:
        if equals(mistake.answer):
            return mistake.hint
    shape, expected = answers[0].shape, _numbers(exercise.right(*values[0].values())).shape
    if shape != expected:
        return f"Expected {_described(expected)}, got {_described(shape)}. {exercise.hint}"
    return exercise.hint


def _numbers(answer: object) -> Tensor:
    """An answer as a tensor in double precision; raises whatever torch does for anything else."""
    return torch.as_tensor(answer).detach().to("cpu", torch.float64)  # type: ignore[no-any-return,unused-ignore]


def _is_close(answer: Tensor, right: Tensor, tolerance: float) -> bool:
    if answer.shape != right.shape:
        return False
    size = float(right.abs().max()) if right.numel() else 0.0
    return bool(((answer - right).abs() <= tolerance * size).all())


def _described(shape: torch.Size) -> str:
    return f"a tensor of shape {tuple(shape)}" if shape else "one number"
