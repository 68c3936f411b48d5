"""What does not follow from a study, what papers found, further sources: `claims/notes.toml`."""

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from clearhead.studies.study import Paper


def notes(claim: str) -> dict[str, Any]:
    """The arguments `limits`, `literature` and `references` of a study, by its claim ("C8")."""
    found = _file()[claim]
    return {
        "limits": tuple(found.get("limits", ())),
        "literature": tuple(Paper(**paper) for paper in found.get("papers", ())),
        "references": tuple(found.get("references", ())),
    }


@cache
def _file() -> dict[str, Any]:
    file = resources.files("clearhead.studies.claims") / "notes.toml"
    return tomllib.loads(file.read_text("utf-8"))
