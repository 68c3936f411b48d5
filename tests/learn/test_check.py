"""The exercises of the lessons: right answers pass, and each typical mistake gets its own hint.

The answers are written here again, as a learner would, without the package's solutions.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clearhead import learn
from clearhead.errors import ConfigError, InputError
from clearhead.learn._check import exercises

Answer = Any


def product(a: Tensor, b: Tensor) -> Tensor:
    return torch.tensor([[float((x * y).sum()) for y in b.T] for x in a])


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    powers = x.exp()
    return powers / powers.sum(axis, keepdim=True)


def attend(q: Tensor, k: Tensor, v: Tensor, factor: float | None = None, axis: int = -1) -> Tensor:
    factor = 1 / math.sqrt(q.shape[1]) if factor is None else factor
    return product(softmax(product(q, k.T) * factor, axis), v)


def patches(
    images: Tensor, *, by_columns: bool = False, transposed: bool = False, whole_rows: bool = False
) -> Tensor:
    if whole_rows:
        return torch.stack([x.flatten().reshape(16, 49) for x in images])
    found = []
    for image in images[:, 0]:
        cut = []
        for place in range(16):
            row, column = divmod(place, 4)
            if by_columns:
                row, column = column, row
            square = image[7 * row : 7 * row + 7, 7 * column : 7 * column + 7]
            cut.append((square.T if transposed else square).flatten())
        found.append(torch.stack(cut))
    return torch.stack(found)


def halfway(x: Tensor) -> Tensor:
    return 0.5 * x + 0.5 * torch.eye(x.shape[0])


ANSWERS: dict[str, tuple[Answer, Answer, Answer, Answer]] = {
    "1.1": ([1, 6, 1], [1, 6, 4], [2, 2, 0], [[1, 0, 0], [0, 6, 0], [-1, 2, 0]]),
    "1.2": (2, 0, 1, 3),
    "1.3": (
        lambda x, w: torch.stack([w @ token for token in x]),
        lambda x, w: torch.stack([w.T @ token for token in x]),
        lambda x, w: torch.stack([w @ token for token in x], dim=1),
        lambda x, w: softmax(torch.stack([w @ token for token in x])),
    ),
    "2.1": (
        [[0.63, 0.23, 0.14]],  # of e^1.5, e^0.5 and 1
        [[0.844, 0.114, 0.042]],
        [[0.481, 0.292, 0.227]],
        [[4.48, 1.65, 1.0]],
    ),
    "2.2": ([10, 7], [40 / 3, 50 / 3], [10, 0], [[7, 0], [0, 4], [3, 3]]),
    "2.3": (
        attend,
        lambda q, k, v: attend(q, k, v, factor=1),
        lambda q, k, v: attend(q, k, v, axis=0),
        lambda q, k, v: attend(q, k, v, factor=math.sqrt(q.shape[1])),
    ),
    "3.1": (8, 64, 1, 4096),
    "3.2": (0.25, 0.102, 0.0625, 4),
    "3.3": (0.09, 0.9, 0.1, 0.81),
    "4.1": (
        lambda x, a, b, c: attend(x @ a, x @ b, x @ c),
        lambda x, a, b, c: attend(x @ a, x @ b, x),
        lambda x, a, b, c: attend(x @ a, x @ a, x @ c),
        lambda x, a, b, c: attend(x @ a, x @ b, x @ c, factor=1),
    ),
    "4.2": (
        [[True, False, False, False], [True, True, False, False], [True] * 3 + [False], [True] * 4],
        [[True] * 4, [False] + [True] * 3, [False, False, True, True], [False] * 3 + [True]],
        [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]],
        [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
    ),
    "4.3": (2401, 49, 256, 1176),
    "5.1": ((8, 10, 10), (8, 10, 12), (10, 10), (8, 12, 12)),
    "5.2": (
        lambda heads: torch.cat(list(heads), dim=1),
        lambda heads: torch.tensor(heads.flatten().tolist()).view(heads.shape[1], -1),
        lambda heads: sum(heads) / len(heads),
        lambda heads: torch.stack(list(heads), dim=2).flatten(1),
    ),
    "5.3": (16384, 65536, 12288, 4096),
    "6.1": (3200, 3136, 50240, 51200),
    "6.2": (
        patches,
        lambda images: patches(images, whole_rows=True),
        lambda images: patches(images, by_columns=True),
        lambda images: patches(images, transposed=True),
    ),
    "6.3": (0.0014, 0.00000196, 0.14, 0.000196),
    "7.1": (
        lambda a, b: product(halfway(b), halfway(a)),
        lambda a, b: product(halfway(a), halfway(b)),
        lambda a, b: product(b, a),
        lambda a, b: (halfway(a) + halfway(b)) / 2,
    ),
    "7.2": (5, 3, 7, 4.5),
    "7.3": (2, 1, 3, 4),
}


def test_every_exercise_of_the_seven_lessons_has_answers_here() -> None:
    assert list(exercises()) == [
        f"{lesson}.{number}" for lesson in range(1, 8) for number in (1, 2, 3)
    ]
    assert ANSWERS.keys() == exercises().keys()


@pytest.mark.parametrize("name", ANSWERS)
def test_the_right_answer_passes(name: str) -> None:
    result = learn.check(name, ANSWERS[name][0])
    assert result
    assert repr(result) == f"{name}: right"


@pytest.mark.parametrize("name", ANSWERS)
def test_typical_mistakes_get_their_own_hints(name: str) -> None:
    results = [learn.check(name, answer) for answer in ANSWERS[name][1:]]
    mistakes = exercises()[name].mistakes
    assert [result.message for result in results] == [mistake.hint for mistake in mistakes]
    assert not any(results)
    assert len({mistake.hint for mistake in mistakes}) == 3


@pytest.mark.parametrize("name", ANSWERS)
def test_another_wrong_answer_gets_the_general_hint(name: str) -> None:
    exercise = exercises()[name]
    answer: Answer = (lambda *values: 0.123 * values[0]) if exercise.is_function else 0.123
    result = learn.check(name, answer)
    assert not result
    assert result.message.endswith(exercise.hint)


def test_no_hint_contains_the_right_number() -> None:
    for name, exercise in exercises().items():
        if exercise.is_function or learn.given(name).__dict__:
            continue
        numbers = np.atleast_1d(np.asarray(exercise.right(), dtype=float)).ravel()
        if len(numbers) == 1:
            for text in (exercise.hint, *(mistake.hint for mistake in exercise.mistakes)):
                assert f"{numbers[0]:g}" not in text.replace(",", "").split(), name


def test_answers_may_be_numbers_lists_arrays_or_tensors() -> None:
    answer = ANSWERS["2.2"][0]
    for kind in (list, np.array, torch.tensor):
        assert learn.check("2.2", kind(answer))
    assert learn.check("3.1", torch.tensor(8.0, requires_grad=True))
    assert learn.check("2.2", [10.04, 7.04])
    assert not learn.check("2.2", [10.4, 7])


def test_a_wrong_shape_is_named_before_the_hint() -> None:
    message = learn.check("2.2", [[10, 7]]).message
    assert message.startswith("Expected a tensor of shape (2,), got a tensor of shape (1, 2).")
    assert learn.check("3.1", [8, 8]).message.startswith("Expected one number, got a tensor")


@pytest.mark.parametrize(("name", "answer"), [("2.3", 1.0), ("2.2", attend)])
def test_a_function_instead_of_a_number_or_the_reverse_is_named(name: str, answer: Answer) -> None:
    assert learn.check(name, answer).message.startswith("Expected a")


@pytest.mark.parametrize("answer", ["eight", None, object(), [[1], [1, 2]]])
def test_an_answer_that_is_no_number_is_wrong(answer: Answer) -> None:
    assert not learn.check("3.1", answer)


def test_an_error_in_the_learners_function_is_shown() -> None:
    def faulty(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    result = learn.check("2.3", faulty)
    assert not result
    assert result.message == "RuntimeError: shapes cannot be multiplied"


def test_numbers_that_are_not_finite_are_wrong() -> None:
    assert not learn.check("3.1", math.nan)
    assert not learn.check("2.2", [math.inf, 7])


def test_a_function_that_changes_its_arguments_is_checked_against_unchanged_ones() -> None:
    def in_place(heads: Tensor) -> Tensor:
        return heads.zero_().transpose(0, 1).flatten(1)

    assert not learn.check("5.2", in_place)


def test_given_values_are_new_in_each_call() -> None:
    learn.given("2.2").weights.zero_()
    assert learn.given("2.2").weights.sum() == 1


@pytest.mark.parametrize("function", [learn.given, lambda name: learn.check(name, 1)])
def test_an_unknown_exercise_is_an_error(function: Callable[[str], object]) -> None:
    with pytest.raises(ConfigError, match=r"one of 1\.1, .*7\.3; got '8\.1'"):
        function("8.1")


def test_the_result_escapes_its_text_in_html() -> None:
    def faulty(heads: Tensor) -> Tensor:
        raise ValueError("<b>")

    assert "<b>" not in learn.check("5.2", faulty)._repr_html_()


def test_the_digit_is_the_microscopes_drawing() -> None:
    from clearhead.microscope.shipped import read_shipped
    from clearhead.models import load
    from clearhead.models.vit import VisionTransformer

    model = load()
    assert isinstance(model, VisionTransformer)
    ink = torch.cat(
        [learn.example_digit(label, number)[None] for label in range(10) for number in (1, 2)]
    )
    expected = torch.tensor(read_shipped("digits").facts["logits"])
    with torch.no_grad():
        logits = model(((ink - model.config.mean[0]) / model.config.std[0]).float())
    torch.testing.assert_close(logits, expected, atol=0.05, rtol=0.01)  # half precision


@pytest.mark.parametrize(("label", "number"), [(10, 1), (7, 0), (7, 3)])
def test_a_drawing_that_does_not_exist_is_an_error(label: int, number: int) -> None:
    with pytest.raises(InputError, match="expected a digit"):
        learn.example_digit(label, number)
