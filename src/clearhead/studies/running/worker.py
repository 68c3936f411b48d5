"""One process that measures trials: a line of JSON comes in on stdin, one goes out on stdout.

Started by `local`, never by hand. When its driver is gone, stdin ends, and so does this process,
whatever it is doing.
"""

import os
import queue
import sys
import threading
from typing import BinaryIO

from clearhead.studies.running.measure import measure


def main() -> None:
    """Measure until stdin ends."""
    stdin, stdout = _private_streams()
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(stdin, requests), daemon=True).start()
    while True:
        stdout.write(measure(requests.get()).encode() + b"\n")
        stdout.flush()


def _listen(stdin: BinaryIO, requests: "queue.SimpleQueue[str]") -> None:
    for line in stdin:
        requests.put(line.decode())
    os._exit(0)


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """Both ends of the talk; what a study prints goes to stderr, what it reads is empty."""
    stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - for good
    return stdin, stdout


if __name__ == "__main__":
    main()
