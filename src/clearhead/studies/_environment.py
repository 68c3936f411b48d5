"""What results depend on beside the code: versions, the commit, the machine."""

import os
import platform
import re
import shutil
import subprocess
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path

from joblib import cpu_count

LIBRARIES = ("clearhead", "torch", "numpy", "scipy")


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on, and the commit, if known."""
    found = {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
    commit = git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    return found | ({"commit": commit} if commit else {})


def machine() -> dict[str, str | int]:
    """What times depend on: processor, cores, memory, system."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = re.search(r"^model name\s*:\s*(.*)$", cpuinfo.read_text(errors="replace"), re.M)
        processor = names[1] if names else processor
    memory = 0
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor,
        "cores": cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def git(*arguments: str) -> str:
    """The output of a git command in the folder of the studies; empty outside of a clone."""
    program, folder = shutil.which("git"), str(resources.files("clearhead.studies"))
    if program is None:
        return ""
    command = [program, "-C", folder, *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return found.stdout.strip() if found.returncode == 0 else ""
