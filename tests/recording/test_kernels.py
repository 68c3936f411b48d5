"""Attention functions of other packages, as stand-ins with their signatures, are recorded."""

import inspect
import sys
from collections.abc import Callable
from functools import partial
from inspect import Parameter, Signature
from threading import Event, Thread
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.utils import _pytree as pytree

import clearhead as ch
from clearhead.errors import CaptureError, NothingCapturedError
from tests.marks import slow_after

from .reference import normal

Q = normal(2, 5, 6, 8, dtype=torch.float32)
K, V = normal(2, 2, 7, 3, 8, dtype=torch.float32)


def attend(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Any:
    """(batch, tokens, heads, head_dim), and the logarithms of the sums of exponentials."""
    k, v = (x.repeat_interleave(q.shape[2] // x.shape[2], 2) for x in (k, v))
    scale, cap = options.get("softmax_scale") or q.shape[-1] ** -0.5, options.get("softcap")
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * scale
    scores = cap * torch.tanh(scores / cap) if cap else scores
    offset = k.shape[1] - q.shape[1]
    before, after = (x if x is not None and x >= 0 else 99 for x in options["window_size"])
    after = 0 if options["causal"] else after
    for i in range(q.shape[1]):
        for j in range(k.shape[1]):
            distance = j - i - offset
            if options.get("alibi_slopes") is not None:
                scores[..., i, j] -= options["alibi_slopes"] * abs(distance)
            if not -before <= distance <= after:
                scores[..., i, j] = -torch.inf
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v), scores.logsumexp(-1)


def flash(arguments: dict[str, Any]) -> Any:
    """Any function of flash-attn, from its arguments by name."""
    named: Any = [arguments.get(name) for name in "qkv"]
    q, k, v = named
    if "qkv" in arguments:
        q, k, v = arguments["qkv"].unbind(-3)
    elif "kv" in arguments:
        k, v = arguments["kv"].unbind(-3)
    ends: Any = [arguments.get(f"cu_seqlens{x}", arguments.get("cu_seqlens")) for x in ("_q", "_k")]
    if "k_cache" in arguments:
        return with_cache(**arguments)
    if ends[0] is None:
        output, sums = attend(q, k, v, arguments)
        return (output, sums, None) if arguments["return_attn_probs"] else output
    parts: Any = [
        torch.tensor_split(x[None], end[1:-1].long(), dim=1)
        for x, end in ((q, ends[0]), (k, ends[1]), (v, ends[1]))
    ]
    outputs = [attend(q, k, v, arguments)[0] for q, k, v in zip(*parts, strict=True)]
    return torch.cat(outputs, 1)[0]


def with_cache(q: Tensor, k_cache: Tensor, v_cache: Tensor, k: Any, v: Any, **more: Any) -> Tensor:
    """Each row of the batch by itself, after its new keys are written into the cache."""
    rows = []
    for i, length in enumerate(more["cache_seqlens"].tolist()):
        end = length + k.shape[1]
        k_cache[i, length:end], v_cache[i, length:end] = k[i], v[i]
        rows.append(attend(q[i : i + 1], k_cache[i : i + 1, :end], v_cache[i : i + 1, :end], more))
    return torch.cat([output for output, _ in rows])


def stand_in(name: str, parameters: str, **defaults: Any) -> Callable[..., Any]:
    options: dict[str, Any] = {"dropout_p": 0.0, "softmax_scale": None, "causal": False}
    options |= {"window_size": (-1, -1), "softcap": 0.0, "alibi_slopes": None}
    options |= {"return_attn_probs": False, **defaults}
    kind = Parameter.POSITIONAL_OR_KEYWORD
    signature = Signature([
        *(Parameter(x, kind) for x in parameters.split()),
        *(Parameter(x, kind, default=default) for x, default in options.items()),
    ])  # fmt: skip

    def function(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return flash(bound.arguments)

    function.__name__, function.__signature__ = name, signature  # type: ignore[attr-defined]
    return function


ENDS = "cu_seqlens_q cu_seqlens_k max_seqlen_q max_seqlen_k"
FLASH = {
    name: stand_in(name, parameters)
    for name, parameters in {
        "flash_attn_func": "q k v",
        "flash_attn_qkvpacked_func": "qkv",
        "flash_attn_kvpacked_func": "q kv",
        "flash_attn_varlen_func": f"q k v {ENDS}",
        "flash_attn_varlen_qkvpacked_func": "qkv cu_seqlens max_seqlen",
        "flash_attn_varlen_kvpacked_func": f"q kv {ENDS}",
        "flash_attn_with_kvcache": "q k_cache v_cache k v cache_seqlens",
    }.items()
}
FLASH_3 = stand_in("flash_attn_func", "q k v", qv=None, num_splits=1)
FLASH_4 = stand_in("flash_attn_func", "q k v", window_size=(None, None), learnable_sink=None)


def sageattn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tensor_layout: str = "HND",
    is_causal: bool = False,
    sm_scale: float | None = None,
    return_lse: bool = False,
    **kwargs: Any,
) -> Tensor:
    tokens_first = tensor_layout == "NHD"
    q, k, v = (x if tokens_first else x.transpose(1, 2) for x in (q, k, v))
    options = {"causal": is_causal, "softmax_scale": sm_scale, "window_size": (-1, -1)}
    output: Tensor = attend(q, k, v, options)[0]
    return output if tokens_first else output.transpose(1, 2)


def sageattn_varlen(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q


def flash_attn_with_kvcache(q: Tensor, k_cache: Tensor, v_cache: Tensor, cu_seqlens_q: Any) -> Any:
    return q


def no_output(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Writes its output elsewhere."""


SAGE = {
    "sageattn": sageattn,
    "sageattn_varlen": sageattn_varlen,
    "sageattn_qk_int8_pv_fp16_cuda": no_output,
}
FLASH_3_CACHE = flash_attn_with_kvcache
globals().update(FLASH)


def memory_efficient_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_bias: Any = None,
    p: float = 0.0,
    scale: float | None = None,
    *,
    op: Any = None,
    output_dtype: Any = None,
) -> Tensor:
    heads = "bqghd"[1 : query.dim() - 1].replace("q", "")
    of_q, of_k, of_w = f"bq{heads}d", f"bk{heads}d", f"b{heads}qk"
    scores = torch.einsum(f"{of_q},{of_k}->{of_w}", query, key)
    scores = scores * (scale or query.shape[-1] ** -0.5)
    if attn_bias is not None:
        is_tensor = isinstance(attn_bias, Tensor)
        scores = scores + (attn_bias if is_tensor else Later().materialize(scores.shape))
    return torch.einsum(f"{of_w},{of_k}->{of_q}", scores.softmax(-1), value)


class Later:
    """A stand-in for `LowerTriangularMask`."""

    def materialize(self, shape: Any, dtype: Any = torch.float32, device: Any = "cpu") -> Tensor:
        return torch.full(shape[-2:], -torch.inf, dtype=dtype, device=device).triu(1).expand(shape)


@pytest.fixture(autouse=True)
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for package, functions in (
        ("flash_attn", FLASH),
        (
            "flash_attn_interface",
            {"flash_attn_func": FLASH_3, FLASH_3_CACHE.__name__: FLASH_3_CACHE},
        ),
        ("flash_attn.cute", {"flash_attn_func": FLASH_4}),
        ("sageattention", SAGE),
        ("xformers.ops", {"memory_efficient_attention": memory_efficient_attention}),
    ):
        module = ModuleType(package)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, package, module)


class Attend(nn.Module):
    def forward(self, function: str, *args: Any, **options: Any) -> Any:
        return globals()[function](*args, **options)  # bound when this module was imported


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_flash_attention_is_recorded(causal: bool, scale: float | None) -> None:
    options: Any = {"causal": causal, "softmax_scale": scale, "return_attn_probs": True}
    with ch.capture() as recording:
        output, _, _ = Attend()("flash_attn_func", Q, K, V, **options)
    recording.verify()
    record = recording["Attend"]
    assert record.shape == (2, 6, 5, 7)
    assert record.raw_output is not None
    torch.testing.assert_close(record.output.transpose(1, 2), output)
    assert bool(record.weights[..., 0, 3:].eq(0).all()) == causal
    assert globals()["flash_attn_func"] is FLASH["flash_attn_func"]


@pytest.mark.parametrize("causal", [False, True])
def test_packed_flash_attention_is_recorded(causal: bool) -> None:
    kv = torch.stack([K, V], 2)
    qkv = torch.stack([Q[:, :, :3], K[:, :5], V[:, :5]], 2)
    plain = FLASH["flash_attn_func"](Q, K, V, causal=causal)
    with ch.capture() as recording:
        packed = Attend()("flash_attn_kvpacked_func", Q, kv, causal=causal)
        Attend()("flash_attn_qkvpacked_func", qkv, causal=causal)
    recording.verify()
    torch.testing.assert_close(packed, plain)
    assert [record.shape for record in recording.records] == [(2, 6, 5, 7), (2, 3, 5, 5)]
    assert [record.enable_gqa for record in recording.records] == [True, False]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("packed", ["", "kvpacked_", "qkvpacked_"])
def test_a_token_of_sequences_in_one_tensor_attends_to_its_own_sequence(
    packed: str, causal: bool
) -> None:
    ends_q = torch.tensor([0, 2, 5], dtype=torch.int32)
    ends_k = torch.tensor([0, 3, 7], dtype=torch.int32)
    q, k, v = Q[0], K[0], V[0]
    arguments: dict[str, tuple[Any, ...]] = {
        "": (q, k, v, ends_q, ends_k, 3, 4),
        "kvpacked_": (q, torch.stack([k, v], 1), ends_q, ends_k, 3, 4),
        "qkvpacked_": (torch.stack([q[:, :3], k[:5], v[:5]], 1), ends_q, 3),
    }
    function = f"flash_attn_varlen_{packed}func"
    expected = FLASH[function](*arguments[packed], causal=causal)
    with ch.capture() as recording:
        output = Attend()(function, *arguments[packed], causal=causal)
    recording.verify()
    torch.testing.assert_close(output, expected)
    (record,) = recording.records
    weights = record.weights[0]
    end = 2 if packed == "qkvpacked_" else 3
    assert weights[:, :2, end:].eq(0).all()
    assert weights[:, 2:, :end].eq(0).all()
    assert bool(weights[:, 2, -1].eq(0).all()) == causal
    with ch.intervene(lambda record: torch.zeros_like(record.output)):
        assert Attend()(function, *arguments[packed]).eq(0).all()


class Holder(nn.Module):
    function = staticmethod(FLASH["flash_attn_func"])

    def forward(self, by: str, *, default: Callable[..., Any] = FLASH["flash_attn_func"]) -> Any:
        held: dict[str, Callable[..., Any]] = {
            "another name": another_name,
            "a partial": partial(another_name, causal=False),
            "a class": self.function,
            "a default": default,
        }
        return held[by](Q, K, V)


another_name = FLASH["flash_attn_func"]


@pytest.mark.parametrize("by", ["another name", "a partial", "a class", "a default"])
def test_a_function_is_recorded_wherever_it_is_referred_to(by: str) -> None:
    signature, code = inspect.signature(another_name), another_name.__code__
    with ch.capture() as recording:
        torch.nn.functional.scaled_dot_product_attention(Q, Q, Q)
        assert inspect.signature(another_name) == signature
        Holder()(by)
    assert recording["Holder"].shape == (2, 6, 5, 7)
    assert another_name.__code__ is code


@pytest.mark.parametrize(
    "options",
    [
        {"window_size": [-1, -1]},
        {"window_size": (2, 1)},
        {"window_size": (-1, 0)},
        {"window_size": (1, -1), "causal": True},
        {"softcap": 0.5},
        {"softcap": 0.5, "causal": True},
        {"alibi_slopes": torch.arange(6.0) / 8},
        {"alibi_slopes": torch.arange(6.0) / 8, "window_size": [3, 0], "softcap": 2.0},
    ],
)
@pytest.mark.parametrize("queries", [5, 7])
def test_windows_soft_caps_and_alibi_are_recorded(options: dict[str, Any], queries: int) -> None:
    q = normal(2, queries, 6, 8, dtype=torch.float32)
    with ch.capture() as recording:
        output, sums, _ = another_name(q, K, V, **options, return_attn_probs=True)
    recording.verify()
    record = recording[0]
    torch.testing.assert_close(record.context.transpose(1, 2), output)
    torch.testing.assert_close(record.masked.logsumexp(-1), sums)


@pytest.mark.parametrize("function", [FLASH_3, FLASH_4])
def test_later_versions_of_flash_attention_are_recorded(function: Callable[..., Any]) -> None:
    with ch.capture() as recording:
        function(Q, K, V, causal=True)
    recording.verify()
    assert recording[0].shape == (2, 6, 5, 7)


@pytest.mark.parametrize("causal", [False, True])
def test_flash_attention_with_a_cache_is_recorded_with_the_keys_in_use(causal: bool) -> None:
    cache = [torch.randn(2, 9, 3, 8) for _ in "kv"]
    new = [torch.randn(2, 2, 3, 8) for _ in "kv"]
    lengths = torch.tensor([3, 5])
    function = FLASH["flash_attn_with_kvcache"]
    with ch.capture() as recording:
        output = function(Q[:, :2], *cache, *new, lengths, causal=causal)
    recording.verify()
    weights = recording[0].weights
    torch.testing.assert_close(recording[0].context.transpose(1, 2), output)
    assert weights[0, ..., 5:].eq(0).all()
    assert bool(weights[0, :, 0, 4].eq(0).all()) == causal
    assert weights[1, ..., 7:].eq(0).all()
    assert weights[1, :, 1, 6].gt(0).all()


@pytest.mark.parametrize("layout", ["HND", "NHD"])
@pytest.mark.parametrize("causal", [False, True])
def test_sage_attention_is_recorded(layout: str, causal: bool) -> None:
    q, k, v = (x if layout == "NHD" else x.transpose(1, 2) for x in (Q, K[:, :5], V[:, :5]))
    with ch.capture() as recording:
        sageattn(q, k, v, tensor_layout=layout, is_causal=causal)
    recording.verify()
    assert recording[0].shape == (2, 6, 5, 5)
    assert bool(recording[0].weights[..., 0, 1:].eq(0).all()) == causal


def test_a_thread_that_outlives_the_block_leaves_no_trace_and_computes_as_without_it() -> None:
    running, ended, start = Event(), Event(), Thread.start
    results: list[Any] = []

    def waiting(
        q: Tensor, k: Tensor, v: Tensor, softmax_scale: Any = None, dropout_p: float = 0.0
    ) -> Any:
        running.set()
        ended.wait()
        return FLASH["flash_attn_func"](q, k, v)

    vars(sys.modules["flash_attn"])["flash_attn_func"] = waiting

    def work() -> None:
        results.append(vars(sys.modules["flash_attn"])["flash_attn_func"](Q, Q, Q, dropout_p=0.5))
        results.append(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(Q, Q, Q))

    with ch.capture() as recording:
        torch.nn.functional.scaled_dot_product_attention(Q, Q, Q)
        thread = Thread(target=work, daemon=True)
        thread.start()
        running.wait()
    restored = (torch.backends.mha.get_fastpath_enabled(), Thread.start)
    ended.set()
    thread.join()
    assert restored == (True, start)
    assert len(results) == 2
    assert len(recording) == 1


@pytest.mark.parametrize("bias", [None, normal(2, 3, 7, 7, dtype=torch.float32), Later()])
def test_xformers_attention_is_recorded(bias: Any) -> None:
    with ch.capture() as recording:
        Attend()("memory_efficient_attention", K, K, V, attn_bias=bias)
    recording.verify()
    assert recording[0].shape == (2, 3, 7, 7)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("masked", slow_after(1, [True, False]))
def test_flex_attention_is_recorded(masked: bool) -> None:
    q, k, v = normal(3, 2, 3, 16, 16, dtype=torch.float32)
    block_mask = create_block_mask(lambda b, h, q, k: q >= k, None, None, 16, 16, device="cpu")
    with torch.no_grad(), ch.capture() as recording:
        Attend()("flex_attention", q, k, v, block_mask=block_mask if masked else None)
    recording.verify()
    assert bool(recording[0].weights.triu(1).eq(0).all()) == masked


@pytest.mark.parametrize("heads", [(), (2, 3)])
@pytest.mark.parametrize("masked", [False, True])
def test_xformers_attention_with_other_axes_is_recorded(
    heads: tuple[int, ...], masked: bool
) -> None:
    q = normal(2, 7, *heads, 8, dtype=torch.float32)
    bias = normal(2, *heads, 7, 7, dtype=torch.float32) if masked else None
    plain = memory_efficient_attention(q, q, q, bias)
    with ch.capture() as recording:
        output = memory_efficient_attention(q, q, q, bias)
    recording.verify()
    assert recording[0].shape == (2, 6 if heads else 1, 7, 7)
    assert output.equal(plain)
    with ch.intervene(lambda record: record.output * 2.0):
        torch.testing.assert_close(memory_efficient_attention(q, q, q, bias), plain * 2.0)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_what_is_not_read_is_refused_by_name() -> None:
    refused: dict[str, Callable[[], Any]] = {
        "dropout_p": lambda: another_name(Q, K, V, dropout_p=0.1),
        "qv": lambda: FLASH_3(Q, K, V, qv=Q),
        "queries only": lambda: FLASH_3_CACHE(Q[0], K, V, torch.tensor([0, 2, 5])),
        "learnable_sink": lambda: FLASH_4(Q, K, V, learnable_sink=torch.ones(6)),
        "score_mod": lambda: flex_attention(Q, Q, Q, score_mod=lambda score, *_: score),
        "attn_mask": lambda: sageattn(Q, Q, Q, attn_mask=Q),
        "is_causal": lambda: sageattn(Q, K, V, "NHD", is_causal=True),
        "sageattn_varlen": lambda: sageattn_varlen(Q, Q, Q),
        "returned NoneType": lambda: no_output(Q, K, V),
    }
    for name, call in refused.items():
        with pytest.raises(CaptureError, match=name), ch.capture():
            call()


def test_a_package_may_be_kept_from_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sageattention", None)
    with ch.capture() as recording:
        Attend()("flash_attn_func", Q, K, V)
    assert len(recording) == 1


def test_a_package_that_is_imported_inside_the_block_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = sys.modules["sageattention"]
    monkeypatch.delitem(sys.modules, "sageattention")
    code = sageattn.__code__
    with ch.capture() as recording:
        query = Q * 2.0
        monkeypatch.setitem(sys.modules, "sageattention", module)
        sageattn(query + 1.0, query, query)
    assert len(recording) == 1
    assert sageattn.__code__ is code


@torch.library.custom_op("clearhead_tests::flash_forward", mutates_args=())
def flash_forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    output: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[0]
    return output.transpose(1, 2).clone()


def test_the_custom_operator_of_a_recorded_function_is_part_of_the_call() -> None:
    def function(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        result: Tensor = flash_forward(q, k, v)
        return result

    vars(sys.modules["flash_attn"])["flash_attn_func"] = function
    with ch.capture() as outer, ch.capture() as recording:
        function(Q, Q, Q)
    recording.verify()
    assert recording.names == outer.names == ("attention",)


@pytest.mark.unchecked  # compiles
def test_a_function_that_the_compiler_leaves_out_is_recorded() -> None:
    disabled: Any = torch.compiler.disable(FLASH["flash_attn_func"])
    vars(sys.modules["flash_attn"])["flash_attn_func"] = disabled
    compiled = torch.compile(lambda x: disabled(x * 1.0, x, x) * 2.0, backend="eager")
    expected = compiled(Q)
    for _ in range(2):
        with ch.capture() as recording:
            output = compiled(Q)
        recording.verify()
        assert recording[0].shape == (2, 6, 5, 5)
        assert output.equal(expected)
    assert compiled(Q).equal(expected)


def test_the_local_variables_of_callers_can_be_read_inside_a_closure() -> None:
    offset = 1.0
    callers: list[str] = []

    def function(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        frames = [info.frame for info in inspect.stack(context=0)]
        callers.extend(name for frame in frames for name in frame.f_locals)
        output: Tensor = FLASH["flash_attn_func"](q, k, v) * offset
        return output

    vars(sys.modules["flash_attn"])["flash_attn_func"] = function
    with ch.capture() as recording:
        function(Q, Q, Q)
    recording.verify()
    assert "_clearhead_kernel" in callers


def test_a_parameter_may_be_named_self(monkeypatch: pytest.MonkeyPatch) -> None:
    def sageattn(self: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return q

    monkeypatch.setitem(vars(sys.modules["sageattention"]), "sageattn", sageattn)
    with ch.capture() as recording:
        torch.nn.functional.scaled_dot_product_attention(Q, Q, Q)
        with pytest.raises(CaptureError, match="self"):
            sageattn(self=1, q=Q, k=Q, v=Q)
    assert len(recording) == 1


class Package(nn.Module):
    """A package of AOTInductor that returns its input."""

    def forward(self, x: Tensor) -> Any:
        trees: Any = (((x,), {}), x)
        specs = [pytree.treespec_dumps(pytree.tree_structure(tree)) for tree in trees]
        loader = SimpleNamespace(get_call_spec=lambda: specs, boxed_run=lambda inputs: inputs)
        return pytest.importorskip("torch._inductor.package").AOTICompiledModel(loader)(x)


def test_a_package_of_aot_inductor_is_named() -> None:
    assert Package()(Q).equal(Q)  # loaded
    with pytest.raises(NothingCapturedError, match="AOTInductor"), ch.capture():
        Package()(Q)
    warning = pytest.warns(UserWarning, match="AOTInductor")
    with warning, ch.capture() as recording:
        torch.nn.functional.scaled_dot_product_attention(Q, Q, Q)
        Package()(Q)
    assert [x.partition(":")[0] for x in recording.unrecorded] == ["Package"]


def test_interventions_replace_the_output_from_the_outermost_to_the_innermost() -> None:
    plain = FLASH["flash_attn_func"](Q, K, V)
    with ch.intervene(lambda record: record.output + 1.0):  # noqa: SIM117
        with ch.intervene(lambda record: record.output * 2.0):
            output = Attend()("flash_attn_func", Q, K, V)
    torch.testing.assert_close(output, (plain + 1.0) * 2.0)
