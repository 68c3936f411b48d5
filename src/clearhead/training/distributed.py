"""One process or many: what `torchrun` says in the environment, and the few words they exchange.

Alone, every function here gives back what it was given.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor
from torch import distributed as dist

from clearhead.errors import ConfigError

TIMEOUT = timedelta(seconds=120)


@dataclass(frozen=True)
class World:
    """Which of how many processes this one is, and the device it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def part(self, total: int) -> slice:
        """The share of `total` neighbouring things that is this process's; they differ by one."""
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    def any(self, flag: bool) -> bool:
        """Whether any process says yes."""
        if self.size == 1:
            return flag
        votes = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(votes, op=dist.ReduceOp.MAX)
        return bool(votes.item())

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, mine: Tensor) -> list[Tensor]:
        """What every process has, in the order of their ranks; sizes may differ."""
        if self.size == 1:
            return [mine]
        parts: list[Tensor | None] = [None] * self.size
        dist.all_gather_object(parts, mine.cpu())
        return [part for part in parts if part is not None]


def is_first() -> bool:
    """Whether this process is the one that speaks, also before it has joined the others."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def join_world(device: str = "auto") -> Iterator[World]:
    """Join the processes that `torchrun` started (gloo on CPU, nccl on GPU), or be alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield World(rank=0, size=1, device=chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield World(rank=rank, size=size, device=chosen)
    finally:
        dist.destroy_process_group()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of that name; "auto" is a GPU if there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f'device must be "auto", "cpu" or "cuda", got {name!r}') from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, but torch sees no GPU; use --device cpu")
    return torch.device("cuda", local_rank) if name == "cuda" else device
