"""`clearhead serve` in a process of its own."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from tests.processes import die_with_parent

from .server import Client, wait_until

LIMITS = ("--deadline", "9000", "--client-timeout", "9000", "--drain-timeout", "9000")
SERVE = (sys.executable, "-m", "clearhead", "serve", "--port", "0", *LIMITS)


class Command(Client):
    """`with Command("--option", "value") as server`; it is killed at the end."""

    def __init__(self, *options: str) -> None:
        # a file, not a pipe: the server must not wait for a reader
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by __exit__
        self.process = subprocess.Popen(
            [*SERVE, *options],
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=die_with_parent,
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
