"""The engine of many machines: trials on a Ray cluster, one core each.

The cluster is that of RAY_ADDRESS or the one that runs on this machine; where there is none, one is
made for the run, without dashboard and without reports of its use. Every machine needs the same
Clearhead and, for a study of your own, its module on Python's path; one with other code refuses.
"""

import json
import os
import socket
from collections.abc import Generator, Sequence
from typing import Any

from clearhead.errors import ConfigError
from clearhead.studies.running.engine import ATTEMPTS, Measured, measured
from clearhead.studies.running.measure import measure
from clearhead.studies.running.planning import Task
from clearhead.studies.running.provenance import available_cores

# What must stand in the environment before Ray is imported.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
}
IN_FLIGHT = 4  # trials a core that are told to the cluster at once
SECONDS_PER_LOOK = 1.0
SECONDS_TO_ANSWER = 10.0


def run_on_ray(tasks: Sequence[Task], workers: int | None) -> Generator[Measured]:
    """Measure all tasks on a cluster, at most `workers` at once."""
    ray = _import_ray()
    _connect(ray, workers)
    try:
        yield from _measure_all(ray, tasks, workers)
    finally:
        ray.shutdown()


def _measure_all(ray: Any, tasks: Sequence[Task], workers: int | None) -> Generator[Measured]:
    remote = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(measure)
    at_once = workers or IN_FLIGHT * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting = list(reversed(tasks))
    flying: dict[Any, Task] = {}
    while waiting or flying:
        while waiting and len(flying) < at_once:
            task = waiting.pop()
            flying[remote.remote(task.to_json())] = task
        ready, _ = ray.wait(list(flying), num_returns=1, timeout=SECONDS_PER_LOOK)
        for reference in ready:
            task = flying.pop(reference)
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayError as error:
                told = type(error).__name__
                yield Measured(task=task, error=f"its process died {ATTEMPTS} times ({told})")
            else:
                yield measured(task, json.loads(answer))


def _import_ray() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise ConfigError("Ray is not installed: pip install ray") from error
    return ray


def _connect(ray: Any, workers: int | None) -> None:
    """To a cluster that there is, or else to one that is made here."""
    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = os.environ.get("RAY_ADDRESS", "")
    if address:
        _check_that_it_answers(address)
        try:
            ray.init(**settings)
        except ConnectionError as error:
            raise ConfigError(
                f"the Ray cluster at RAY_ADDRESS={address} lets nobody in; if it asks for a token, "
                "set RAY_AUTH_MODE=token"
            ) from error
        return
    try:
        ray.init(address="auto", **settings)
    except ConnectionError:
        cores = workers or available_cores()
        ray.init(address="local", num_cpus=cores, include_dashboard=False, **settings)


def _check_that_it_answers(address: str) -> None:
    """Ray itself tries for more than ten minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", "local", or what only Ray understands
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise ConfigError(
            f"no Ray cluster answers at RAY_ADDRESS={address} ({error.strerror or error}); start "
            "it, or unset RAY_ADDRESS"
        ) from error
