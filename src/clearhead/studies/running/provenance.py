"""Which code measured, with which libraries, on which machine."""

import os
import platform
import sys
from functools import cache
from importlib import resources
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from clearhead._atomic import sha256

LIBRARIES = ("clearhead", "torch", "numpy", "scipy")
PACKAGES = (
    *("attention", "models", "data", "recording"),
    *("inference", "training", "insight", "studies"),
)
JUDGING = ("stats.py", "verdict.py", "registry.py")


@cache
def versions() -> dict[str, str]:
    """Of Python and of the libraries that results depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


@cache
def code_digest(source: str) -> str:
    """A digest of the code that a study's trials run: its own module and the packages below.

    Other claims' modules, and what runs and judges studies, do not count: they measure nothing.
    """
    package = Path(str(resources.files("clearhead")))
    files = [
        path
        for name in PACKAGES
        for path in sorted((package / name).rglob("*.py"))
        if not _measures_nothing(path.relative_to(package).as_posix())
    ]
    spec = find_spec(source.partition(":")[0])
    if spec is not None and spec.origin is not None and Path(spec.origin).is_file():
        files.append(Path(spec.origin))
    return sha256("".join(sha256(path.read_bytes()) for path in files).encode())[:16]


def provenance(source: str) -> str:
    """Versions and code in one line: equal in two processes if both would measure the same."""
    told = " ".join(f"{name} {number}" for name, number in versions().items())
    return f"{told} code {code_digest(source)}"


def machine() -> dict[str, str | int]:
    """What time depends on: processor, cores, memory, system."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gib": round(_memory() / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def available_cores() -> int:
    """The cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _measures_nothing(name: str) -> bool:
    package, *folders, file = name.split("/")
    if package != "studies":
        return False
    return bool({"running", "reporting", "claims"} & set(folders)) or file in JUDGING


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
