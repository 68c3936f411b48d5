"""One process or several (`torchrun`), and the device and precision that they compute with."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from clearhead.data import ImageDataset
from clearhead.errors import ClearheadError, ConfigError
from clearhead.inference import Evaluation, predict_probabilities
from clearhead.models.pretrained import ImageModel
from clearhead.training.config import BaseTrainConfig

TIMEOUT = timedelta(seconds=120)
EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class World:
    """The processes of a training run: rank and number of processes, and this process's device.

    With one process, every method returns its argument.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process has rank 0, the one that writes files and prints."""
        return self.rank == 0

    def part(self, total: int) -> slice:
        """This process's part of `total` consecutive items; parts differ by at most one item."""
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process; also a barrier."""
        if self.size == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags.item())

    def total(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, by rank; sizes may differ."""
        if self.size == 1:
            return [tensor]
        parts: list[Tensor | None] = [None] * self.size
        dist.all_gather_object(parts, tensor.cpu())
        return [part for part in parts if part is not None]


ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def is_first() -> bool:
    """Whether this process has rank 0, also before it has joined the others."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def join_world(device: str = "auto") -> Iterator[World]:
    """Join the processes started by `torchrun` (gloo on CPU, nccl on GPU), or be the only one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield World(rank=0, size=1, device=chosen)
        return
    if chosen.type == "mps":
        raise ConfigError("several processes cannot train on mps; start one, or use the device cpu")
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
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(f'device must be "auto", "cpu", "cuda", "cuda:N" or "mps", got {name!r}')
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device is mps, but torch finds no Apple GPU; use the device cpu")
    if kind != "cuda":
        return torch.device(kind)
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if devices == 0:
        raise ConfigError(f"device is {name}, but torch finds no GPU; use the device cpu")
    number = int(index) if index else local_rank
    if number >= devices:
        raise ConfigError(f"device is cuda:{number}, but torch finds {devices} GPUs, from cuda:0")
    return torch.device("cuda", number)


def uses_bfloat16(config: BaseTrainConfig, device: torch.device) -> bool:
    """Whether the forward pass runs under bfloat16 autocast."""
    if config.precision != "auto":
        return config.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "mps":
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def prepare_network(
    model: nn.Module,
    inputs: tuple[Tensor, ...] | None,
    world: World,
    *,
    bfloat16: bool,
    message: Callable[[str], None],
) -> nn.Module:
    """The model, or its distributed wrapper; blocks are compiled for `inputs` if there are any."""
    compiled = inputs is not None and compile_blocks(
        model, inputs, bfloat16=bfloat16, message=message
    )
    message(described_speed(world.device, bfloat16=bfloat16, compiled=compiled))
    if world.device.type == "cpu":
        keep_freed_memory()
    if world.size == 1:
        return model
    devices = [world.device] if world.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices)


def keep_freed_memory() -> None:
    """Let the allocator keep what a step frees for the next step; 5 to 8 % faster on Linux.

    glibc returns freed memory to the system from twice the size of the largest block that was freed
    so far, where this is at most 32 MiB. Pages from the system are filled with zeros each time.
    """
    torch.empty((32 << 20) - 8192, dtype=torch.uint8)


def described_speed(device: torch.device, *, bfloat16: bool, compiled: bool) -> str:
    """One line: the device, the precision, and whether blocks are compiled."""
    number = torch.get_num_threads()
    threads = f", {number} thread{'s' * (number != 1)}" if device.type == "cpu" else ""
    precision = "bfloat16" if bfloat16 else "float32"
    return (
        f"training on {device}{threads}, {precision}, blocks {'' if compiled else 'not '}compiled"
    )


def compile_blocks(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    bfloat16: bool,
    message: Callable[[str], None],
) -> bool:
    """Compile the model's blocks in place, and run them once; without a compiler, leave them.

    All blocks share their code, so one compilation serves them all: a few seconds instead of a
    minute for the whole model. Returns whether they are compiled.
    """
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.Sequential):
        return False
    message("compiling the model's blocks; the first step may take a minute")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own
            for block in blocks:
                block.compile(dynamic=False)
            with torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=bfloat16):
                logits = model(*inputs)
            logits.float().sum().backward()
    except ClearheadError:
        raise
    except Exception as error:  # noqa: BLE001  # compilers fail in many ways; none may stop us
        for block in blocks:
            block._compiled_call_impl = None  # the inverse of nn.Module.compile
        message(f"compilation failed ({type(error).__name__}); training is slower")
        return False
    finally:
        model.zero_grad(set_to_none=True)
    return True


def evaluate_together(model: ImageModel, dataset: ImageDataset, world: World) -> Evaluation:
    """Evaluate in all processes; the result is the same, bit by bit, as with one.

    Each process takes every n-th batch; batches are the same for any number of processes.
    """
    batches = torch.split(dataset.images, EVALUATION_BATCH)
    mine = [predict_probabilities(model, batch) for batch in batches[world.rank :: world.size]]
    shape = (0, len(dataset.class_names))
    gathered = world.gather(torch.cat([torch.empty(shape, dtype=torch.float64), *mine]))
    parts = [iter(torch.split(part, EVALUATION_BATCH)) for part in gathered]
    joined = [next(parts[number % world.size]) for number in range(len(batches))]
    return Evaluation.from_probabilities(torch.cat(joined), dataset.labels, dataset.class_names)
