"""Attention functions of other packages, as stand-ins with their signatures, are recorded."""

import sys
from collections.abc import Callable
from inspect import Parameter, Signature
from threading import Event, Thread
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import clearhead as ch
from clearhead.errors import CaptureError

from .reference import normal

Q = normal(2, 5, 6, 8, dtype=torch.float32)
K, V = normal(2, 2, 7, 3, 8, dtype=torch.float32)


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float | None) -> Any:
    """(batch, tokens, heads, head_dim), and the logarithms of the sums of exponentials."""
    k, v = (x.repeat_interleave(q.shape[2] // x.shape[2], 2) for x in (k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * (scale or q.shape[-1] ** -0.5)
    if causal:
        later = torch.ones(scores.shape[-2:]).triu(1 + k.shape[1] - q.shape[1]).bool()
        scores = scores.masked_fill(later, -torch.inf)
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v), scores.logsumexp(-1)


def flash(arguments: dict[str, Any]) -> Any:
    """Any function of flash-attn, from its arguments by name."""
    named: Any = [arguments.get(name) for name in "qkv"]
    q, k, v = named
    if "qkv" in arguments:
        q, k, v = arguments["qkv"].unbind(-3)
    elif "kv" in arguments:
        k, v = arguments["kv"].unbind(-3)
    options: Any = (arguments["causal"], arguments["softmax_scale"])
    ends: Any = [arguments.get(f"cu_seqlens{x}", arguments.get("cu_seqlens")) for x in ("_q", "_k")]
    if ends[0] is None:
        output, sums = attend(q, k, v, *options)
        return (output, sums, None) if arguments["return_attn_probs"] else output
    parts: Any = [
        torch.tensor_split(x[None], end[1:-1].long(), dim=1)
        for x, end in ((q, ends[0]), (k, ends[1]), (v, ends[1]))
    ]
    return torch.cat([attend(*one, *options)[0] for one in zip(*parts, strict=True)], 1)[0]


def stand_in(name: str, parameters: str) -> Callable[..., Any]:
    options: dict[str, Any] = {"dropout_p": 0.0, "softmax_scale": None, "causal": False}
    options |= {"window_size": (-1, -1), "return_attn_probs": False}
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
    }.items()
}
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
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) * (scale or query.shape[-1] ** -0.5)
    if attn_bias is not None:
        is_tensor = isinstance(attn_bias, Tensor)
        scores = scores + (attn_bias if is_tensor else Later().materialize(scores.shape))
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value)


class Later:
    """A stand-in for `LowerTriangularMask`."""

    def materialize(self, shape: Any, dtype: Any = torch.float32, device: Any = "cpu") -> Tensor:
        return torch.full(shape[-2:], -torch.inf, dtype=dtype, device=device).triu(1).expand(shape)


@pytest.fixture(autouse=True)
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for package, functions in (
        ("flash_attn", FLASH),
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


def test_a_module_that_imports_a_function_after_a_capture_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ch.capture() as recording:
        Attend()("flash_attn_func", Q, K, V)
    later: Any = ModuleType("later")
    later.flash_attn_func = FLASH["flash_attn_func"]
    monkeypatch.setitem(sys.modules, "later", later)
    with ch.capture() as recording:
        later.flash_attn_func(Q, K, V)
    assert len(recording) == 1
    assert later.flash_attn_func is FLASH["flash_attn_func"]


def test_a_thread_that_outlives_the_block_computes_as_without_it() -> None:
    running, ended = Event(), Event()
    results: list[Any] = []

    def waiting(
        q: Tensor, k: Tensor, v: Tensor, softmax_scale: Any = None, causal: bool = False
    ) -> Any:
        running.set()
        assert ended.wait(10)
        return attend(q, k, v, False, None)

    vars(sys.modules["flash_attn"])["flash_attn_func"] = waiting

    def work() -> None:
        results.append(vars(sys.modules["flash_attn"])["flash_attn_func"](Q, Q, Q))  # ends late
        results.append(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(Q, Q, Q))

    with ch.capture() as recording:
        torch.nn.functional.scaled_dot_product_attention(Q, Q, Q)
        thread = Thread(target=work)
        thread.start()
        assert running.wait(10)
    ended.set()
    thread.join(10)
    assert len(results) == 2
    assert len(recording) == 1


def test_a_function_is_found_under_another_name_and_in_a_table_also_if_stored_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: Any = ModuleType("model")
    monkeypatch.setitem(sys.modules, "model", model)
    with ch.capture():
        Attend()("flash_attn_func", Q, K, V)
    function = FLASH["flash_attn_func"]
    model.attend, model.TABLE = function, {"flash": function}
    with ch.capture() as recording:
        model.attend(Q, K, V)
        model.TABLE["flash"](Q, K, V)
    assert len(recording) == 2
    assert model.attend is model.TABLE["flash"] is function


@pytest.mark.parametrize("bias", [None, normal(2, 3, 7, 7, dtype=torch.float32), Later()])
def test_xformers_attention_is_recorded(bias: Any) -> None:
    with ch.capture() as recording:
        Attend()("memory_efficient_attention", K, K, V, attn_bias=bias)
    recording.verify()
    assert recording[0].shape == (2, 3, 7, 7)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("masked", [False, True])
def test_flex_attention_is_recorded(masked: bool) -> None:
    q, k, v = normal(3, 2, 3, 16, 16, dtype=torch.float32)
    block_mask = create_block_mask(lambda b, h, q, k: q >= k, None, None, 16, 16, device="cpu")
    with torch.no_grad(), ch.capture() as recording:
        Attend()("flex_attention", q, k, v, block_mask=block_mask if masked else None)
    recording.verify()
    assert bool(recording[0].weights.triu(1).eq(0).all()) == masked


def test_options_that_are_not_read_are_refused() -> None:
    with pytest.raises(CaptureError, match="window_size"), ch.capture():
        Attend()("flash_attn_func", Q, K, V, window_size=(2, 2))
    with pytest.raises(CaptureError, match="score_mod"), ch.capture():
        Attend()("flex_attention", Q, Q, Q, score_mod=lambda score, *_: score)
    assert globals()["flex_attention"] is flex_attention


def test_interventions_replace_the_output_from_the_outermost_to_the_innermost() -> None:
    plain = FLASH["flash_attn_func"](Q, K, V)
    with ch.intervene(lambda record: record.output + 1.0):  # noqa: SIM117
        with ch.intervene(lambda record: record.output * 2.0):
            output = Attend()("flash_attn_func", Q, K, V)
    torch.testing.assert_close(output, (plain + 1.0) * 2.0)
