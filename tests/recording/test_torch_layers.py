"""`nn.MultiheadAttention` and torch's Transformer layers, against their own parameters."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import clearhead as ch

from .reference import (
    Stages,
    additive,
    array,
    assert_close,
    assert_stages,
    attention,
    normal,
    record_one,
)

BATCH, QUERIES, KEYS, WIDTH, HEADS = 2, 5, 7, 12, 4  # torch packs only with an even number of heads
X, Y = normal(BATCH, QUERIES, WIDTH, seed=1), normal(BATCH, KEYS, WIDTH, seed=2)
IGNORED = torch.tensor([[False] * 7, [False] * 4 + [True] * 3])  # True = ignore, as torch expects
BLOCKED = torch.tensor([[False, True, False, False, True, False, False]] * 5)
BLOCKED[3] = torch.tensor([True, False, False, True, False, False, True])
PADDED = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
CAUSAL = nn.Transformer.generate_square_subsequent_mask(QUERIES, dtype=torch.float64)
LOWER = torch.ones(QUERIES, QUERIES).tril().bool()

with_weights = pytest.mark.parametrize("need_weights", [False, True])
no_warning = pytest.mark.filterwarnings(
    "ignore:The PyTorch API of nested tensors is in prototype stage"
)


def mha(**options: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **options).double().eval()
    for parameter in module.parameters():  # torch initialises biases with zero
        nn.init.normal_(parameter, std=0.5)
    return module


def split_heads(x: Tensor) -> Tensor:
    heads: Tensor = x.unflatten(-1, (HEADS, -1))
    return heads.transpose(1, 2)


def projected(module: nn.MultiheadAttention, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Queries of x, keys and values of y, from the layer's parameters."""
    weights = module.in_proj_weight.chunk(3)
    biases = (None,) * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    inputs = zip((x, y, y), weights, biases, strict=True)
    return tuple(split_heads(F.linear(z, w, b)) for z, w, b in inputs)


def expected(
    module: nn.MultiheadAttention, x: Tensor, y: Tensor, mask: Tensor | None = None
) -> Stages:
    query, key, value = projected(module, x, y)
    return attention(query, key, value, mask)


@pytest.mark.parametrize(("need_weights", "average"), [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("no_grad", [False, True])
def test_weights_returned_or_not(need_weights: bool, average: bool, no_grad: bool) -> None:
    module, options = mha(), {"need_weights": need_weights, "average_attn_weights": average}
    with torch.set_grad_enabled(not no_grad):
        record, (output, weights) = record_one(module, X, Y, Y, **options)
        plain, _ = module(X, Y, Y, need_weights=need_weights, average_attn_weights=average)
    assert_stages(record, expected(module, X, Y))
    assert record.name == "MultiheadAttention"
    assert output.equal(plain)
    if need_weights:
        assert_close(record.weights.mean(1) if average else record.weights, weights)
    else:
        assert weights is None


@with_weights
def test_tokens_before_the_batch(need_weights: bool) -> None:
    module = mha()
    module.batch_first = False
    x, y = X.transpose(0, 1), Y.transpose(0, 1)
    record, (output, _) = record_one(module, x, y, y, need_weights=need_weights)
    assert_stages(record, expected(module, X, Y))
    assert output.shape == (QUERIES, BATCH, WIDTH)


@with_weights
def test_sequences_without_a_batch_of_one_token_and_empty_batches(need_weights: bool) -> None:
    module = mha()
    record, _ = record_one(module, X[0], Y[0], Y[0], need_weights=need_weights)
    assert_stages(record, expected(module, X[:1], Y[:1]))
    for batch, tokens in ((2, 1), (1, 5), (1, 1)):
        x = X[:batch, :tokens]
        record, _ = record_one(module, x, x, x, need_weights=need_weights)
        assert_stages(record, expected(module, x, x))
    record, _ = record_one(module, X[:0], Y[:0], Y[:0], need_weights=need_weights)
    assert record.weights.shape == (0, HEADS, QUERIES, KEYS)


PADDINGS = {"none": None, "bool": IGNORED, "float": additive(~IGNORED)}
EACH = torch.stack([BLOCKED.roll(i, 1) for i in range(BATCH * HEADS)])
MASKS = {"none": None, "bool": BLOCKED, "float": normal(QUERIES, KEYS, seed=5), "each": EACH}


@with_weights
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("padding", PADDINGS)
def test_masks_of_both_types_alone_and_together(
    padding: str, mask: str, need_weights: bool
) -> None:
    module = mha()
    p, m = PADDINGS[padding], MASKS[mask]
    if p is not None and m is not None and p.dtype != m.dtype:
        p, m = (additive(~x) if x.dtype == torch.bool else x for x in (p, m))
    options = {"key_padding_mask": p, "attn_mask": m, "need_weights": need_weights}
    record, _ = record_one(module, X, Y, Y, **options)

    together = torch.zeros(BATCH, HEADS, QUERIES, KEYS, dtype=torch.float64)
    if p is not None:
        together = together.masked_fill(IGNORED[:, None, None], -torch.inf)
    if m is not None:
        m = m.reshape(BATCH, HEADS, QUERIES, KEYS) if m.dim() == 3 else m
        together = together + (additive(~m) if m.dtype == torch.bool else m)
    assert_stages(record, expected(module, X, Y, together))
    assert record.weights.eq(0.0).equal(together.isneginf())


@with_weights
def test_a_causal_mask_with_the_hint(need_weights: bool) -> None:
    module = mha()
    options = {"attn_mask": CAUSAL, "is_causal": True, "need_weights": need_weights}
    record, _ = record_one(module, X, X, X, **options)
    assert_stages(record, expected(module, X, X, LOWER))


@with_weights
def test_keys_and_values_of_other_widths(need_weights: bool) -> None:
    module: Any = mha(kdim=4, vdim=6)
    keys, values = normal(BATCH, KEYS, 4, seed=3), normal(BATCH, KEYS, 6, seed=4)
    record, _ = record_one(module, X, keys, values, need_weights=need_weights)
    weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
    inputs = zip((X, keys, values), weights, module.in_proj_bias.chunk(3), strict=True)
    q, k, v = (split_heads(F.linear(x, w, b)) for x, w, b in inputs)
    assert_stages(record, attention(q, k, v))


@with_weights
@pytest.mark.parametrize("padded", [False, True])
def test_a_learned_key_and_a_zero_key(need_weights: bool, padded: bool) -> None:
    module: Any = mha(add_bias_kv=True, add_zero_attn=True)
    padding = IGNORED if padded else None
    record, _ = record_one(module, X, Y, Y, need_weights=need_weights, key_padding_mask=padding)
    q, k, v = projected(module, X, Y)
    zero = torch.zeros(BATCH, HEADS, 1, WIDTH // HEADS, dtype=torch.float64)
    k, v = (
        torch.cat([x, split_heads(bias.expand(BATCH, 1, WIDTH)), zero], dim=-2)
        for x, bias in ((k, module.bias_k), (v, module.bias_v))
    )
    mask = F.pad(~IGNORED, (0, 2), value=True)[:, None, None] if padded else None
    assert_stages(record, attention(q, k, v, mask))
    assert record.weights.shape[-1] == KEYS + 2


def test_a_layer_without_biases() -> None:
    module = mha(bias=False)
    assert_stages(record_one(module, X, Y, Y)[0], expected(module, X, Y))


@with_weights
def test_dropout_changes_applied_weights_and_not_weights(need_weights: bool) -> None:
    module = mha(dropout=0.4).train()
    record, _ = record_one(module, X, Y, Y, need_weights=need_weights)
    stages = expected(module, X, Y)
    assert_close(record.weights, stages.weights)
    dropped = array(record.applied_weights)
    kept = dropped != 0.0
    assert 0.3 < kept.mean() < 0.9
    np.testing.assert_allclose(dropped[kept], (stages.weights / 0.6)[kept], rtol=1e-9)
    assert_close(record.output, dropped @ array(projected(module, X, Y)[2]))


def test_recording_does_not_advance_the_random_generator() -> None:
    module = mha(dropout=0.4).train()
    torch.manual_seed(1)
    plain, _ = module(X, Y, Y)
    following = torch.rand(())
    torch.manual_seed(1)
    record, (output, _) = record_one(module, X, Y, Y)
    assert output.equal(plain)
    assert record.applied_weights.ne(0.0).any()
    assert torch.rand(()).equal(following)


def test_a_fully_padded_sequence_is_nan_in_the_explicit_implementation_only() -> None:
    nothing = torch.ones(BATCH, KEYS, dtype=torch.bool)
    for explicit in (True, False):
        with ch.capture() as recording:
            output, _ = mha()(X, Y, Y, key_padding_mask=nothing, need_weights=explicit)
        assert output.isnan().all() if explicit else output.isfinite().all()
        assert recording[0].weights.isnan().all() if explicit else not recording[0].weights.any()
        recording.verify()


def encoder(*, nested: bool = True, **options: Any) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 17, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested).double().eval()


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("padded", [False, True])
def test_an_encoder_layer_where_torch_has_a_fast_path(
    mode: Callable[[], Any], padded: bool
) -> None:
    layer = encoder(nested=False).layers[0]
    padding = PADDED if padded else None
    with mode():
        record, output = record_one(layer, X, src_key_padding_mask=padding)
        plain = layer(X, src_key_padding_mask=padding)
    assert_close(output, plain)
    assert record.name == "self_attn"
    mask = ~PADDED[:, None, None] if padded else None
    assert_stages(record, expected(layer.self_attn, X, X, mask))


# torch never packs with norm_first, and warns if it should
@pytest.mark.parametrize(("nested", "norm_first"), [(True, False), (False, False), (False, True)])
@no_warning
def test_an_encoder_that_packs_padded_sequences(nested: bool, norm_first: bool) -> None:
    model = encoder(norm_first=norm_first, nested=nested)
    with torch.no_grad(), ch.capture() as recording:
        output = model(X, src_key_padding_mask=PADDED)
    assert recording.names == ("layers.0.self_attn", "layers.1.self_attn")
    recording.verify()
    for record in recording.records:
        assert record.weights.shape == (2, HEADS, 5, 5)
        assert record.weights[1, :, :, 3:].eq(0.0).all()
    with torch.enable_grad():
        assert_close(output, model(X, src_key_padding_mask=PADDED))


@no_warning
def test_packed_sequences_are_rejected() -> None:
    packed = torch.nested.as_nested_tensor([X[0], X[1, :3]], layout=torch.strided)
    message = pytest.raises(ch.errors.CaptureError, match=r"(?i)nested.*pad")
    with message, torch.no_grad(), ch.capture():
        encoder()(packed)


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad])
def test_a_decoder_layer_with_self_attention_and_cross_attention(mode: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 17, batch_first=True).double().eval()
    with mode(), ch.capture() as recording:
        layer(X, Y, tgt_mask=CAUSAL, tgt_is_causal=True)
    assert recording.names == ("self_attn", "multihead_attn")
    recording.verify()
    assert_stages(recording[0], expected(layer.self_attn, X, X, LOWER))
    assert recording["multihead_attn"].weights.shape == (2, HEADS, 5, 7)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_training_a_whole_transformer_with_dropout() -> None:
    torch.manual_seed(0)
    model = nn.Transformer(WIDTH, HEADS, 1, 2, 17, dropout=0.3).double()
    with ch.capture() as recording:
        loss = model(Y.transpose(0, 1), X.transpose(0, 1)).square().mean()
    loss.backward()
    assert recording.names == (
        "encoder.layers.0.self_attn",
        *(f"decoder.layers.{i}.{part}" for i in (0, 1) for part in ("self_attn", "multihead_attn")),
    )
    assert [verification.passed for verification in recording.verify()] == [True] * 5
    assert all(record.applied_weights.eq(0.0).any() for record in recording.records)
    assert all(parameter.grad is not None for parameter in model.parameters())
