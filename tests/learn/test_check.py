"""The exercises of the lessons: right answers pass, and each typical mistake gets its own hint.

The answers are written here again, as a learner would, without the package's solutions.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clearhead import learn
from clearhead.errors import ConfigError, InputError
from clearhead.learn._exercises import EXERCISES, RIGHT

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


ANSWERS: dict[str, tuple[Answer, ...]] = {  # the right one, then typical mistakes
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
        [[0.670, 0.211, 0.119]],
    ),
    "2.2": ([10, 7], [40 / 3, 50 / 3], [10, 0], [[7, 0], [0, 4], [3, 3]]),
    "2.3": (
        attend,
        lambda q, k, v: attend(q, k, v, factor=1),
        lambda q, k, v: attend(q, k, v, axis=0),
        lambda q, k, v: attend(q, k, v, factor=math.sqrt(q.shape[1])),
        lambda q, k, v: attend(q, k, v, factor=1 / math.sqrt(q.shape[0])),
    ),
    "3.1": (8, 64, 1, 4096),
    "3.2": (0.25, 0.102, 0.0625, 4),
    "3.3": (0.09, 0.9, 0.1, 0.81),
    "4.1": (
        lambda x, a, b, c: attend(x @ a, x @ b, x @ c),
        lambda x, a, b, c: attend(x @ a, x @ b, x),
        lambda x, a, b, c: attend(x @ a, x @ a, x @ c),
        lambda x, a, b, c: attend(x @ a, x @ b, x @ c, factor=1),
        lambda x, a, b, c: attend(x @ a.T, x @ b.T, x @ c.T),
    ),
    "4.2": (
        [[True, False, False, False], [True, True, False, False], [True] * 3 + [False], [True] * 4],
        [[True] * 4, [False] + [True] * 3, [False, False, True, True], [False] * 3 + [True]],
        [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]],
        [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
    ),
    "4.3": (2401, 49, 256, 1176),
    "5.1": ((8, 10, 10), (8, 10, 12), (10, 10), (8, 12, 12), (1, 8, 10, 10)),
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
    assert list(EXERCISES) == [
        f"{lesson}.{number}" for lesson in range(1, 8) for number in (1, 2, 3)
    ]
    assert ANSWERS.keys() == EXERCISES.keys()


@pytest.mark.parametrize("name", ANSWERS)
def test_the_right_answer_passes(name: str) -> None:
    result = learn.check(name, ANSWERS[name][0])
    assert result
    assert repr(result) == f"{name}: right"


@pytest.mark.parametrize("name", ANSWERS)
def test_typical_mistakes_get_their_own_hints(name: str) -> None:
    results = [learn.check(name, answer) for answer in ANSWERS[name][1:]]
    exercise = EXERCISES[name]
    messages = list(exercise.answers(*exercise.given().values()))
    assert [RIGHT, *(result.message for result in results)] == messages
    assert not any(results)
    assert len(results) >= 3


@pytest.mark.parametrize("name", ANSWERS)
def test_another_wrong_answer_gets_the_general_hint(name: str) -> None:
    exercise = EXERCISES[name]
    answer: Answer = (lambda *values: 0.123 * values[0]) if exercise.is_function else 0.123
    result = learn.check(name, answer)
    assert not result
    assert result.message.endswith(exercise.hint)


def test_no_hint_contains_the_right_number() -> None:
    for name, exercise in EXERCISES.items():
        if exercise.is_function or learn.given(name).__dict__:
            continue
        answers = exercise.answers()
        if isinstance(answers[RIGHT], int | float):
            for text in (exercise.hint, *answers):
                assert f"{answers[RIGHT]:g}" not in text.replace(",", "").split(), name


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("2.2", [10, 7]),
        ("2.2", np.array([10, 7])),
        ("2.2", torch.tensor([10.0, 7.0], requires_grad=True)),
        ("2.2", [torch.tensor(10.0), torch.tensor(7.0, requires_grad=True)]),
        ("2.2", [10.04, 7.04]),
        ("2.2", " (10, 7) "),
        ("2.1", [0.63, 0.23, 0.14]),
        ("3.1", " 8 "),
        ("3.1", [8.0]),
        ("3.1", np.float32(8)),
        ("3.2", Fraction(1, 4)),
        ("3.2", Decimal("0.25")),
        ("4.3", "2401"),
        ("5.1", torch.Size([8, 10, 10])),
        ("1.3", lambda tokens, W_K: [W_K @ token for token in tokens]),
        ("1.3", lambda tokens, W_K: (tokens @ W_K.T).numpy()),
        ("1.3", lambda W_K, tokens: tokens @ W_K.T),
        ("2.3", torch.nn.functional.scaled_dot_product_attention),  # it has no signature
        (2.2, [10, 7]),
        (" 2.2", [10, 7]),
    ],
)
def test_right_answers_may_have_any_form(name: Any, answer: Answer) -> None:
    assert learn.check(name, answer)


@pytest.mark.parametrize(("name", "answer"), [("4.3", 2400), ("5.3", 16_400), ("6.1", 3201)])
def test_counts_must_be_exact(name: str, answer: int) -> None:
    assert not learn.check(name, answer)


def test_a_wrong_shape_is_named_before_the_hint() -> None:
    message = learn.check("2.2", [[10, 7], [1, 1]]).message
    assert message.startswith("Expected 2 numbers, got a tensor of shape (2, 2). Multiply")
    assert learn.check("3.1", [8, 8]).message.startswith("Expected one number, got 2 numbers.")
    transposed = learn.check("6.2", lambda images: patches(images).transpose(1, 2)).message
    assert "of shape (2, 16, 49), got a tensor of shape (2, 49, 16)" in transposed


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("3.1", None, "Expected a number, got None."),
        ("3.1", "", "Expected a number, got ''."),
        ("3.1", "eight", "Expected a number, got 'eight'."),
        ("3.1", {"a": 1}, "Expected a number, got {'a': 1}."),
        ("3.1", 1j, "Expected a number, got 1j."),
        ("2.2", [[1], [1, 2]], "Expected numbers, got [[1], [1, 2]]."),
        ("2.2", ["ten", 7], "Expected numbers, got ['ten', 7]."),
        ("2.2", attend, "Expected numbers, got a function: give what it returns."),
        (
            "2.3",
            torch.ones(2),
            "Expected a function of query, key, value, got Tensor: give the function itself.",
        ),
        ("2.3", lambda q, k, v: None, "Your function returns None. It must return its result."),
        ("2.3", lambda q, k, v: "x", "Your function must return a tensor, not 'x'."),
        (
            "2.3",
            lambda q, k: q,
            "Expected a function of query, key, value, got a function of q, k.",
        ),
        ("2.1", [63, 23, 14], "Three steps"),  # an axis of length 1 more or less is no fault
        ("2.3", lambda q, k, v: q @ k, "Your function raised RuntimeError: mat1 and mat2 shapes"),
    ],
)
def test_what_is_not_an_answer_is_named(name: str, answer: Answer, expected: str) -> None:
    result = learn.check(name, answer)
    assert not result
    assert result.message.startswith(expected)


@pytest.mark.parametrize("answer", [object(), np.array(["a"]), "x" * 999, [None] * 999, set(), b""])
@pytest.mark.parametrize("name", ["2.2", "3.1", "4.2"])
def test_a_message_is_one_line(name: str, answer: Answer) -> None:
    message = learn.check(name, answer).message
    assert len(message) <= 400
    assert "\n" not in message


def test_an_error_in_the_learners_function_is_one_line_and_the_hint() -> None:
    def faulty(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        raise RuntimeError("first line\nsecond line")

    result = learn.check("2.3", faulty)
    assert not result
    assert result.message == (
        f"Your function raised RuntimeError: first line. {EXERCISES['2.3'].hint}"
    )


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("3.1", math.nan),
        ("2.2", [math.inf, 7]),
        ("2.2", [None, 7]),
        ("2.3", lambda query, key, value: query * math.nan),
        ("4.2", torch.zeros(4, 4).fill_(-math.inf)),
    ],
)
def test_numbers_that_are_not_finite_are_named(name: str, answer: Answer) -> None:
    result = learn.check(name, answer)
    assert not result
    assert result.message.startswith("NaN or an infinite number is in your answer.")


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
