"""Whose model a folder's config.json describes: ours, timm's or transformers'."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

Maker: TypeAlias = Literal["timm", "transformers", "Clearhead"]

CALLED: Mapping[Maker, str] = {"timm": "timm:{}", "transformers": "hf:{}", "Clearhead": "{}"}
"""How a folder of each is named on the command line"""
OURS = {"model", "sha256", "config_sha256"}


def maker_of(saved: Mapping[str, object]) -> Maker | None:
    """Who wrote this configuration: each library writes keys that no other does."""
    if "model_type" in saved:
        return "transformers"
    if "architecture" not in saved:
        return None
    return "Clearhead" if OURS & set(saved) else "timm"
