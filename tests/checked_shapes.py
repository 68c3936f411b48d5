"""Run-time checks of the shapes and types in the signatures of attention and models.

`tests/conftest.py` imports this module before any test imports the package. A test that compiles a
model, or that passes wrong shapes on purpose to see the error, carries the mark `unchecked`.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import config, install_import_hook

CONF = BeartypeConf(
    is_pep484_tower=True,  # an int is accepted for a float, as mypy does
    hint_overrides=FrozenDict({Self: Any}),  # jaxtyping decorates methods without their class
)

CHECKED = ("clearhead.attention", "clearhead.models")
MAX_CHECKS = 200  # in a test; the shapes of later calls are nearly always those of earlier ones

checks = 0


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    checked = beartype(conf=CONF)(function)

    @wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        global checks
        checks += 1
        if checks >= MAX_CHECKS:
            config.update("jaxtyping_disable", True)
        return checked(*args, **kwargs)

    return counted


def enable(on: bool) -> None:
    """Switch the checks on or off for the next test."""
    global checks
    checks = 0
    config.update("jaxtyping_disable", not on)


install_import_hook(CHECKED, f"{__name__}.check")
