"""Attention in graphs of torch.compile and torch.export is recorded as in eager mode."""

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from copy import deepcopy
from types import FrameType
from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func  # type: ignore[import-untyped]
from torch import Tensor, fx, nn
from torch._dynamo.backends.common import aot_autograd
from torch.fx.passes.split_module import split_module
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import clearhead as ch
from clearhead.errors import CaptureError
from clearhead.recording import Recording
from clearhead.recording._interception import InterceptionMode
from tests.marks import slow_after

from .reference import normal

pytestmark = pytest.mark.unchecked  # compiles

X = normal(2, 5, 12, dtype=torch.float32)
MASK = normal(2, 1, 5, 5, dtype=torch.float32)


def test_a_graph_has_each_attribute_of_a_tensor() -> None:
    compiled = torch.compile(lambda x: (x.is_nested, x.dtype, x.shape), backend="eager")
    with ch.capture():
        F.scaled_dot_product_attention(X, X, X)
        assert compiled(X) == (False, torch.float32, (2, 5, 12))


class Attend(nn.Module):
    """Grouped queries, a mask and a scale; or separate operations."""

    def __init__(self, fused: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.project = nn.Linear(12, 24)
        self.fused, self.dropout = fused, dropout

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.project(x).unflatten(-1, (8, 3)).transpose(1, 2)
        q, k, v = qkv.split([4, 2, 2], 1)
        if not self.fused:
            weights = (q[:, :2] @ k.transpose(-2, -1)).softmax(-1)
            context: Tensor = (weights @ v).repeat(1, 2, 1, 1)
            return context.transpose(1, 2).flatten(2)
        options: Any = {"attn_mask": MASK, "scale": 0.7, "enable_gqa": True}
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout, **options)
        return attended.transpose(1, 2).flatten(2)


class Model(nn.Module):
    def __init__(self, depth: int = 2, **options: Any) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Attend(**options) for _ in range(depth)])

    def encoded(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.encoded(x).mean(1)


class OtherTokens(Model):
    """The second layer attends to fewer tokens than the first, as in a pyramid or a decoder."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.blocks = nn.ModuleList([SelfAttention(), SelfAttention()])

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks[1](self.blocks[0](x)[:, :3])  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        heads = x.unflatten(-1, (3, 4)).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)


class Containers(Model):
    """Layers that are called from a list, a dictionary, and a tuple in it."""

    def __init__(self) -> None:
        super().__init__()
        first, second = self.blocks
        self.layers, self.by_name = [first], {"x": {3: (first, second)}}

    def encoded(self, x: Tensor) -> Tensor:
        x = x + self.layers[0](x)
        second: Tensor = self.by_name["x"][3][1](x)
        return x + second


class Broken(Model):
    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks[0](x)
        torch._dynamo.graph_break()
        return self.blocks[1](x)  # type: ignore[no-any-return]


class Outer(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = torch.compile(inner, backend="eager")

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(x)
        return result


class StaticCache(nn.Module):
    """Decodes one token a call; keys and values are written into buffers."""

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(12, 36)
        self.register_buffer("keys", torch.zeros(2, 3, 5, 4))
        self.register_buffer("values", torch.zeros(2, 3, 5, 4))

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        q, k, v = self.project(x).unflatten(-1, (3, 3, 4)).permute(2, 0, 3, 1, 4)
        self.keys.index_copy_(2, index, k)
        self.values.index_copy_(2, index, v)
        mask = torch.arange(5)[None] <= index
        attended = F.scaled_dot_product_attention(q, self.keys, self.values, attn_mask=mask)
        return attended.transpose(1, 2).flatten(2)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.manual_seed(0)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def recorded(model: Callable[[Tensor], Tensor]) -> tuple[Recording, Tensor]:
    with torch.no_grad(), ch.capture() as recording:
        output = model(X)
    recording.verify()
    assert recording.unrecorded == ()
    return recording, output


def assert_same(recording: Recording, expected: Recording) -> None:
    for name in ("query", "key", "value", "scores", "scaled", "masked", "weights", "output"):
        for one, other in zip(recording.records, expected.records, strict=True):
            torch.testing.assert_close(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("backend", slow_after(1, ["aot_eager", "eager"]))
@pytest.mark.parametrize("fullgraph", slow_after(1, [True, False]))
@pytest.mark.parametrize("ran_before", slow_after(1, [True, False]))
def test_a_compiled_model_is_recorded(backend: str, fullgraph: bool, ran_before: bool) -> None:
    model = Model()
    compiled = torch.compile(model, backend=backend, fullgraph=fullgraph)
    if ran_before:
        with torch.no_grad():
            compiled(X)
    expected, plain = recorded(model)
    recording, output = recorded(compiled)
    torch.testing.assert_close(output, plain)
    assert recording.names == ("blocks.0", "blocks.1")
    assert_same(recording, expected)


class OwnInterpreter(fx.Interpreter):
    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return target(*args, **kwargs)


def each_call_apart(graph: fx.GraphModule) -> fx.GraphModule:
    numbers = iter(range(999))
    return split_module(graph, graph, lambda _: next(numbers))


# How backends run a graph.
BACKENDS: dict[str, Callable[[fx.GraphModule, Any], Any]] = {
    "module": lambda graph, _: graph,
    "interpreter": lambda graph, _: fx.Interpreter(graph).run,
    "split": lambda graph, _: each_call_apart(graph),
    "interpreter of operators": aot_autograd(
        fw_compiler=lambda graph, _: make_boxed_func(fx.Interpreter(graph).run)
    ),
    "copy": lambda graph, _: fx.GraphModule(graph, deepcopy(graph.graph)),
    "own interpreter": lambda graph, _: lambda *args: OwnInterpreter(graph).run(*args),
    "split interpreter": lambda graph, _: fx.Interpreter(each_call_apart(graph)).run,
}


@pytest.mark.parametrize("backend", slow_after(1, BACKENDS.values()), ids=BACKENDS)
def test_a_graph_is_recorded_once_however_its_backend_runs_it(backend: Any) -> None:
    model = Model()
    expected, plain = recorded(model)
    compiled = torch.compile(model, backend=backend)
    for _ in range(2):
        recording, output = recorded(compiled)
        torch.testing.assert_close(output, plain)
        assert recording.names == ("blocks.0", "blocks.1")
        assert_same(recording, expected)


class LeafTracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Attend)


@pytest.mark.parametrize("fused", [True, False])
def test_an_interpreter_of_a_traced_model_records_the_paths_of_its_modules(fused: bool) -> None:
    model = Model(fused=fused)
    expected, _ = recorded(model)
    inlined, traced = fx.symbolic_trace(model), fx.GraphModule(model, LeafTracer().trace(model))
    for run, names in (
        (traced, ("blocks.0", "blocks.1")),
        (fx.Interpreter(traced).run, ("blocks.0", "blocks.1")),
        (fx.Interpreter(model, graph=traced.graph).run, ("blocks.0", "blocks.1")),
        (inlined, ("Model", "Model#2")),
        (fx.Interpreter(inlined).run, ("Model", "Model#2")),
    ):
        recording, _ = recorded(run)
        assert recording.names == names
        assert_same(recording, expected)


class OtherNames(Attend):
    """The name of a part is that of the package."""

    def __init__(self) -> None:
        super().__init__()
        self.clearhead = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.clearhead(x))


def test_a_traced_model_may_have_a_part_of_any_name() -> None:
    recording, _ = recorded(fx.symbolic_trace(OtherNames()))
    assert len(recording) == 1


@pytest.mark.parametrize("backend", slow_after(1, ["eager", "aot_eager", "inductor"]))
def test_caches_that_a_later_step_overwrites_are_copied(backend: str) -> None:
    model = StaticCache()
    compiled = torch.compile(deepcopy(model), backend=backend)
    steps = [(X[:, i : i + 1], torch.tensor([i])) for i in range(3)]
    with torch.no_grad(), ch.capture(copies=True) as expected:
        for step in steps:
            model(*step)
    with torch.no_grad(), ch.capture() as recording:
        for step in steps:
            compiled(*step)
    recording.verify()
    assert recording.names == ("StaticCache", "StaticCache#2", "StaticCache#3")
    assert_same(recording, expected)


def test_tensors_of_a_graph_are_released_with_the_recording() -> None:
    compiled = torch.compile(Model(depth=1), backend="aot_eager")
    recording, _ = recorded(compiled)
    query = weakref.ref(recording[0].query.untyped_storage())
    del recording
    gc.collect()
    assert query() is None


@pytest.mark.slow  # needs a C++ compiler
def test_a_model_compiled_by_inductor_is_recorded() -> None:
    model = Model()
    compiled = torch.compile(model)
    expected, plain = recorded(model)
    for _ in range(2):  # the first also compiles
        recording, output = recorded(compiled)
        torch.testing.assert_close(output, plain)
        assert_same(recording, expected)


@pytest.mark.slow  # needs a C++ compiler
def test_calls_of_a_compiled_graph_are_not_intercepted() -> None:
    compiled = torch.compile(Model())
    recorded(compiled)
    intercepted = []

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is InterceptionMode.__torch_function__.__code__:
            intercepted.append(frame.f_locals["func"].__name__)

    with torch.no_grad(), ch.capture() as recording:
        sys.setprofile(profile)
        compiled(X)
        sys.setprofile(None)
    assert len(recording) == 2
    assert set(intercepted) <= {"__get__"}  # attributes of the results


FUNCTIONAL = Model(depth=1)


def functional(x: Tensor) -> Any:
    return torch.func.functional_call(FUNCTIONAL, dict(FUNCTIONAL.named_parameters()), (x,))


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda model: Outer(model), ("inner.blocks.0",)),
        (lambda model: torch.compile(model.encoded, backend="eager"), ("blocks.0",)),
        (lambda model: torch.compile(Broken(), backend="eager"), ("blocks.0", "blocks.1")),
        (lambda model: torch.compile(OtherTokens(), backend="eager"), ("blocks.0", "blocks.1")),
        (lambda _: torch.compile(functional, backend="eager"), ("blocks.0",)),
        (lambda _: torch.compile(Containers(), backend="eager"), ("blocks.0", "blocks.1")),
    ],
    ids=[
        "compiled part",
        "compiled method",
        "graph break",
        "other sizes",
        "functional call",
        "containers",
    ],
)
def test_records_have_the_paths_of_modules(
    build: Callable[[nn.Module], Any], names: tuple[str, ...]
) -> None:
    recording, _ = recorded(build(Model(depth=1)))
    assert recording.names == names


def test_later_captures_use_the_same_graph() -> None:
    graphs = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(Model(depth=1), backend=backend)
    with torch.no_grad():
        compiled(X)
    for _ in range(3):
        recorded(compiled)
    with torch.no_grad():
        compiled(X)
    assert len(graphs) == 2
    assert "record" not in graphs[0].code


@pytest.mark.parametrize("backend", slow_after(1, ["aot_eager", "inductor"]))
def test_tensors_of_a_record_share_memory_as_in_the_model(backend: str) -> None:
    recording, _ = recorded(torch.compile(Model(depth=1), backend=backend))
    tensors = (recording[0].query, recording[0].key, recording[0].value)  # of one projection
    assert len({x.untyped_storage().data_ptr() for x in tensors}) == 1


@pytest.mark.parametrize("backend", slow_after(1, ["eager", "aot_eager", "inductor"]))
def test_tensors_that_a_graph_changes_later_are_copied(backend: str) -> None:
    def run(x: Tensor, cache: Tensor) -> Tensor:
        query = 2.0 * x
        context = F.scaled_dot_product_attention(query, cache, cache)
        cache[:, :1] = 0.0
        context = context + F.scaled_dot_product_attention(query.mul_(3.0), cache, cache)
        return context + query

    cache, changed = X + 1.0, X + 1.0
    changed[:, :1] = 0.0
    expected = run(X, cache.clone())
    compiled = torch.compile(run, backend=backend)
    recording, output = recorded(lambda x: compiled(x, cache))
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(recording[0].query.squeeze(1), 2.0 * X)
    torch.testing.assert_close(recording[0].key.squeeze(1), X + 1.0)
    torch.testing.assert_close(recording[1].query.squeeze(1), 6.0 * X)
    torch.testing.assert_close(recording[1].value.squeeze(1), changed)


@pytest.mark.parametrize("backend", slow_after(1, ["aot_eager", "inductor"]))
@pytest.mark.parametrize("returned", slow_after(1, [(1,), (0, 1), (2,)]))
def test_graphs_that_return_parts_of_a_projection_are_recorded_with_gradients(
    returned: tuple[int, ...], backend: str
) -> None:
    projection = nn.Linear(12, 24)

    def run(x: Tensor) -> tuple[Tensor, ...]:
        parts = [y.unflatten(-1, (2, 4)).transpose(1, 2) for y in projection(x).chunk(3, dim=-1)]
        return F.scaled_dot_product_attention(*parts), *(parts[i] for i in returned)

    def gradient(results: tuple[Tensor, ...]) -> Tensor:
        loss = torch.stack([y.square().sum() for y in results]).sum()
        return torch.autograd.grad(loss, projection.weight)[0]

    with ch.capture() as recording:
        results = torch.compile(run, backend=backend)(X)
    recording.verify()
    torch.testing.assert_close(gradient(results), gradient(run(X)))
    results[-1].detach().zero_()
    recording.verify()


@pytest.mark.filterwarnings("ignore")  # of the compiler
@pytest.mark.parametrize("backend", slow_after(1, ["aot_eager", "eager", "inductor"]))
@pytest.mark.parametrize(
    "transform",
    slow_after(
        1,
        [
            lambda f: torch.func.jacrev(f),
            lambda f: torch.func.grad(lambda x: f(x).sum()),
            lambda f: lambda x: torch.func.vjp(f, x)[0],
            lambda f: torch.func.jacrev(torch.func.grad(lambda x: f(x).sum())),
        ],
    ),
    ids=["jacrev", "grad", "vjp", "jacrev of grad"],
)
def test_attention_in_function_transformations_of_a_graph_is_recorded(
    transform: Callable[[Any], Callable[[Tensor], Tensor]], backend: str
) -> None:
    key = 2.0 * X

    def run(x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, key, key[..., :3])

    transformed = transform(run)
    with ch.capture() as expected:
        result = transformed(X)
    recording, output = recorded(torch.compile(transformed, backend=backend))
    torch.testing.assert_close(output, result)
    recording.verify()
    torch.testing.assert_close(recording[0].weights, expected[0].weights)


@pytest.mark.parametrize("backend", slow_after(1, ["aot_eager", "eager", "inductor"]))
def test_attention_under_vmap_in_a_graph_is_refused(backend: str) -> None:
    attend = torch.vmap(lambda x: F.scaled_dot_product_attention(x, x, x))
    with pytest.raises(CaptureError, match="vmap"), ch.capture():
        torch.compile(lambda x: attend(x) + 1.0, backend=backend)(X)


@torch.library.custom_op("test_compiled::halve", mutates_args={"x"})
def halve(x: Tensor) -> None:
    x.mul_(0.5)


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: F.relu(x, inplace=True),
        lambda x: torch.relu_(input=x),
        lambda x: torch._foreach_mul_([x], 0.5),
        lambda x: torch.mul(x, 0.5, out=x),
        halve,
    ],
    ids=["option", "keyword", "list", "out", "operator"],
)
def test_changes_of_any_spelling_in_a_graph_are_not_recorded(
    change: Callable[[Tensor], object], inference: bool
) -> None:
    def run(x: Tensor) -> Tensor:
        key = x + 1.0
        context = F.scaled_dot_product_attention(x, key, x)
        change(key)
        change(context)
        return context + key

    with torch.inference_mode(inference), torch.no_grad(), ch.capture() as recording:
        torch.compile(run, backend="eager")(X)
    recording.verify()
    torch.testing.assert_close(recording[0].key.squeeze(1), X + 1.0)


def test_nested_captures_record_all_calls() -> None:
    compiled = torch.compile(Model(depth=1), backend="eager")
    with torch.no_grad(), ch.capture() as outer:
        with ch.capture() as inner:
            compiled(X)
        compiled(X)
    assert inner.names == ("blocks.0",)
    assert outer.names == ("blocks.0", "blocks.0#2")
    outer.verify()


def test_gradients_flow_through_a_graph_and_its_backward_pass_is_not_recorded() -> None:
    model = Model(depth=1)
    compiled = torch.compile(model, backend="aot_eager")
    weight = model.get_parameter("blocks.0.project.weight")
    (expected,) = torch.autograd.grad(model(X).square().sum(), weight)
    with ch.capture() as recording:
        output = compiled(X)
    (gradient,) = torch.autograd.grad(output.square().sum(), weight)
    torch.testing.assert_close(gradient, expected)
    recording.verify()
    with ch.capture() as recording:
        compiled(X).square().sum().backward()
    recording.verify()
    assert recording.names == ("blocks.0",)


class Disabled(nn.Module):
    """Calls a graph that the compiler leaves out."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.before, self.graph = Attend(), fx.symbolic_trace(Attend(fused))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def left_out(self, x: Tensor) -> Tensor:
        result: Tensor = self.graph(x)
        return result

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.left_out(self.before(x) + x)
        return result


@pytest.mark.parametrize("fused", [False, True])
def test_a_graph_that_the_compiler_leaves_out_is_recorded(fused: bool) -> None:
    model = Disabled(fused)
    expected, plain = recorded(model)
    recording, output = recorded(torch.compile(model, backend="eager"))
    torch.testing.assert_close(output, plain)
    assert recording.names == expected.names == ("before", "graph")
    assert_same(recording, expected)
    called, _ = recorded(torch.compiler.disable(model.graph))
    assert len(called) == 1


def test_our_function_is_recorded() -> None:
    compiled = torch.compile(ch.scaled_dot_product_attention, backend="eager", fullgraph=True)
    recording, _ = recorded(lambda x: compiled(x, x, x, is_causal=True))
    expected, _ = recorded(lambda x: ch.scaled_dot_product_attention(x, x, x, is_causal=True))
    assert_same(recording, expected)


@pytest.mark.parametrize(
    ("options", "capture"),
    [
        ({"dropout": 0.5}, ch.capture()),
        ({}, ch.capture(gradients=True)),
        ({}, ch.intervene(lambda record: None)),
    ],
    ids=["dropout", "gradients", "intervention"],
)
def test_what_a_compiled_graph_cannot_record_is_rejected(options: Any, capture: Any) -> None:
    compiled = torch.compile(Model(depth=1, **options), backend="eager")
    with pytest.raises(CaptureError, match="compile"), capture:
        compiled(X)


def test_a_graph_that_was_recorded_is_rejected_where_it_cannot_be_recorded() -> None:
    compiled = torch.compile(Model(depth=1), backend="eager")
    recorded(compiled)
    with pytest.raises(CaptureError, match="compile"), ch.capture(gradients=True):
        compiled(X)
    recorded(compiled)


def test_a_graph_without_attention_runs_where_others_are_rejected() -> None:
    compiled = torch.compile(lambda x: x.sin() @ x.mT @ x, backend="eager")
    with ch.capture(gradients=True) as recording:
        Model(depth=1)(compiled(X))
    assert recording.names == ("blocks.0",)


@pytest.mark.parametrize("backend", slow_after(1, ["eager", "aot_eager"]))
@pytest.mark.parametrize("dropout_p", slow_after(1, [0.0, 0.5]))
def test_options_of_a_call_may_be_variables_of_a_graph(dropout_p: float, backend: str) -> None:
    options: Any = {"backend": backend, "fullgraph": True, "dynamic": True}
    compiled = torch.compile(ch.scaled_dot_product_attention, **options)
    for tokens in (5, 3):
        x = X[:, :tokens]
        if dropout_p:
            with pytest.raises(CaptureError, match="compile"), ch.capture():
                compiled(x, x, x, dropout_p=dropout_p)
        else:
            with torch.no_grad(), ch.capture() as recording:
                output = compiled(x, x, x, scale=0.3)
            recording.verify()
            expected = F.scaled_dot_product_attention(x, x, x, scale=0.3)
            torch.testing.assert_close(output, expected)


def checkpointed(q: Tensor) -> Tensor:
    context: Tensor = checkpoint(
        lambda x: F.scaled_dot_product_attention(x, x, x), q, use_reentrant=False
    )
    return context


def chosen(q: Tensor) -> Tensor:
    attended: Tensor = torch.cond(
        q.sum() > 0, lambda x: F.scaled_dot_product_attention(x, x, x), torch.cos, (q,)
    )
    return attended


def exponentials(q: Tensor) -> Tensor:
    weights = (q @ q.mT).exp()
    return weights @ q / weights.sum(-1, keepdim=True)


SEPARATE: dict[str, Callable[[Tensor], Tensor]] = {
    "checkpointed layer": checkpointed,
    "exponentials": exponentials,
    "log_softmax": lambda q: (q @ q.mT).log_softmax(-1).exp() @ q,
    "branch": chosen,
    "two axes": lambda q: (q[0] @ q[0].mT).softmax(-1) @ q[0],
    "sums": lambda q: (
        (q[:, :, None] * q[:, None]).sum(-1).softmax(-1)[..., None] * q[:, None]
    ).sum(2),
    "multi_dot": lambda q: torch.linalg.multi_dot([q[0], q[0].mT]).softmax(-1) @ q[0],
    "distances": lambda q: (-torch.cdist(q, q)).softmax(-1) @ q,
    "sigmoid": lambda q: (q @ q.mT).sigmoid() @ q,
}


@pytest.mark.parametrize("code", slow_after(2, SEPARATE.values()), ids=SEPARATE)
def test_other_attention_beside_a_fused_one_is_rejected(code: Callable[[Tensor], Tensor]) -> None:
    def run(x: Tensor) -> Tensor:
        return 2.0 * code(F.scaled_dot_product_attention(x, x, x))

    compiled = torch.compile(run, backend="aot_eager")
    expected = compiled(X)
    with pytest.raises(CaptureError, match="compiled"), ch.capture():
        compiled(X)
    torch.testing.assert_close(compiled(X), expected)


def test_an_opaque_kernel_beside_a_fused_one_is_rejected() -> None:
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def run(x: Tensor) -> Tensor:
        heads = x[:, None]
        context: Tensor = flash(heads, heads, heads)[0]
        return context + F.scaled_dot_product_attention(heads, heads, heads)

    compiled = torch.compile(run, backend="eager")
    with pytest.raises(CaptureError, match="compiled"), ch.capture():
        compiled(X)


def test_attention_in_a_branch_is_rejected_in_eager_mode_too() -> None:
    def run() -> None:
        F.scaled_dot_product_attention(X, X, X)
        chosen(X.abs())

    with pytest.raises(CaptureError, match="compiled"), ch.capture():
        run()


class Experts(nn.Module):
    """Experts chosen by a router, and the step of a state space model."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.rate = nn.Linear(12, 4), nn.Parameter(normal(12, 12).float())
        self.weights = nn.Parameter(normal(4, 12, 12).float())

    def forward(self, x: Tensor) -> Tensor:
        x = F.scaled_dot_product_attention(x, x, x)
        chosen: Tensor = self.router(x).softmax(-1)
        best, index = chosen.max(-1, keepdim=True)
        weights = self.weights[index[:, 0, 0]]
        outputs = F.silu(x @ weights) @ weights
        state = ((x @ -self.rate.exp()).exp() * x) @ x.mT
        return best * outputs + state @ (x * (x * x).mean(-1, keepdim=True).rsqrt())


def test_experts_and_states_in_a_compiled_graph_are_not_taken_for_attention() -> None:
    recording, _ = recorded(torch.compile(Experts(), backend="eager", fullgraph=True))
    assert recording.names == ("Experts",)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("fused", [True, False])
def test_an_exported_program_is_recorded(fused: bool) -> None:
    model = Model(fused=fused)
    program = torch.export.export(model, (X,))
    expected, _ = recorded(model)
    for exported in (program.module(), torch.export.unflatten(program)):
        recording, _ = recorded(exported)
        assert_same(recording, expected)
    assert recording.names == expected.names
    if fused:
        compiled, _ = recorded(torch.compile(exported, backend="eager"))
        assert_same(compiled, expected)
        assert compiled.names == expected.names


@pytest.mark.parametrize("fused", slow_after(1, [True, False]))
def test_the_export_of_attention_beside_a_recorded_one_is_rejected(fused: bool) -> None:
    def run() -> None:
        torch.export.export(Attend(fused=fused), (F.scaled_dot_product_attention(X, X, X),))

    with pytest.raises(CaptureError, match="compiled"), ch.capture():
        run()


@pytest.mark.parametrize(
    "options",
    slow_after(
        1,
        [
            {},
            {"src_key_padding_mask": torch.tensor([[False] * 5, [False] * 3 + [True] * 2])},
            {"mask": nn.Transformer.generate_square_subsequent_mask(5)},  # read by a graph break
        ],
    ),
    ids=["plain", "padding", "causal"],
)
# in evaluation, torch has one kernel for a whole layer
@pytest.mark.parametrize("is_training", slow_after(1, [False, True]))
def test_layers_of_torch_in_a_compiled_graph_are_recorded(options: Any, is_training: bool) -> None:
    layer = nn.TransformerEncoderLayer(12, 2, 8, dropout=0.0, batch_first=True)
    depth = 2 if options else 1
    model = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    expected, plain = recorded(lambda x: model(x, **options))
    compiled = torch.compile(model.train(is_training), backend="eager")
    recording, output = recorded(lambda x: compiled(x, **options))
    torch.testing.assert_close(output, plain)
    assert_same(recording, expected)
    names = tuple(f"layers.{number}.self_attn" for number in range(depth))
    assert recording.names == expected.names == names
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_compiled_layer_that_returns_its_weights_is_rejected() -> None:
    with_weights = torch.compile(nn.MultiheadAttention(12, 2), backend="eager")
    with pytest.raises(CaptureError, match="compiled"), ch.capture():
        with_weights(X, X, X)


@pytest.mark.slow
def test_a_full_graph_has_padding_masks_of_any_shape() -> None:
    layer = nn.TransformerEncoderLayer(12, 2, 8, dropout=0.0, batch_first=True).eval()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    for tokens in (5, 3):
        padding = torch.arange(tokens) >= torch.tensor([[tokens], [tokens - 1]])
        expected, plain = recorded(lambda x: layer(x[:, :tokens], src_key_padding_mask=padding))  # noqa: B023
        recording, output = recorded(
            lambda x: compiled(x[:, :tokens], src_key_padding_mask=padding)  # noqa: B023
        )
        torch.testing.assert_close(output, plain)
        assert_same(recording, expected)
