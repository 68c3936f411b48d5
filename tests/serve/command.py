"""`clearhead serve` in a process of its own."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from .server import Client, wait_until

# A prefix for commands that must end even if the test run is killed.
ENDS_WITH_TESTS = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
SERVE = (sys.executable, "-m", "clearhead", "serve", "--port", "0")


class Command(Client):
    """`with Command("--option", "value") as server`; it is killed at the end."""

    def __init__(self, *options: str) -> None:
        # a file, not a pipe: the server must not wait for a reader
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by __exit__
        self.process = subprocess.Popen(
            [*ENDS_WITH_TESTS, *SERVE, *options],
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        wait_until(lambda: "http://" in self.output() or self.process.poll() is not None)
        found = re.search(r"http://127\.0\.0\.1:(\d+)", self.output())
        assert found, self.output()
        self.port = int(found.group(1))
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()

    def output(self) -> str:
        self.log.flush()
        return os.pread(self.log.fileno(), 1 << 20, 0).decode()


def count_of(command: Command, part: str) -> int:
    """Threads ("task") or open files ("fd") of the process."""
    return len(list(Path(f"/proc/{command.process.pid}/{part}").iterdir()))


def descendants(command: Command) -> list[int]:
    """Its child processes, and theirs."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    found = [command.process.pid]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found[1:]


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
