"""Checks of the lessons' exercises: right, or what is wrong and a hint.

An answer is compared with the right one and with those that typical mistakes give.
"""

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from types import SimpleNamespace
from typing import Any

import numpy as np
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
RIGHT = "right"


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

    @property
    def right_shape(self) -> torch.Size:
        """Shape of the right answer."""
        return torch.as_tensor(self.right(*self.given(0).values())).shape


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
        answer: A number, a list, an array or a tensor, rounded to two digits or better, or such a
            number or list as text. Counts must be exact. Where the exercise is to write a
            function, the function.

    Returns:
        Right, or what is wrong and a hint, in one line.

    Raises:
        ConfigError: If there is no such exercise.
    """
    name = str(exercise).strip()
    chosen = _exercise(name)
    try:
        message = _judge(chosen, _answers(chosen, answer))
    except _AnswerError as reason:
        message = str(reason)
    message = " ".join(message.split())
    return CheckResult(exercise=name, is_right=message == RIGHT, message=message)


def given(exercise: str) -> SimpleNamespace:
    """The values that an exercise gives, by name.

    Args:
        exercise: Its name, such as "2.1".

    Returns:
        The values as attributes. If the exercise is to write a function, these are examples.

    Raises:
        ConfigError: If there is no such exercise.
    """
    return SimpleNamespace(**_exercise(str(exercise).strip()).given(0))


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


class _AnswerError(Exception):
    """An answer that cannot be compared, and why."""


def _answers(exercise: Exercise, answer: object) -> list[Tensor]:
    """The answer for each seed, or what the learner's function returns for its values."""
    expected = "a number" if exercise.right_shape == () else "numbers"
    if not exercise.is_function:
        if callable(answer):
            raise _AnswerError(f"Expected {expected}, got a function: give what it returns.")
        return [_numbers(answer, f"Expected {expected}, got")]
    names = list(exercise.given(0))
    if not callable(answer):
        got = type(answer).__name__
        text = f"Expected a function of {', '.join(names)}, got {got}: give the function itself."
        raise _AnswerError(text)
    by_name = _takes_by_name(answer, names)
    results = []
    for seed in exercise.seeds:
        values = exercise.given(seed)  # new ones: the function may change them
        try:
            result = answer(**values) if by_name else answer(*values.values())
        except Exception as error:
            reason = _shortened(f"Your function raised {type(error).__name__}: {error}")
            raise _AnswerError(f"{reason}. {exercise.hint}") from error
        if result is None:
            raise _AnswerError("Your function returns None. It must return its result.")
        results.append(_numbers(result, "Your function must return a tensor, not"))
    return results


def _takes_by_name(function: Callable[..., Any], names: list[str]) -> bool:
    """Whether a function has these parameters, in any order; else it is called by position."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have no signature
        return False
    if sorted(signature.parameters) == sorted(names):
        return True
    try:
        signature.bind(*names)
    except TypeError:
        expected, got = ", ".join(names), ", ".join(signature.parameters) or "nothing"
        text = f"Expected a function of {expected}, got a function of {got}."
        raise _AnswerError(_shortened(text)) from None
    return False


def _judge(exercise: Exercise, answers: list[Tensor]) -> str:
    if not all(bool(answer.isfinite().all()) for answer in answers):
        return f"NaN or an infinite number is in your answer. {exercise.hint}"
    values = [exercise.given(seed) for seed in exercise.seeds]

    def equals(solution: Solution) -> bool:
        expected = [solution(*x.values()) for x in values]
        return all(
            _is_close(one, other, exercise.is_function)
            for one, other in zip(answers, expected, strict=True)
        )

    if equals(exercise.right):
        return RIGHT
    for mistake in exercise.mistakes:
        if equals(mistake.answer):
            return mistake.hint
    shape, expected = answers[0].shape, exercise.right_shape
    if shape != expected and (exercise.is_function or _long(shape) != _long(expected)):
        return f"Expected {_described(expected)}, got {_described(shape)}. {exercise.hint}"
    return exercise.hint


def _numbers(answer: object, complaint: str) -> Tensor:
    """An answer as a tensor in double precision."""
    original = answer
    if isinstance(answer, str):
        try:
            answer = ast.literal_eval(answer.strip())
        except (ValueError, SyntaxError):
            raise _AnswerError(_shortened(f"{complaint} {original!r}.")) from None
    try:
        if answer is None:
            raise TypeError
        return torch.from_numpy(np.array(_without_gradients(answer), dtype=np.float64))
    except (TypeError, ValueError):
        raise _AnswerError(_shortened(f"{complaint} {original!r}.")) from None


def _without_gradients(answer: object) -> object:
    """An answer, or a list of tensors, that NumPy can read."""
    if isinstance(answer, Tensor):
        return answer.detach().cpu().numpy()
    if isinstance(answer, list | tuple):
        return [_without_gradients(item) for item in answer]
    return answer


def _shortened(text: str) -> str:
    """The first line, or as much of it as fits in one."""
    line = next(iter(text.splitlines()), "")
    return line if len(line) <= 200 else f"{line[:199]}…"


def _is_close(answer: Tensor, solution: object, is_function: bool) -> bool:
    """Compare an answer with a solution, where axes of length 1 count only in functions."""
    right = torch.as_tensor(solution)
    tolerance = EXACT if is_function or not right.is_floating_point() else ROUNDED
    right = right.double()
    if not is_function:
        answer, right = answer.squeeze(), right.squeeze()
    if answer.shape != right.shape:
        return False
    size = float(right.abs().max()) if right.numel() else 0.0
    return bool(((answer - right).abs() <= tolerance * size).all())


def _long(shape: torch.Size) -> list[int]:
    return [size for size in shape if size != 1]


def _described(shape: torch.Size) -> str:
    if len(shape) <= 1:
        return f"{shape[0]} numbers" if shape else "one number"
    return f"a tensor of shape {tuple(shape)}"
