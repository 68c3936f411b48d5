"""A Ray cluster: the one that runs already, or one of this machine for as long as it is needed."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clearhead.errors import ConfigError


@contextmanager
def ray_cluster(workers: int) -> Iterator[None]:
    """The cluster of RAY_ADDRESS or a running one; else one started for the block.

    Args:
        workers: CPUs of a cluster that is started.

    Raises:
        ConfigError: If Ray is not installed, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        import ray
    except ImportError as error:
        raise ConfigError("Ray is not installed; install the extra `ray`") from error
    address = os.environ.get("RAY_ADDRESS", "")
    _check_reachable(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:
        if address:
            raise ConfigError(f"the Ray cluster at RAY_ADDRESS={address} refuses access") from None
        ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise `ConfigError` if nothing listens at HOST:PORT; Ray would try for ten minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto" and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10.0).close()
    except OSError as error:
        raise ConfigError(
            f"no Ray cluster can be reached at RAY_ADDRESS={address} "
            f"({error.strerror or error}); start it, or unset RAY_ADDRESS"
        ) from error
