"""The studies of the project by name, found without importing them, and the loading of any study.

The file `c08_number_of_heads.py` holds the study "number-of-heads" of claim C8. `load_study` adds
what `notes.toml` holds: what does not follow from it, what papers found, and further sources.
"""

import ast
import importlib
import sys
import tomllib
from dataclasses import dataclass, replace
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
        """The claim in words, read from the file's source: importing all studies takes seconds."""
        tree = ast.parse((resources.files(CLAIMS) / f"{self.module}.py").read_text("utf-8"))
        keywords = (x for x in ast.walk(tree) if isinstance(x, ast.keyword))
        return next(str(ast.literal_eval(x.value)) for x in keywords if x.arg == "statement")


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
    from clearhead.studies.study import Paper, Study

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
    if not source.startswith(f"{CLAIMS}."):
        return study
    notes = _notes()[study.claim]
    return replace(
        study,
        limits=tuple(notes.get("limits", ())),
        literature=tuple(Paper(**paper) for paper in notes.get("papers", ())),
        references=tuple(notes.get("references", ())),
    )


@cache
def _notes() -> dict[str, Any]:
    return tomllib.loads((resources.files(CLAIMS) / "notes.toml").read_text("utf-8"))
