"""Which studies there are, by the name on the command line, without importing one of them."""

import difflib
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

from clearhead.errors import ConfigError
from clearhead.studies.study import Study

OBJECT = "STUDY"


@dataclass(frozen=True)
class Entry:
    """A study of the project: where it is, and what `clearhead study list` says of it."""

    module: str
    """Its file, without ending, in this folder"""
    name: str
    statement: str

    @property
    def claim(self) -> str:
        """From the file's name: c01_… tests C1."""
        return f"C{int(self.module[1:3])}"

    @property
    def source(self) -> str:
        """Where its `Study` is, as for anybody's: MODULE:OBJECT."""
        return f"clearhead.studies.{self.module}:{OBJECT}"


# One line a study, in the order of the claims; a test compares each with its STUDY.
ENTRIES: tuple[Entry, ...] = ()


def find_source(name: str) -> str:
    """MODULE:OBJECT of a study of the project, by name or claim; of your own, as it is given.

    Raises `ConfigError` with the nearest name if there is none.
    """
    if ":" in name:
        return name
    for entry in ENTRIES:
        if name.lower() in (entry.name, entry.claim.lower()):
            return entry.source
    known = [entry.name for entry in ENTRIES]
    nearest = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "`clearhead study list` names them"
    raise ConfigError(f"there is no study {name!r}; {hint} (your own is MODULE:OBJECT)")


def load_study(source: str) -> Study:
    """The study at MODULE:OBJECT; the module is imported, also from the current folder."""
    module_name, _, attribute = source.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(
            f"there is no module {module_name!r} for the study {source!r}; a study of your own is "
            "MODULE:OBJECT, with MODULE on Python's path or in the current folder"
        ) from error
    study = getattr(module, attribute or OBJECT, None)
    if not isinstance(study, Study):
        raise ConfigError(
            f"{source!r} names no Study: {module_name} has {attribute or OBJECT!r} as "
            f"{type(study).__name__}"
        )
    return study
