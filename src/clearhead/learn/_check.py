"""Checks of the lessons' exercises: right, or what is wrong and a hint.

An answer is compared with the right one and with those that typical mistakes give.
"""

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clearhead.errors import ConfigError
from clearhead.learn._exercises import EXERCISES, RIGHT, Exercise

ROUNDED = 0.01  # of the largest number: an answer may be rounded to two digits
EXACT = 1e-4
FUNCTION_SEEDS = (0, 1, 2)  # several, so that no chance agreement counts


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
        message = _message(chosen, answer)
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
    return SimpleNamespace(**_exercise(str(exercise).strip()).given())


def _exercise(name: str) -> Exercise:
    if name not in EXERCISES:
        raise ConfigError(f"expected an exercise, one of {', '.join(EXERCISES)}; got {name!r}")
    return EXERCISES[name]


class _AnswerError(Exception):
    """An answer that cannot be compared, and why."""


def _message(exercise: Exercise, answer: object) -> str:
    """The message for the known answer that equals this one, or the exercise's hint."""
    seeds = FUNCTION_SEEDS if exercise.is_function else FUNCTION_SEEDS[:1]
    known = [exercise.answers(*exercise.given(seed).values()) for seed in seeds]
    expected = torch.as_tensor(known[0][RIGHT]).shape
    if exercise.is_function:
        results = _results(exercise, answer, seeds)
    else:
        numbers = "a number" if expected == () else "numbers"
        if callable(answer):
            raise _AnswerError(f"Expected {numbers}, got a function: give what it returns.")
        results = [_numbers(answer, f"Expected {numbers}, got")]
    if not all(bool(result.isfinite().all()) for result in results):
        return f"NaN or an infinite number is in your answer. {exercise.hint}"
    for message in known[0]:
        pairs = zip(results, (answers[message] for answers in known), strict=True)
        if all(_is_close(*pair, is_function=exercise.is_function) for pair in pairs):
            return message
    shape = results[0].shape
    if shape != expected and (exercise.is_function or _long(shape) != _long(expected)):
        return f"Expected {_described(expected)}, got {_described(shape)}. {exercise.hint}"
    return exercise.hint


def _results(exercise: Exercise, function: object, seeds: tuple[int, ...]) -> list[Tensor]:
    """What the learner's function returns for the values of each seed."""
    names = list(exercise.given())
    if not callable(function):
        got = type(function).__name__
        text = f"Expected a function of {', '.join(names)}, got {got}: give the function itself."
        raise _AnswerError(text)
    by_name = _takes_by_name(function, names)
    results = []
    for seed in seeds:
        values = exercise.given(seed)  # new ones: the function may change them
        try:
            result = function(**values) if by_name else function(*values.values())
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


def _numbers(answer: object, complaint: str) -> Tensor:
    """An answer as a tensor in double precision."""
    try:
        value = ast.literal_eval(answer.strip()) if isinstance(answer, str) else answer
        if value is None:
            raise TypeError
        return torch.from_numpy(np.array(_without_gradients(value), dtype=np.float64))
    except (TypeError, ValueError, SyntaxError):
        raise _AnswerError(_shortened(f"{complaint} {answer!r}.")) from None


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


def _is_close(answer: Tensor, solution: object, *, is_function: bool) -> bool:
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
