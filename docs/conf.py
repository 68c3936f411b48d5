"""How Sphinx builds the documentation: `make docs`."""

import logging
import os
import re
import shutil
import sys
import tempfile
from dataclasses import is_dataclass
from hashlib import blake2b
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

# The pages' kernels inherit these: this source, one thread, no request to the Hugging Face hub,
# and no file of the user's IPython.
profile = tempfile.TemporaryDirectory()
kernel_config = Path(profile.name) / "profile_default" / "ipython_kernel_config.py"
kernel_config.parent.mkdir()
kernel_config.write_text("c.IPKernelApp.log_level = 'ERROR'\n")
os.environ |= {
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "IPYTHONDIR": profile.name,
}
logging.getLogger("traitlets").setLevel(logging.ERROR)


def execution_cache(root: Path) -> Path:
    """The folder of executed pages: another one after a change of any file that they may use."""
    digest = blake2b(digest_size=8)
    for folder, suffixes in (
        ("src", {".py", ".json", ".safetensors"}),
        ("docs", {".py", ".gz", ".json"}),
    ):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in suffixes and "_build" not in path.parts:
                digest.update(path.read_bytes())
    digest.update((root / "constraints.txt").read_bytes())
    caches = root / "docs" / "_build" / "executed"
    for other in caches.glob("*"):
        if other.name != digest.hexdigest():
            shutil.rmtree(other, ignore_errors=True)
    return caches / digest.hexdigest()


project = "Clearhead"
author = "The Clearhead developers"
project_copyright = author
version = release = installed_version("clearhead")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docs.learn.sphinx_extension",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "Clearhead"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["narrow.css"]

myst_heading_anchors = 3

nb_execution_mode = "cache"
nb_execution_cache_path = str(execution_cache(ROOT))
nb_execution_in_temp = True
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_output_stderr = "remove"
nb_merge_streams = True
nb_render_markdown_format = "myst"

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_format = "short"
maximum_signature_line_length = 90
default_role = "code"
napoleon_numpy_docstring = False


def adapt_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Read a docstring as Markdown is read, before napoleon reads its sections.

    An indented block after "text:" and an empty line is code, | and * are literal, and a plural s
    may follow `code`. Attributes of a dataclass are listed with their types, as its parameters.
    """
    text = re.sub(r"^(Examples?):$", r"\1:\n", "\n".join(lines), flags=re.MULTILINE)
    if is_dataclass(obj):
        text = text.replace("\nAttributes:\n", "\nArgs:\n")
    parts = re.split(r"(`[^`]*`|^\S.*:\n\n(?=    )(?:    .*\n|\n)+)", text, flags=re.MULTILINE)
    parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
    parts[1::2] = [re.sub(r":\n\n", "::\n\n", part, count=1) for part in parts[1::2]]
    text = re.sub(r"(`[^`]+`)(\w?)", lambda m: f"{m[1]}\\ {m[2]}" if m[2] else m[1], "".join(parts))
    lines[:] = text.split("\n")


def skip_alias(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    """Leave out a named tuple's fields, which are listed as its parameters."""
    return True if str(obj.__doc__).startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Register the hooks, that on docstrings with a priority before napoleon's."""
    app.connect("autodoc-process-docstring", adapt_docstring, priority=400)
    app.connect("autodoc-skip-member", skip_alias)
