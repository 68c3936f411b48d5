"""The studies of the project by name, found without importing them, and the loading of any study.

The file `c08_number_of_heads.py` holds the design of the study "number-of-heads" of claim C8,
`words.toml` its claim, question and limits in words, and what papers found.
"""

import importlib
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearhead.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from clearhead.studies.study import Study

OBJECT = "STUDY"
CLAIMS = __name__


@dataclass(frozen=True)
class Entry:
    """A study of the project: its name, its claim ("C8"), and the name of its file."""

    name: str
    claim: str
    module: str

    @classmethod
    def of(cls, module: str) -> "Entry":
        """From the name of its file, without suffix."""
        number, _, name = module.partition("_")
        return cls(name.replace("_", "-"), f"C{int(number[1:])}", module)

    @property
    def source(self) -> str:
        """MODULE:OBJECT of the study."""
        return f"{CLAIMS}.{self.module}:{OBJECT}"

    @property
    def statement(self) -> str:
        """The claim in words."""
        return str(_words()[self.claim]["statement"])


_FILES = sorted(Path(file.name) for file in resources.files(CLAIMS).iterdir())
ENTRIES = tuple(Entry.of(file.stem) for file in _FILES if file.match("c[0-9][0-9]_*.py"))


def find_source(name: str) -> str:
    """MODULE:OBJECT of a study, from its name or claim; raises `ConfigError` if there is none."""
    if ":" in name:
        return name
    for entry in ENTRIES:
        if name.lower() in (entry.name, entry.claim.lower()):
            return entry.source
    hint = did_you_mean(name.lower(), [entry.name for entry in ENTRIES])
    hint = hint or "; `clearhead study list` lists them"
    raise ConfigError(f"unknown study {name!r}{hint} (your own studies are given as MODULE:OBJECT)")


def load_study(source: str) -> "Study":
    """Import a study: MODULE:OBJECT, with the module on Python's path or in the current folder.

    Raises `ConfigError` if there is no such module, or the object is not a `Study`.
    """
    from clearhead.studies.study import Study

    module_name, _, attribute = source.partition(":")
    attribute = attribute or OBJECT
    if not all(map(str.isidentifier, module_name.split("."))):
        raise ConfigError(f"expected a study as MODULE:OBJECT, got {source!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"there is no module {module_name!r} for the study {source!r}; give MODULE:OBJECT, "
            "with MODULE on Python's path or in the current folder"
        ) from error
    study = getattr(module, attribute, None)
    if not isinstance(study, Study):
        raise ConfigError(
            f"{source!r} is not a Study: {attribute!r} in {module_name} is {type(study).__name__}"
        )
    return study


def words(module: str) -> dict[str, Any]:
    """The arguments of `Study` that `words.toml` holds for a claim file, by its `__name__`."""
    from clearhead.studies.study import Paper

    entry = Entry.of(module.rpartition(".")[2])
    found = {"name": entry.name, "claim": entry.claim} | _words()[entry.claim]
    found["literature"] = [Paper(**paper) for paper in found.get("literature", ())]
    return {key: tuple(x) if isinstance(x, list) else x for key, x in found.items()}


@cache
def _words() -> dict[str, Any]:
    return tomllib.loads((resources.files(CLAIMS) / "words.toml").read_text("utf-8"))
