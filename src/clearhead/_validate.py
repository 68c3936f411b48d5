"""Validation of configuration dataclasses, declared field by field.

def __post_init__(self) -> None:
validate(self, epochs=at_least(1), warmup=at_least_and_below(0, 1))
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clearhead.errors import ConfigError


@dataclass(frozen=True)
class Rule:
    """A condition on one value, and its wording in the error: "must be `expected`"."""

    expected: str
    accepts: Callable[[Any], bool]


def validate(config: object, **rules: Rule) -> None:
    """Check fields of `config`; a field that is None is unset and not checked.

    Args:
        config: The configuration.
        **rules: The rule of each field, by the field's name.

    Raises:
        ConfigError: If a value breaks its rule, or has a type that the rule cannot compare.

    """
    for name, rule in rules.items():
        value = getattr(config, name)
        if value is None:
            continue
        try:
            accepted = rule.accepts(value)
        except TypeError:
            accepted = False
        if not accepted:
            raise ConfigError(f"{name} must be {rule.expected}, got {value!r}")


def at_least(low: float) -> Rule:
    """Low ≤ value."""
    return Rule(f"at least {low}", lambda value: value >= low)


def above(low: float) -> Rule:
    """Low < value."""
    return Rule(f"above {low}", lambda value: value > low)


def below(high: float) -> Rule:
    """Value < high."""
    return Rule(f"below {high}", lambda value: value < high)


def at_least_and_below(low: float, high: float) -> Rule:
    """Low ≤ value < high."""
    return Rule(f"at least {low} and below {high}", lambda value: low <= value < high)


def between(low: float, high: float) -> Rule:
    """Low ≤ value ≤ high."""
    return Rule(f"between {low} and {high}", lambda value: low <= value <= high)


def one_of(*choices: object) -> Rule:
    """One of a few values."""
    *first, last = (f'"{x}"' if isinstance(x, str) else repr(x) for x in choices)
    return Rule(f"{', '.join(first)} or {last}", lambda value: value in choices)


def all_of(rule: Rule) -> Rule:
    """Every element of a sequence obeys `rule`."""
    return Rule(rule.expected, lambda values: all(map(rule.accepts, values)))
