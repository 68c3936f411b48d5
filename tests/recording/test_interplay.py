"""Recording beside other features of torch changes neither the records nor their names."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore
from torch.autograd.graph import save_on_cpu
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.func import functional_call, functionalize, grad, jacrev, vjp
from torch.nn.utils.parametrizations import weight_norm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import clearhead as ch
from tests.serve.server import run_async

from .reference import Labelled, generator

X = torch.randn(2, 5, 12, generator=generator())


class Attention(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(12, 36)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, 3, 4)).permute(2, 0, 3, 1, 4)
        if self.fused:
            output = nn.functional.scaled_dot_product_attention(query, key, value)
        else:
            output = (query @ key.mT / 2).softmax(-1) @ value
        return x + output.transpose(1, 2).flatten(2)


def network(fused: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Attention(fused), Attention(fused)).eval()


def normalised(model: nn.Module) -> nn.Module:
    weight_norm(model[0].qkv)  # type: ignore[index]
    return model


class Passing(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def counted() -> AbstractContextManager[Any]:
    return FlopCounterMode(display=False)


@contextmanager
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def sharded(model: nn.Module) -> None:
    mesh = init_device_mesh("cpu", (1,))
    for layer in model.children():
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model(X)


def inside(context: Callable[[], AbstractContextManager[Any]]) -> Callable[[nn.Module], Any]:
    def call(model: nn.Module) -> None:
        with context():
            model(X)

    return call


CALLS: dict[str, Callable[[nn.Module], Any]] = {
    "grad": lambda model: grad(lambda x: model(x).sum())(X),
    "vjp": lambda model: vjp(model, X)[1](X),
    "jacrev": lambda model: jacrev(lambda x: model(x).sum((0, 1)))(X),
    "functionalize": lambda model: functionalize(model)(X),
    "functional_call": lambda model: functional_call(model, dict(model.named_parameters()), (X,)),
    "to_thread": lambda model: run_async(asyncio.to_thread(model, X)),
    "subclass": lambda model: model(X.as_subclass(Labelled)),
    "weight_norm": lambda model: normalised(model)(X),
    "save_on_cpu": inside(save_on_cpu),
    "flop counter": inside(counted),
    "dispatch mode": inside(Passing),
    "device": inside(lambda: torch.device("cpu")),
    "sharded": sharded,
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # by torch, of jacrev
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "explicit"])
@pytest.mark.parametrize("name", CALLS)
def test_records_equal_those_of_a_plain_call(name: str, fused: bool) -> None:
    model = network(fused)
    with ch.capture() as plain:
        model(X)

    with group() if name == "sharded" else nullcontext(), ch.capture() as recording:
        CALLS[name](deepcopy(model))

    recording.verify()
    assert recording.names == plain.names
    for record, expected in zip(recording.records, plain.records, strict=True):
        torch.testing.assert_close(record.weights.as_subclass(Tensor), expected.weights)
