"""Validation of configuration dataclasses, declared field by field.

def __post_init__(self) -> None:
    validate(self, epochs=integer(1), warmup=at_least_and_below(0, 1))
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from clearhead.errors import ConfigError


@dataclass(frozen=True)
class Rule:
    """A condition on one value, and its wording in the error: "must be `expected`"."""

    expected: str
    accepts: Callable[[Any], bool]


def validate(config: object, **rules: Rule) -> None:
    """Raise `ConfigError` if a field of `config` breaks its rule."""
    for name, rule in rules.items():
        value = getattr(config, name)
        if not rule.accepts(value):
            raise ConfigError(f"{name} must be {rule.expected}, got {value!r}")


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
    """A finite number that obeys a condition; not a bool."""

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
    """None, or a value that obeys `rule`."""
    return Rule(f"{rule.expected}, or None", lambda value: value is None or rule.accepts(value))


def one_of(*choices: object) -> Rule:
    """One of a few values."""
    *first, last = (f'"{x}"' if isinstance(x, str) else repr(x) for x in choices)
    return Rule(
        f"{', '.join(first)} or {last}", lambda value: isinstance(value, str) and value in choices
    )


def all_of(rule: Rule) -> Rule:
    """Every element of a tuple obeys `rule`."""
    expected = f"a tuple with each element {rule.expected}"
    return Rule(expected, lambda xs: isinstance(xs, tuple) and all(map(rule.accepts, xs)))
