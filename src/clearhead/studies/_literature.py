"""What papers found about each claim, and further sources: `claims/literature.toml`."""

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from clearhead.studies.study import Paper


def literature(claim: str) -> dict[str, Any]:
    """The arguments `literature` and `references` of a study, by its claim, such as "C8"."""
    found = _file().get(claim, {})
    papers = tuple(Paper(**paper) for paper in found.get("papers", ()))
    return {"literature": papers, "references": tuple(found.get("references", ()))}


@cache
def _file() -> dict[str, Any]:
    file = resources.files("clearhead.studies.claims") / "literature.toml"
    return tomllib.loads(file.read_text("utf-8"))
