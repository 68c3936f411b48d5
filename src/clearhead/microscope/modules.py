"""JavaScript modules as one script: a page opened from disk cannot import or fetch any.

Each module becomes a function that returns what it exports, called at once, in an order in which
nothing is used before it exists. Only the forms that the page's own modules use are known: named
imports on relative paths, and `export` before `const`, `function` or `class`. Comments on lines of
their own, a tenth of the page, stay behind.
"""

import posixpath
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from clearhead.errors import ConfigError

_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.[^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:const|function|class) (\w+))", re.MULTILINE)
_EXPORTED = re.compile(r"^export (?:async )?(?:const|function|class) (\w+)", re.MULTILINE)
_COMMENT = re.compile(r"^ *(?:/\*\*(?:(?!\*/).)*\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)
_OTHER = re.compile(r"^(?:import|export)\b.*$", re.MULTILINE)


class Module(NamedTuple):
    """One file: its path within the folder, what it needs, and its code without imports."""

    path: str
    needs: dict[str, str]  # path of a module → the names taken from it
    exports: tuple[str, ...]
    body: str


def join_modules(folder: Path) -> str:
    """All modules in `folder` and its subfolders as one script."""
    modules = {
        path.relative_to(folder).as_posix(): read_module(
            path.relative_to(folder).as_posix(), path.read_text("utf-8")
        )
        for path in sorted(folder.rglob("*.js"))
    }
    joined = "\n".join(_wrapped(modules[path], modules) for path in _in_order(modules))
    return f'"use strict";\n{joined}'


def read_module(path: str, source: str) -> Module:
    """The parts of one module; raises `ConfigError` for a form that is not known here."""
    needs = {}
    for names, relative in _IMPORT.findall(source):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), relative))
        needs[target] = " ".join(names.split()).rstrip(",").replace(" as ", ": ")
    body = _IMPORT.sub("", source)
    exports = tuple(_EXPORTED.findall(body))
    body = _COMMENT.sub("", _EXPORT.sub("", body))
    if unknown := _OTHER.search(body):
        raise ConfigError(f"{path}: this form cannot be joined: {unknown[0]}")
    return Module(path, needs, exports, body)


def _in_order(modules: dict[str, Module]) -> list[str]:
    for module in modules.values():
        for path in module.needs:
            if path not in modules:
                raise ConfigError(f"{module.path} imports {path}, which does not exist")
    try:
        return list(
            TopologicalSorter(
                {path: module.needs for path, module in modules.items()}
            ).static_order()
        )
    except CycleError as error:
        raise ConfigError(f"modules import each other: {' → '.join(error.args[1])}") from error


def _wrapped(module: Module, modules: dict[str, Module]) -> str:
    taken = [f"const {{ {names} }} = {_variable(path)};" for path, names in module.needs.items()]
    given = f"return {{ {', '.join(module.exports)} }};"
    inside = "\n".join([*taken, module.body.strip(), given])
    return f"// {module.path}\nconst {_variable(module.path)} = (() => {{\n{inside}\n}})();"


def _variable(path: str) -> str:
    return "$" + re.sub(r"\W", "_", path.removesuffix(".js"))
