"""Processes that tests start: which of them run, and none that outlives the tests."""

import ctypes
import signal

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
