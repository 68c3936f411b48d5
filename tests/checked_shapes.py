"""A pytest plugin: attention and models check the shapes and types in their signatures.

    python -m pytest -p tests.checked_shapes tests/attention tests/models

Off in normal use. A test that compiles, or that gives wrong shapes on purpose to see the error,
carries the mark `unchecked` and is left out (`-m "not unchecked"`).
"""

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import install_import_hook

CONF = BeartypeConf(
    is_pep484_tower=True,  # an int will do for a float, as it does for mypy
    hint_overrides=FrozenDict({Self: Any}),  # jaxtyping decorates methods, which know no class
)

ROOMS = ("clearhead.attention", "clearhead.models")

check = beartype(conf=CONF)
install_import_hook(ROOMS, f"{__name__}.check")
