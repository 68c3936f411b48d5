"""Run-time checks of the shapes and types in the signatures of attention and models.

`tests/conftest.py` imports this module before any test imports the package. A test that compiles a
model, or that passes wrong shapes on purpose to see the error, carries the mark `unchecked`.
"""

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import install_import_hook

CONF = BeartypeConf(
    is_pep484_tower=True,  # an int is accepted for a float, as mypy does
    hint_overrides=FrozenDict({Self: Any}),  # jaxtyping decorates methods without their class
)

CHECKED = ("clearhead.attention", "clearhead.models")

check = beartype(conf=CONF)
install_import_hook(CHECKED, f"{__name__}.check")
