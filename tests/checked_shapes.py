"""Run-time checks of the shapes and types in the signatures of attention and models.

`tests/conftest.py` imports this module before any test imports the package. A test that compiles a
model, or that passes wrong shapes on purpose to see the error, carries the mark `unchecked`.
"""

import inspect
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, Self

import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype

CONF = BeartypeConf(
    is_pep484_tower=True,  # an int is accepted for a float, as mypy does
    hint_overrides=FrozenDict({Self: Any}),  # jaxtyping decorates methods without their class
)
CHECKED = ("clearhead.attention", "clearhead.models")

enabled = True


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    checked: Callable[..., Any] = beartype(conf=CONF)(function)
    if inspect.isclass(function):
        return checked

    @wraps(checked)
    def unseen(*args: Any, **kwargs: Any) -> Any:  # jaxtyping calls it only to check arguments
        with without_interception():
            return checked(*args, **kwargs)

    return unseen


def without_interception() -> AbstractContextManager[Any]:
    """A context in which a recording does not intercept attributes of tensors, which is slow."""
    torch = sys.modules.get("torch")
    return torch._C.DisableTorchFunction() if torch else nullcontext()


def enable(on: bool) -> None:
    """Switch the checks on or off for the next test."""
    global enabled
    enabled = on
    jaxtyping.config.update("jaxtyping_disable", not on)  # for classes


def jaxtyped(*, typechecker: Any) -> Callable[[Any], Any]:
    """As in jaxtyping, but with one check for each combination of types and shapes.

    Checks of all calls would take much of the time of tests that call a model hundreds of times.
    The result is checked as that of a function with the same signature, after the call.
    """

    def decorate(function: Any) -> Any:
        if inspect.isclass(function):
            return original(function, typechecker=typechecker)
        results: list[Any] = []

        @wraps(function)
        def same(*_: Any, **__: Any) -> Any:
            return results.pop()

        checked = original(same, typechecker=typechecker)
        known: set[object] = set()

        @wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            if not enabled:
                return result
            with without_interception():
                given = args[1:] if args and is_module(args[0]) else args
                named = ((name, kind_of(x)) for name, x in kwargs.items())
                kind = (*map(kind_of, given), *named, kind_of(result))
                if kind not in known:
                    results.append(result)
                    checked(*args, **kwargs)
                    known.add(kind)
            return result

        return wrapper

    return decorate


def is_module(x: object) -> bool:
    return hasattr(x, "named_parameters")


def kind_of(x: Any) -> object:
    """The properties of an argument that types and shapes can depend on."""
    if hasattr(x, "dtype"):
        return type(x), x.dtype, tuple(x.shape)
    if isinstance(x, tuple | list):
        return type(x), tuple(map(kind_of, x))
    return type(x), x if isinstance(x, int | str) else None


original = jaxtyping.jaxtyped
jaxtyping.jaxtyped = jaxtyped  # type: ignore[assignment]
jaxtyping.install_import_hook(CHECKED, f"{__name__}.check")
