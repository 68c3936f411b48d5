"""Builds the page: one HTML file with style, script, settings and weights that makes no requests.

A page opened from disk cannot import modules, so the modules in `script/` are joined to one script.
Each becomes a function that returns its exports, called in an order in which nothing is used before
it is defined. Supported are named imports from relative paths, and `export` before `const`,
`function` or `class`. Comments on lines of their own, a tenth of the page, are left out.
"""

import base64
import hashlib
import posixpath
import re
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from numpy import ndarray

from clearhead.errors import ConfigError
from clearhead.microscope._payload import (
    Accuracy,
    check_config,
    rounded,
    settings_block,
    weights_block,
)
from clearhead.microscope.shipped import DIGITS, SENTENCES, read_shipped
from clearhead.models.config import ViTConfig

if TYPE_CHECKING:
    from clearhead.models.pretrained import ImageModel

FOLDER = Path(str(resources.files("clearhead.microscope")))

# Nothing may be fetched. Only the style and the script that were built in may run.
_POLICY = (
    "default-src 'none'; connect-src 'none'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'; script-src '{script}'; style-src '{style}'"
)
_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:const|function|class) (\w+))", re.MULTILINE)
_COMMENT = re.compile(r"^ *(?:/\*\*(?:(?!\*/).)*\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)
_OTHER = re.compile(r"^(?:import|export)\b.*$", re.MULTILINE)


def build_page(model: "ImageModel", *, name: str = "model") -> str:
    """Build the microscope for a Vision Transformer.

    Args:
        model: A `VisionTransformer` of at most 65 tokens, 40 classes, 16 layers, 16 heads per layer
            and 4,000,000 weights. It computes the reference logits for the page's self-check.
        name: The name that the page shows.

    Returns:
        One HTML document that opens from disk.

    Raises:
        ConfigError: If the model is of another class or too large, or its weights exceed the range
            of half precision.
    """
    from clearhead.microscope._reference import example_logits
    from clearhead.models.vit import VisionTransformer

    if not isinstance(model, VisionTransformer):
        raise ConfigError(
            "the microscope shows clearhead's own VisionTransformer, got "
            f"{type(model).__module__}.{type(model).__name__}"
        )
    check_config(model.config)
    tensors = {key: tensor.numpy(force=True) for key, tensor in model.state_dict().items()}
    return _assemble(model.config, rounded(tensors), name=name, logits=example_logits(model))


def shipped_page() -> str:
    """Build the microscope for the shipped digit classifier, without importing torch.

    Returns:
        One HTML document that opens from disk.

    Raises:
        CheckpointError: If the package's files do not belong together.
    """
    model = read_shipped(DIGITS)
    return _assemble(
        ViTConfig(**model.settings),
        model.tensors,
        name=DIGITS,
        logits=model.facts["logits"],
        accuracy=Accuracy(**model.facts["accuracy"]),
    )


def _assemble(
    config: ViTConfig,
    tensors: Mapping[str, ndarray],
    *,
    name: str,
    logits: Sequence[Sequence[float]],
    accuracy: Accuracy | None = None,
) -> str:
    script = join_modules(FOLDER / "script")
    style = "\n".join(path.read_text("utf-8") for path in sorted((FOLDER / "style").glob("*.css")))
    if "</script" in script or "</style" in style:
        raise ConfigError("a script with </script, or a style with </style, cannot be built in")
    text_model = read_shipped(SENTENCES)
    parts = {
        "policy": _POLICY.format(script=_digest(script), style=_digest(style)),
        "name": escape(name),
        "style": style,
        "payload": settings_block(
            config, tensors, name=name, logits=logits, accuracy=accuracy, text_model=text_model
        ),
        "weights": weights_block(tensors),
        "text_weights": weights_block(text_model.tensors),
        "script": script,
    }
    template = (FOLDER / "microscope.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


class _Module(NamedTuple):
    path: str  # within the folder
    needs: dict[str, str]  # path of a module -> the names imported from it
    exports: tuple[str, ...]
    body: str  # without imports


def join_modules(folder: Path) -> str:
    """All JavaScript modules in `folder` and its subfolders as one script.

    Raises:
        ConfigError: If a module has an unsupported form or imports a module that does not exist,
            or if modules import each other.
    """
    sources = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.js"))}
    modules = {name: _parse(name, path.read_text("utf-8")) for name, path in sources.items()}
    for module in modules.values():
        for path in module.needs:
            if path not in modules:
                raise ConfigError(f"{module.path} imports {path}, which does not exist")
    graph = {path: module.needs for path, module in modules.items()}
    try:
        order = tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise ConfigError(f"modules import each other: {' → '.join(error.args[1])}") from error
    return '"use strict";\n' + "\n".join(_as_function(modules[path]) for path in order)


def _parse(path: str, source: str) -> _Module:
    needs = {}
    for names, relative in _IMPORT.findall(source):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), relative))
        needs[target] = " ".join(names.split()).rstrip(",").replace(" as ", ": ")
    body = _IMPORT.sub("", source)
    exports = tuple(_EXPORT.findall(body))
    body = _COMMENT.sub("", _EXPORT.sub("", body))
    if unknown := _OTHER.search(body):
        raise ConfigError(f"{path}: this form cannot be joined: {unknown[0]}")
    return _Module(path, needs, exports, body)


def _as_function(module: _Module) -> str:
    imports = [f"const {{ {names} }} = {_variable(path)};" for path, names in module.needs.items()]
    exports = f"return {{ {', '.join(module.exports)} }};"
    body = "\n".join([*imports, module.body.strip(), exports])
    return f"// {module.path}\nconst {_variable(module.path)} = (() => {{\n{body}\n}})();"


def _variable(path: str) -> str:
    return "$" + re.sub(r"\W", "_", path.removesuffix(".js"))
