"""scaled_dot_product_attention against torch's own samples, and against the formula in loops."""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.bias import causal_lower_right, causal_upper_left
from torch.overrides import TorchFunctionMode

from clearhead.attention import MultiHeadAttention, attention_stages, causal_mask
from clearhead.attention.functional import _use_explicit, scaled_dot_product_attention
from clearhead.errors import ClearheadError, InputError
from tests.recording import reference
from tests.recording.reference import Labelled, Reversed, additive, attention, normal

TOLERANCES = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 4e-3,
    torch.bfloat16: 3e-2,
}
SMALL, LARGE = (5, 7), (67, 71)  # queries, keys: computed by the formula, and by torch's kernel
SIZES = pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=str)


def formula(
    query: Tensor, key: Tensor, value: Tensor, added: Tensor | None = None, scale: float = 1.0
) -> Tensor:
    return torch.from_numpy(attention(query, key, value, added, scale=scale).context)


def triple(
    queries: int = 5, keys: int = 7, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value with 2 images, 3 heads, head_dim 11 and value_dim 13."""
    query, key, value = reference.triple(queries=queries, keys=keys, dtype=dtype)
    return query.requires_grad_(), key.requires_grad_(), value.requires_grad_()


def gradients(output: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad((output * normal(*output.shape, seed=9).to(output)).sum(), inputs)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_equals_torch_on_its_own_samples(dtype: torch.dtype) -> None:
    from torch.testing._internal.common_methods_invocations import op_db

    ops = [op for op in op_db if op.name == "nn.functional.scaled_dot_product_attention"]
    compared = 0
    for sample in ops[0].sample_inputs("cpu", dtype, requires_grad=True):
        inputs = (sample.input, *sample.args)
        output = scaled_dot_product_attention(*inputs, **sample.kwargs)
        exact = tuple(x.detach().double().requires_grad_() for x in inputs)
        options = dict(sample.kwargs)
        if "attn_mask" in options:
            options["attn_mask"] = options["attn_mask"].detach().double()
        expected = F.scaled_dot_product_attention(*exact, **options)
        assert (output.shape, output.dtype) == (expected.shape, dtype)
        if options.get("dropout_p"):
            continue
        compared += 1
        found = (output, *gradients(output, inputs))
        close: dict[str, Any] = {"atol": TOLERANCES[dtype], "rtol": TOLERANCES[dtype]}
        for one, other in zip(found, (expected, *gradients(expected, exact)), strict=True):
            torch.testing.assert_close(one.double(), other, **close)
    assert compared > 10


CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "plain matrices": ((5, 3), (7, 3), (7, 11)),
    "one leading axis": ((2, 5, 3), (2, 7, 3), (2, 7, 11)),
    "three leading axes": ((3, 1, 2, 5, 7), (3, 1, 2, 3, 7), (3, 1, 2, 3, 2)),
    "broadcast both ways": ((3, 1, 5, 3), (1, 2, 7, 3), (1, 2, 7, 11)),
    "broadcast values": ((3, 2, 5, 3), (3, 2, 7, 3), (7, 11)),
    "broadcast queries": ((5, 3), (2, 7, 3), (2, 7, 11)),
    "more queries than keys": ((2, 7, 3), (2, 5, 3), (2, 5, 11)),
    "one query": ((2, 1, 3), (2, 5, 3), (2, 5, 11)),
    "one key": ((2, 5, 3), (2, 1, 3), (2, 1, 11)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mask", ["none", "bool", "float", "causal"])
def test_equals_the_formula_for_any_leading_axes(case: str, mask: str) -> None:
    query, key, value = (normal(*shape, seed=seed) for seed, shape in enumerate(CASES[case]))
    queries, keys, scale = query.shape[-2], key.shape[-2], query.shape[-1] ** -0.5
    options: dict[str, Any] = {}
    added = None
    if mask == "bool":
        options["attn_mask"] = normal(queries, keys, seed=5) > 0
        added = additive(options["attn_mask"])
    elif mask == "float":
        options["attn_mask"] = added = normal(queries, keys, seed=5)
    elif mask == "causal":
        options["is_causal"] = True
        added = additive(below(queries, keys))
    found = scaled_dot_product_attention(query, key, value, **options)
    expected = formula(query, key, value, added, scale)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("given", "factor"), [(None, 11**-0.5), (1.0, 1.0), (0.37, 0.37), (0, 0)])
def test_scale_is_the_factor_and_none_means_one_over_the_root(
    given: float | None, factor: float
) -> None:
    inputs = triple()
    found = scaled_dot_product_attention(*inputs, scale=given)
    torch.testing.assert_close(found, formula(*inputs, scale=factor).to(found), atol=1e-12, rtol=0)


@pytest.mark.parametrize("mask_shape", [(2, 3, 5, 7), (2, 1, 1, 7), (3, 5, 7), (5, 1), (1, 7)])
def test_masks_broadcast_over_images_heads_and_queries(mask_shape: tuple[int, ...]) -> None:
    inputs = triple()
    mask = normal(*mask_shape, seed=4)
    whole = mask.expand(2, 3, 5, 7)
    found = scaled_dot_product_attention(*inputs, attn_mask=mask)
    expected = formula(*inputs, added=whole, scale=11**-0.5)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    kept = scaled_dot_product_attention(*inputs, attn_mask=mask > -1)
    expected = formula(*inputs, added=additive(whole > -1), scale=11**-0.5)
    torch.testing.assert_close(kept, expected, atol=1e-12, rtol=0)


@SIZES
def test_neighbouring_query_heads_share_a_key_and_value_head_in_grouped_query_attention(
    sizes: tuple[int, int],
) -> None:
    queries, keys = sizes
    query = normal(2, 6, queries, 3)
    key, value = normal(2, 3, keys, 3, seed=1), normal(2, 3, keys, 5, seed=2)
    found = scaled_dot_product_attention(query, key, value, enable_gqa=True)
    for head in range(6):
        alone = scaled_dot_product_attention(query[:, head], key[:, head // 2], value[:, head // 2])
        torch.testing.assert_close(found[:, head], alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize("sizes", [(61, 67), (64, 64), (64, 67), (1, 4099)], ids=str)
@pytest.mark.parametrize("options", ["plain", "causal", "bool", "float", "scale"])
def test_both_paths_equal_the_stages_and_torch_around_the_size_where_they_change(
    sizes: tuple[int, int], options: str
) -> None:
    inputs = triple(*sizes)
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "causal": {"is_causal": True},
        "bool": {"attn_mask": normal(*sizes, seed=5) > 0},
        "float": {"attn_mask": normal(*sizes, seed=5)},
        "scale": {"scale": 0.37},
    }
    chosen = kinds[options]
    output = scaled_dot_product_attention(*inputs, **chosen)
    found = (output, *gradients(output, inputs))
    for expected in (
        attention_stages(*inputs, **chosen).context,
        F.scaled_dot_product_attention(*inputs, **chosen),
    ):
        same = (expected, *gradients(expected, inputs))
        for one, other in zip(found, same, strict=True):
            torch.testing.assert_close(one, other, atol=1e-11, rtol=0)


@SIZES
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_fully_masked_row_gives_zeros_and_finite_gradients(
    sizes: tuple[int, int], kind: str
) -> None:
    inputs = triple(*sizes)
    allowed = torch.ones(2, 1, *sizes, dtype=torch.bool)
    allowed[0, :, 3] = False  # one row of the first image, all of the second
    allowed[1] = False
    mask = allowed
    if kind == "float":
        mask = additive(allowed)
    output = scaled_dot_product_attention(*inputs, attn_mask=mask)
    assert not output[0, :, 3].any()
    assert not output[1].any()
    assert output[0, :, :3].all()
    found = gradients(output, inputs)
    assert all(gradient.isfinite().all() for gradient in found)
    assert not found[0][0, :, 3].any()
    assert not any(gradient[1].any() for gradient in found)
    assert all(gradient[0].any() for gradient in found)


def test_a_learned_float_mask_gets_finite_gradients_where_it_is_minus_infinity() -> None:
    inputs = triple()
    mask = normal(5, 7, seed=4)
    mask[3], mask[1, 2] = -math.inf, -math.inf
    mask.requires_grad_()
    (gradient,) = gradients(scaled_dot_product_attention(*inputs, attn_mask=mask), (mask,))
    assert gradient.isfinite().all()
    assert not gradient[3].any()
    assert gradient[1, 2] == 0
    assert gradient[0].all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@SIZES
def test_scores_of_ten_thousand_give_one_hot_weights_and_finite_gradients(
    dtype: torch.dtype, sizes: tuple[int, int]
) -> None:
    query, key, value = triple(*sizes, dtype=dtype)
    large = torch.eye(11, dtype=dtype)[torch.arange(sizes[0]) % 11].mul(200).expand_as(query)
    keys = torch.eye(11, dtype=dtype)[torch.arange(sizes[1]) % 11].mul(200).expand_as(key).clone()
    keys[..., 11:, :] = 0  # only keys 0 … 10 are axes
    output = scaled_dot_product_attention(
        large.clone().requires_grad_(), keys.requires_grad_(), value
    )
    for i in range(sizes[0]):
        if i % 11 < min(11, sizes[1]):
            torch.testing.assert_close(output[:, :, i], value[:, :, i % 11], atol=1e-6, rtol=0)
    assert output.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(output, (keys, value)))


@pytest.mark.parametrize(
    "shapes",
    [
        ((0, 5, 3), (0, 7, 3), (0, 7, 11)),
        ((2, 0, 3), (2, 7, 3), (2, 7, 11)),
        ((2, 5, 3), (2, 0, 3), (2, 0, 11)),
        ((2, 0, 3), (2, 0, 3), (2, 0, 11)),
        ((2, 5, 3), (2, 7, 3), (2, 7, 0)),
    ],
    ids=["batch", "queries", "keys", "tokens", "value_dim"],
)
@pytest.mark.parametrize("is_causal", [False, True])
def test_empty_axes_give_empty_or_zero_contexts(
    shapes: tuple[tuple[int, ...], ...], is_causal: bool
) -> None:
    query, key, value = inputs = [normal(*shape).requires_grad_() for shape in shapes]
    output = scaled_dot_product_attention(query, key, value, is_causal=is_causal)
    assert output.shape == (*shapes[0][:-1], shapes[2][-1])
    assert not output.any()
    for x, gradient in zip(inputs, gradients(output, inputs), strict=True):
        assert gradient.shape == x.shape
        assert not gradient.any()


def test_a_head_dim_of_0_gives_equal_weights() -> None:
    value = normal(2, 7, 11)
    output = scaled_dot_product_attention(normal(2, 5, 0), normal(2, 7, 0), value)
    torch.testing.assert_close(output, value.mean(1, keepdim=True).expand(2, 5, 11))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_the_context_of_one_token_is_its_value(dtype: torch.dtype) -> None:
    query, key, value = triple(1, 1, dtype)
    assert scaled_dot_product_attention(query, key, value).equal(value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype: torch.dtype) -> None:
    query, key, value = triple(dtype=dtype)
    whole = scaled_dot_product_attention(query.float(), key.float(), value.float())
    assert scaled_dot_product_attention(query, key, value).equal(whole.to(dtype))


@pytest.mark.parametrize("sizes", [(101, 31), (67, 73)], ids=str)
def test_dropout_zeroes_a_fraction_of_the_weights_and_scales_the_others(
    sizes: tuple[int, int],
) -> None:
    query, key, _ = (x.detach() for x in triple(*sizes))
    identity = torch.eye(sizes[1], dtype=torch.float64).expand(2, 3, -1, -1)  # context = weights
    weights = scaled_dot_product_attention(query, key, identity)
    torch.manual_seed(0)
    output = scaled_dot_product_attention(query, key, identity, dropout_p=0.3)
    kept = output != 0
    dropped, deviation = 1 - kept.double().mean().item(), math.sqrt(0.3 * 0.7 / kept.numel())
    assert abs(dropped - 0.3) < 5 * deviation
    torch.testing.assert_close(output[kept], weights[kept] / 0.7)
    torch.manual_seed(0)
    assert scaled_dot_product_attention(query, key, identity, dropout_p=0.3).equal(output)
    assert not scaled_dot_product_attention(query, key, identity, dropout_p=0.3).equal(output)
    assert not scaled_dot_product_attention(query, key, identity, dropout_p=1.0).any()


@pytest.mark.unchecked
@SIZES
@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"key": (2, 3, 7, 5)}, {}, "query and key must have the same head_dim"),
        ({"value": (2, 3, 17, 13)}, {}, "key and value must have the same length"),
        ({"query": (11,)}, {}, "need at least 2 dimensions"),
        ({"query": (5, 3, 7, 11)}, {}, "leading axes"),
        ({"value": (5, 3, 0, 13)}, {}, "leading axes"),
        ({"query": (1, 3, 0, 11), "value": (5, 3, 0, 13)}, {}, "leading axes"),
        ({}, {"attn_mask": (7, 5)}, "attn_mask of shape"),
        ({}, {"attn_mask": (5, 3, 0, 0)}, "attn_mask of shape"),
        ({}, {"attn_mask": (2, 5, 0, 0)}, "attn_mask of shape"),
        ({"key": (2, 1, 0, 11), "query": (0, 11)}, {"attn_mask": (5, 1, 0, 0)}, "attn_mask of"),
        ({}, {"dropout_p": -0.5}, "dropout_p must lie in 0 … 1, got -0.5"),
        ({}, {"dropout_p": 1.5}, "dropout_p must lie in 0 … 1, got 1.5"),
        ({}, {"dropout_p": math.nan}, "dropout_p must lie in 0 … 1, got nan"),
        ({"key": (2, 2, 0, 11)}, {"enable_gqa": True}, "must be a multiple of the key heads"),
        ({"value": (2, 2, 0, 13)}, {"enable_gqa": True}, "and of the value heads"),
        ({"query": (0, 11)}, {"enable_gqa": True}, "enable_gqa needs a head axis"),
    ],
)
def test_arguments_that_do_not_fit_are_an_error_in_one_line(
    sizes: tuple[int, int],
    change: dict[str, tuple[int, ...]],
    options: dict[str, Any],
    message: str,
) -> None:
    """An axis given as 0 stands for the size that is right there."""
    queries, keys = sizes
    right = {"query": (2, 3, queries, 11), "key": (2, 3, keys, 11), "value": (2, 3, keys, 13)}
    right["attn_mask"] = (2, 3, queries, keys)

    def tensor(name: str, shape: tuple[int, ...]) -> Tensor:
        proper = right[name][-len(shape) :]
        return normal(*(size or good for size, good in zip(shape, proper, strict=True)))

    query, key, value = (
        tensor(name, change.get(name, right[name])) for name in ("query", "key", "value")
    )
    if "attn_mask" in options:
        options = options | {"attn_mask": tensor("attn_mask", options["attn_mask"])}
    with pytest.raises(InputError, match=message) as caught:
        scaled_dot_product_attention(query, key, value, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.unchecked
@SIZES
def test_dtypes_that_do_not_fit_are_an_error_in_one_line(sizes: tuple[int, int]) -> None:
    query, key, value = triple(*sizes)
    wrong: list[Callable[[], Tensor]] = [
        lambda: scaled_dot_product_attention(query, key.float(), value),
        lambda: scaled_dot_product_attention(query, key, value.half()),
        lambda: scaled_dot_product_attention(query.long(), key.long(), value.long()),
        lambda: scaled_dot_product_attention(query, key, value, torch.ones(sizes).long()),
        lambda: scaled_dot_product_attention(query, key, value, torch.ones(sizes).half()),
    ]
    for call in wrong:
        with pytest.raises(InputError, match=r"dtype|attn_mask must be bool") as caught:
            call()
        assert isinstance(caught.value, ClearheadError)
        assert isinstance(caught.value, RuntimeError)  # what torch's own function raises
        assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.unchecked
@pytest.mark.parametrize("masked", [False, True])
@SIZES
def test_compiles_to_one_graph(sizes: tuple[int, int], masked: bool) -> None:
    inputs = triple(*sizes)
    options: dict[str, Any] = {"attn_mask": causal_mask(*sizes)} if masked else {"is_causal": True}

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return scaled_dot_product_attention(query, key, value, **options)

    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    found, expected = compiled(*inputs), attend(*inputs)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    for one, other in zip(gradients(found, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def below(queries: int, keys: int, offset: int = 0) -> Tensor:
    return torch.ones(queries, keys, dtype=torch.bool).tril(offset)


@pytest.mark.unchecked
@SIZES
def test_aligned_causal_masks_of_torch(sizes: tuple[int, int]) -> None:
    inputs = triple(*sizes)
    for mask, offset in (
        (causal_upper_left(*sizes), 0),
        (causal_lower_right(*sizes), sizes[1] - sizes[0]),
    ):
        expected = formula(*inputs, additive(below(*sizes, offset)), 11**-0.5)
        found = scaled_dot_product_attention(*inputs, attn_mask=mask)
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@SIZES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_a_float32_mask_fits_every_dtype(sizes: tuple[int, int], dtype: torch.dtype) -> None:
    inputs, bias = triple(*sizes, dtype=dtype), normal(*sizes, seed=6).float()
    found = scaled_dot_product_attention(*inputs, attn_mask=bias)
    query, key, value = (x.double() for x in inputs)
    expected = formula(query, key, value, bias.double(), 11**-0.5)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, atol=TOLERANCES[dtype], rtol=0)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("device", "shape", "explicit"),
    [
        ("cpu", (3, 64, 11), True),
        ("cpu", (3, 65, 11), False),
        ("cuda", (65_535, 5, 11), False),
        ("cuda", (65_536, 5, 11), True),  # too many for the kernels there
    ],
)
def test_the_formula_is_used_where_kernels_are_slower_or_fail(
    device: str, shape: tuple[int, ...], explicit: bool
) -> None:
    tensor: Any = SimpleNamespace(
        dim=lambda: 3, shape=torch.Size(shape), device=SimpleNamespace(type=device)
    )
    assert _use_explicit(tensor, tensor) is explicit


@SIZES
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_mask_and_is_causal_apply_together(sizes: tuple[int, int], kind: str) -> None:
    inputs = triple(*sizes)
    allowed = normal(2, 1, *sizes, seed=5) > -0.5
    bias = normal(*sizes, seed=6)
    mask = allowed if kind == "bool" else bias
    total = (additive(allowed) if kind == "bool" else bias) + additive(below(*sizes))
    found = scaled_dot_product_attention(*inputs, attn_mask=mask, is_causal=True)
    torch.testing.assert_close(found, formula(*inputs, total, 11**-0.5), atol=1e-12, rtol=0)


@pytest.mark.unchecked
@SIZES
def test_masks_of_one_axis_and_of_subclasses_of_tensor(sizes: tuple[int, int]) -> None:
    inputs = triple(*sizes)
    allowed = normal(sizes[1], seed=5) > 0
    expected = formula(*inputs, additive(allowed.expand(sizes)), 11**-0.5)
    for mask in (allowed, additive(allowed), allowed.expand(sizes).as_subclass(Labelled)):
        found = scaled_dot_product_attention(*inputs, attn_mask=mask)
        torch.testing.assert_close(found.as_subclass(Tensor), expected, atol=1e-12, rtol=0)
    bias = torch.nn.Parameter(additive(allowed).expand(sizes))
    found = scaled_dot_product_attention(*inputs, attn_mask=bias)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    opposite = (~allowed).expand(sizes).as_subclass(Reversed)
    found = scaled_dot_product_attention(*inputs, attn_mask=opposite)
    torch.testing.assert_close(found.as_subclass(Tensor), expected, atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own, in jvp
@SIZES
@pytest.mark.parametrize("kind", ["plain", "causal", "grouped", "bool", "learned", "dropout"])
def test_second_and_forward_derivatives_equal_those_of_the_formula(
    sizes: tuple[int, int], kind: str
) -> None:
    inputs = [normal(2, 4, sizes[0], 3), normal(2, 4, sizes[1], 3, seed=1)]
    inputs.append(normal(2, 4, sizes[1], 5, seed=2))
    kinds: dict[str, dict[str, Any]] = {
        "causal": {"is_causal": True},
        "grouped": {"enable_gqa": True},
        "bool": {"attn_mask": normal(*sizes, seed=5) > 0},
        "dropout": {"dropout_p": 0.4},
    }
    options = kinds.get(kind, {})
    if kind == "grouped":
        inputs[1:] = inputs[1][:, :2], inputs[2][:, :2]
    if kind == "learned":
        inputs.append(normal(4, *sizes, seed=5))
    inputs = [x.clone().requires_grad_() for x in inputs]

    def derivatives(attend: Callable[..., Tensor]) -> list[Tensor]:
        torch.manual_seed(0)
        output = attend(*inputs, **options)
        first = torch.autograd.grad(output.square().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(torch.stack([x.sin().sum() for x in first]).sum(), inputs)
        if kind == "dropout":
            return [*first, *second]
        plain = tuple(x.detach() for x in inputs)
        tangents = tuple(x.cos() for x in plain)
        forward = torch.func.jvp(lambda *x: attend(*x, **options), plain, tangents)[1]
        mixed = torch.func.hessian(lambda t: attend(plain[0] * t, *plain[1:], **options).sum())
        return [*first, *second, forward, mixed(torch.tensor(1.5, dtype=torch.float64))]

    found = derivatives(scaled_dot_product_attention)
    if kind == "dropout":  # the kernel's random numbers are its own
        assert all(x.isfinite().all() for x in found)
        return
    expected = derivatives(lambda *x, **options: attention_stages(*x, **options).context)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-9)


def test_vmap_and_grad_of_torch_func_work() -> None:
    query, key, value = (x.detach() for x in triple())
    expected = scaled_dot_product_attention(query, key, value, is_causal=True)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return scaled_dot_product_attention(query, key, value, is_causal=True)

    found = torch.func.vmap(torch.func.vmap(attend))(query, key, value)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)

    def loss(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend(query, key, value).square().sum()

    one_by_one = torch.func.vmap(torch.func.grad(loss))(query, key, value)
    tracked = query.clone().requires_grad_()
    loss(tracked, key, value).backward()
    assert tracked.grad is not None
    torch.testing.assert_close(one_by_one, tracked.grad, atol=1e-12, rtol=0)


@SIZES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_autocast_equals_torchs_function(sizes: tuple[int, int], dtype: torch.dtype) -> None:
    inputs = triple(*sizes, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = scaled_dot_product_attention(*inputs)
        expected = F.scaled_dot_product_attention(*inputs)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, atol=3e-2, rtol=0)


class Interceptor(TorchFunctionMode):
    """Keeps every call of a torch function, and makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.calls.append((func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


@pytest.mark.unchecked  # the shape checks call torch functions too
@SIZES
def test_a_torch_function_mode_intercepts_one_call_with_all_arguments(
    sizes: tuple[int, int],
) -> None:
    inputs = triple(*sizes)
    mask = causal_mask(*sizes)
    expected = scaled_dot_product_attention(*inputs, mask, scale=0.3)
    with Interceptor() as interceptor:
        found = scaled_dot_product_attention(*inputs, mask, scale=0.3)
    assert found.equal(expected)
    ((func, args, kwargs),) = interceptor.calls
    assert func is scaled_dot_product_attention
    assert all(one is other for one, other in zip(args, inputs, strict=True))
    assert kwargs.pop("attn_mask") is mask
    assert kwargs == {"dropout_p": 0.0, "is_causal": False, "scale": 0.3, "enable_gqa": False}


@SIZES
@pytest.mark.parametrize(
    "options", [{}, {"is_causal": True}, {"dropout_p": 0.5}, {"attn_mask": True}], ids=str
)
def test_tensors_without_data_have_the_shape_of_the_result(
    sizes: tuple[int, int], options: dict[str, Any]
) -> None:
    queries, keys = sizes
    with torch.device("meta"):
        mask = torch.ones(queries, keys, dtype=torch.bool) if options.get("attn_mask") else None
        q, k, v = torch.empty(2, 3, queries, 4), torch.empty(2, 3, keys, 4), torch.empty(3, keys, 6)
        result = scaled_dot_product_attention(q, k, v, **{**options, "attn_mask": mask})
    assert result.is_meta
    assert result.shape == (2, 3, queries, 6)


@pytest.mark.unchecked
@pytest.mark.filterwarnings("ignore:.*prototype:UserWarning", "ignore:.*beta:UserWarning")
@pytest.mark.parametrize("kind", ["sparse", "csr", "nested", "jagged"])
def test_sparse_and_nested_tensors_are_refused_in_one_line(kind: str) -> None:
    dense = torch.ones(3, 5, 7)
    pieces = [torch.ones(5, 7), torch.ones(2, 7)]
    makers: dict[str, Callable[[], Tensor]] = {
        "sparse": dense.to_sparse,
        "csr": dense[0].to_sparse_csr,
        "nested": lambda: torch.nested.nested_tensor(pieces),
        "jagged": lambda: torch.nested.nested_tensor(pieces, layout=torch.jagged),
    }
    unfit = makers[kind]()
    for call in (scaled_dot_product_attention, attention_stages):
        with pytest.raises(InputError, match=r"dense tensors, got a .* one; use to_\w+") as error:
            call(unfit, unfit, unfit)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="dense tensors"):
        MultiHeadAttention(embed_dim=7, num_heads=1)(unfit)
    with pytest.raises(InputError, match="dense tensors"):
        scaled_dot_product_attention(dense, dense, dense, attn_mask=torch.ones(5, 5).to_sparse())
