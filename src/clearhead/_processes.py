"""Worker processes on this machine, which end with the one that started them, and Ray clusters."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from clearhead.errors import ConfigError, require

TIMEOUT = 15.0  # seconds for a cluster to respond
RAY_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}  # unless they are set
NOT_FOUND = 3  # exit code of the probe
PROBE = f"""
import sys, ray
print(flush=True)
try:
    ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
except ConnectionError:
    sys.exit({NOT_FOUND})
"""


def exit_with_parent() -> None:
    """In a worker process: end with its parent, even if that is killed, and leave Ctrl-C to it."""
    parent = multiprocessing.parent_process()
    if parent is None or "clearhead-parent" in {thread.name for thread in threading.enumerate()}:
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        try:
            parent.join()
        except ValueError:  # loky's processes have no handle of it
            while os.getppid() == parent.pid:  # not so from the start if the parent is dead already
                time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, name="clearhead-parent", daemon=True).start()


@contextmanager
def ctrl_c_deferred() -> Iterator[None]:
    """Ctrl-C takes effect after the block, and processes that are started in it ignore it.

    Without this, it would interrupt their imports, before `exit_with_parent`, with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # started in the block, it would let signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for processes that are started in the block; restored after it."""
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def ray_cluster(workers: int) -> Iterator[None]:
    """The cluster of RAY_ADDRESS; without that, one with this many CPUs for the block.

    A cluster that another program started for itself ends with that program, so it is not used
    unless RAY_ADDRESS names it.
    """
    require("a Ray cluster", "ray", extra="ray")
    address = os.environ.get("RAY_ADDRESS", "")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    variables = {name: os.environ.get(name, value) for name, value in RAY_ENVIRONMENT.items()}
    with environment(variables):
        import ray

        if address and address != "local":
            _check(address)
            ray.init(address="auto", **quiet)
        else:
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
        try:
            yield
        finally:
            ray.shutdown()


def _check(address: str) -> None:
    """Raise `ConfigError` if the cluster does not respond, or refuses access."""
    _check_reachable(address)
    # In a process of its own: with an address that does not respond, `ray.init` takes ten minutes
    # and cannot be interrupted.
    command = [sys.executable, "-P", "-c", PROBE]
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as probe:
        try:
            if probe.stdout is not None:
                probe.stdout.readline()  # Ray is imported; that may take longer than connecting
            code = probe.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            probe.kill()
    if code == 0:
        return
    reason = {
        None: f"does not respond within {TIMEOUT:g} seconds",
        NOT_FOUND: "is not running, or refuses access",
    }.get(code, "cannot be used; `ray status` shows the reason")
    raise ConfigError(
        f"the Ray cluster at RAY_ADDRESS={address} {reason}; start it again, or unset RAY_ADDRESS"
    )


def _check_reachable(address: str) -> None:
    """Raise `ConfigError` if nothing listens at HOST:PORT, without starting Ray."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto" and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
    except OSError as error:
        raise ConfigError(
            f"no Ray cluster can be reached at RAY_ADDRESS={address} "
            f"({error.strerror or error}); start it, or unset RAY_ADDRESS"
        ) from error
