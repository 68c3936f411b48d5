"""Processes that tests start: ports for them, which of them run, none that outlives the tests."""

import ctypes
import random
import signal
import socket

import psutil


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Let the kernel send this signal to this process when its parent ends (Linux).

    It is not inherited by the process's children.
    """
    ctypes.CDLL(None).prctl(1, number)


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def children_of(pid: int, *, recursive: bool = False) -> list[int]:
    """A process's children; recursive: and theirs."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive)]
    except psutil.NoSuchProcess:
        return []


# Below the ports that Linux gives to outgoing connections and to sockets that are bound to port 0,
# above those of Ray's workers.
_PORTS = range(20_000, 32_768)


def free_port() -> int:
    """A port of 127.0.0.1 for a process that is started later, and cannot choose one itself.

    It is random and of a range that nothing else takes ports from by itself. A port from a socket
    bound to port 0 may be given to another process as soon as that socket is closed.
    """
    while True:
        port = random.SystemRandom().choice(_PORTS)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
