"""Validation of settings by rules, which are in the annotations of a dataclass's fields.

Example:
    epochs: Annotated[int, integer(1)] = 10

    def __post_init__(self) -> None:
        validate(self)
"""

import math
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from inspect import get_annotations
from numbers import Integral, Real
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from clearhead.errors import ConfigError


class Rule(NamedTuple):
    """A condition on one value, and its wording in the error: "must be `expected`"."""

    expected: str
    accepts: Callable[[Any], bool]

    def __repr__(self) -> str:
        return self.expected


def validate(config: object, **rules: Rule) -> None:
    """Raise `ConfigError` if a field violates its rule, in `rules` or else its annotation."""
    kind: Any = type(config)
    for name, rule in (_annotated_rules(kind) | rules).items():
        check(name, getattr(config, name), rule)


def check(name: str, value: object, rule: Rule) -> None:
    """Raise `ConfigError` unless the value satisfies the rule."""
    if not rule.accepts(value):
        shown = " ".join(map(str.strip, repr(value).splitlines()))  # of an array, several lines
        shown = shown if len(shown) <= 200 else f"{shown[:199]}…"
        raise ConfigError(f"{name} must be {rule.expected}, got {shown}")


@cache
def _annotated_rules(kind: type) -> dict[str, Rule]:
    """The rules of a class's fields by name.

    A field that a subclass declares again without a rule, for another default, keeps its rule.
    """
    return {
        name: rule
        for base in reversed(kind.__mro__)
        for name, annotation in get_annotations(base).items()
        if (rule := _rule_of(annotation)) is not None
    }


def _rule_of(annotation: Any) -> Rule | None:
    kind, *metadata = get_args(annotation) if get_origin(annotation) is Annotated else [annotation]
    if given := [rule for rule in metadata if isinstance(rule, Rule)]:
        return given[0]
    if get_origin(kind) is Literal:
        return one_of(*get_args(kind))
    classes = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if all(map(is_dataclass, classes)):
        return instance_of(*classes)
    return {bool: BOOLEAN, str: TEXT, tuple[str, ...]: all_of(TEXT)}.get(kind)


BOOLEAN = Rule("True or False", lambda value: isinstance(value, bool))
TEXT = Rule("a string", lambda value: isinstance(value, str))


def integer(low: int, high: int | None = None) -> Rule:
    """A whole number: low ≤ value, and value ≤ high if given; not a bool."""

    def accepts(value: Any) -> bool:
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        return whole and value >= low and (high is None or value <= high)

    return Rule(
        f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}",
        accepts,
    )


def number(expected: str, accepts: Callable[[float], bool] = lambda value: True) -> Rule:
    """A finite number that satisfies a condition; not a bool."""

    def finite(value: Any) -> bool:
        real = isinstance(value, Real) and not isinstance(value, bool)
        return real and math.isfinite(value) and accepts(value)

    return Rule(expected, finite)


def at_least(low: float) -> Rule:
    """Low ≤ value."""
    return number(f"at least {low} and finite", lambda value: value >= low)


def above(low: float) -> Rule:
    """Low < value."""
    return number(f"above {low} and finite", lambda value: value > low)


def at_least_and_below(low: float, high: float) -> Rule:
    """Low ≤ value < high."""
    return number(f"at least {low} and below {high}", lambda value: low <= value < high)


def between(low: float, high: float) -> Rule:
    """Low ≤ value ≤ high."""
    return number(f"between {low} and {high}", lambda value: low <= value <= high)


def matching(pattern: str, expected: str) -> Rule:
    """A string that a regular expression of ASCII characters matches as a whole."""
    regex = re.compile(pattern, re.ASCII)
    return Rule(expected, lambda value: isinstance(value, str) and bool(regex.fullmatch(value)))


def optional(rule: Rule) -> Rule:
    """None, or a value that satisfies `rule`."""
    return Rule(rule.expected, lambda value: value is None or rule.accepts(value))


def one_of(*choices: object) -> Rule:
    """One of a few values."""
    *first, last = (f'"{x}"' if isinstance(x, str) else repr(x) for x in choices)
    return Rule(
        f"{', '.join(first)} or {last}", lambda value: isinstance(value, str) and value in choices
    )


def all_of(rule: Rule) -> Rule:
    """Every element of a tuple satisfies `rule`."""
    expected = f"a tuple with each element {rule.expected}"
    return Rule(expected, lambda xs: isinstance(xs, tuple) and all(map(rule.accepts, xs)))


def instance_of(*classes: type) -> Rule:
    """An instance of one of a few public classes."""
    names = (f"clearhead.{x.__module__.split('.')[1]}.{x.__name__}" for x in classes)
    return Rule(f"an instance of {' or '.join(names)}", lambda value: isinstance(value, classes))
