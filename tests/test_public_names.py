"""The names that users see: all there, all lazy, all documented."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import clearhead

ROOMS = (
    "attention",
    "recording",
    "data",
    "explanation",
    "insight",
    "microscope",
    "models",
    "inference",
    "serve",
    "studies",
    "training",
)


def test_every_public_name_exists_and_is_documented() -> None:
    assert len(dir(clearhead)) > 30
    for name in dir(clearhead):
        thing = getattr(clearhead, name)
        assert name == "RECIPES" or (thing.__doc__ or "").strip(), name


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_gives_the_names_it_promises(room: str) -> None:
    module = importlib.import_module(f"clearhead.{room}")
    assert dir(module)
    for name in dir(module):
        assert getattr(module, name) is not None


def test_importing_clearhead_imports_nothing_heavy() -> None:
    code = (
        "import sys, clearhead, clearhead.training.config; "
        "print(sorted({'torch', 'numpy', 'scipy', 'PIL', 'matplotlib', 'huggingface_hub'}"
        " & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(clearhead, "no_such_" + "name")


def test_names_in_messages_and_docstrings_resolve() -> None:
    """Such as in "for models of timm use clearhead.explain"."""
    pattern = re.compile(r"\bclearhead(?:\.[A-Za-z_]\w*)+")
    folder = Path(clearhead.__file__).parent
    unresolved = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names = pattern.findall(node.value)
                unresolved += [(path.name, name) for name in names if not _resolves(name)]
    assert unresolved == []


def _resolves(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        return False
    return True
