"""`nn.MultiheadAttention` with every option, against its own parameters and NumPy."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import clearhead as ch
from clearhead.recording import AttentionRecord

from .independent import Expected, array, attention, close, normal, same_stages

BATCH, QUERIES, KEYS, WIDTH, HEADS = 2, 5, 7, 12, 3
X, Y = normal(BATCH, QUERIES, WIDTH, seed=1), normal(BATCH, KEYS, WIDTH, seed=2)
IGNORED = torch.tensor(
    [[False] * 7, [False] * 4 + [True] * 3]
)  # True = ignore, as torch wants here
HIDDEN = torch.tensor([[False, True, False, False, True, False, False]] * 5)
HIDDEN[3] = torch.tensor([True, False, False, True, False, False, True])


def layer(**options: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    made = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, **options).double().eval()
    for parameter in made.parameters():  # torch starts biases at zero
        nn.init.normal_(parameter, std=0.5)
    return made


def heads(x: Tensor) -> Tensor:
    apart: Tensor = x.unflatten(-1, (HEADS, -1))
    return apart.transpose(1, 2)


def expected(
    module: nn.MultiheadAttention, x: Tensor, y: Tensor, mask: Tensor | None = None
) -> Expected:
    """From the layer's parameters; `mask` with True = attend, or to be added."""
    weight, bias = module.in_proj_weight, module.in_proj_bias
    q, k, v = (
        heads(F.linear(z, w, b))
        for z, w, b in zip((x, y, y), weight.chunk(3), bias.chunk(3), strict=True)
    )
    return attention(q, k, v, mask)


def see(module: nn.Module, *args: Any, **kwargs: Any) -> tuple[AttentionRecord, Any]:
    with ch.capture() as seen:
        output = module(*args, **kwargs)
    assert len(seen) == 1
    assert seen.verify()[0].holds
    return seen[0], output


NEEDED = [(True, True), (True, False), (False, True)]


@pytest.mark.parametrize(("needed", "average"), NEEDED)
@pytest.mark.parametrize("no_grad", [False, True])
def test_whatever_weights_are_asked_for(needed: bool, average: bool, no_grad: bool) -> None:
    module = layer()
    with torch.set_grad_enabled(not no_grad):
        record, (output, weights) = see(
            module, X, Y, Y, need_weights=needed, average_attn_weights=average
        )
        plain, _ = module(X, Y, Y, need_weights=needed, average_attn_weights=average)
    same_stages(record, expected(module, X, Y))
    assert record.name == "MultiheadAttention"
    assert output.equal(plain)
    if needed:
        close(record.weights.mean(1) if average else record.weights, array(weights))
    else:
        assert weights is None


@pytest.mark.parametrize("needed", [False, True])
def test_batch_first_or_not(needed: bool) -> None:
    module = layer()
    module.batch_first = False
    record, (output, _) = see(
        module, X.transpose(0, 1), Y.transpose(0, 1), Y.transpose(0, 1), need_weights=needed
    )
    same_stages(record, expected(module, X, Y))
    assert output.shape == (QUERIES, BATCH, WIDTH)


@pytest.mark.parametrize("needed", [False, True])
def test_a_single_sequence_without_a_batch(needed: bool) -> None:
    module = layer()
    record, _ = see(module, X[0], Y[0], Y[0], need_weights=needed)
    same_stages(record, expected(module, X[:1], Y[:1]))


@pytest.mark.parametrize("needed", [False, True])
def test_one_token_a_batch_of_one_and_an_empty_batch(needed: bool) -> None:
    module = layer()
    for batch, tokens in ((2, 1), (1, 5), (1, 1)):
        x = X[:batch, :tokens]
        record, _ = see(module, x, x, x, need_weights=needed)
        same_stages(record, expected(module, x, x))
    record, _ = see(module, X[:0], Y[:0], Y[:0], need_weights=needed)
    assert record.weights.shape == (0, HEADS, QUERIES, KEYS)


def additive(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape, dtype=torch.float64).masked_fill(mask, -torch.inf)


PADDINGS = {"none": None, "bool": IGNORED, "float": additive(IGNORED)}
EACH = torch.stack([HIDDEN.roll(i, 1) for i in range(BATCH * HEADS)])
MASKS = {"none": None, "bool": HIDDEN, "float": normal(QUERIES, KEYS, seed=5), "each": EACH}


@pytest.mark.parametrize("needed", [False, True])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("padding", PADDINGS)
def test_masks_of_either_kind_alone_and_together(padding: str, mask: str, needed: bool) -> None:
    module = layer()
    p, m = PADDINGS[padding], MASKS[mask]
    if p is not None and m is not None and p.dtype != m.dtype:
        p, m = (additive(x) if x.dtype == torch.bool else x for x in (p, m))
    record, _ = see(module, X, Y, Y, key_padding_mask=p, attn_mask=m, need_weights=needed)

    together = torch.zeros(BATCH, HEADS, QUERIES, KEYS, dtype=torch.float64)
    if PADDINGS[padding] is not None:
        together = together.masked_fill(IGNORED[:, None, None], -torch.inf)
    if m is not None:
        m = m.reshape(BATCH, HEADS, QUERIES, KEYS) if m.dim() == 3 else m
        together = together + (additive(m) if m.dtype == torch.bool else m)
    same_stages(record, expected(module, X, Y, together))
    ignored = together.isneginf()
    assert record.weights[ignored].eq(0.0).all()
    assert record.weights[~ignored].gt(0.0).all()


@pytest.mark.parametrize("needed", [False, True])
def test_causal_by_mask_and_by_hint(needed: bool) -> None:
    module = layer()
    later = nn.Transformer.generate_square_subsequent_mask(QUERIES, dtype=torch.float64)
    record, _ = see(module, X, X, X, attn_mask=later, is_causal=True, need_weights=needed)
    attends = torch.ones(QUERIES, QUERIES).tril().bool()
    same_stages(record, expected(module, X, X, attends))


@pytest.mark.parametrize("needed", [False, True])
def test_keys_and_values_of_other_widths(needed: bool) -> None:
    module = layer(kdim=4, vdim=6)
    keys, values = normal(BATCH, KEYS, 4, seed=3), normal(BATCH, KEYS, 6, seed=4)
    record, _ = see(module, X, keys, values, need_weights=needed)
    assert module.q_proj_weight is not None
    assert module.k_proj_weight is not None
    assert module.v_proj_weight is not None
    b = module.in_proj_bias.chunk(3)
    q = heads(F.linear(X, module.q_proj_weight, b[0]))
    k = heads(F.linear(keys, module.k_proj_weight, b[1]))
    v = heads(F.linear(values, module.v_proj_weight, b[2]))
    same_stages(record, attention(q, k, v))


@pytest.mark.parametrize("needed", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_a_learned_key_and_a_zero_key_at_the_end(needed: bool, padded: bool) -> None:
    module = layer(add_bias_kv=True, add_zero_attn=True)
    assert module.bias_k is not None
    assert module.bias_v is not None
    record, _ = see(
        module, X, Y, Y, need_weights=needed, key_padding_mask=IGNORED if padded else None
    )
    weight, bias = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
    q = heads(F.linear(X, weight[0], bias[0]))
    k, v = (
        heads(
            torch.cat(
                [
                    F.linear(Y, weight[i], bias[i]),
                    extra.expand(BATCH, 1, WIDTH),
                    torch.zeros(BATCH, 1, WIDTH, dtype=torch.float64),
                ],
                dim=1,
            )
        )
        for i, extra in ((1, module.bias_k), (2, module.bias_v))
    )
    attends = F.pad(~IGNORED, (0, 2), value=True)[:, None, None] if padded else None
    same_stages(record, attention(q, k, v, attends))
    assert record.weights.shape[-1] == KEYS + 2


def test_without_biases() -> None:
    module = layer(bias=False)
    record, _ = see(module, X, Y, Y)
    q, k, v = (
        heads(F.linear(z, w))
        for z, w in zip((X, Y, Y), module.in_proj_weight.chunk(3), strict=True)
    )
    same_stages(record, attention(q, k, v))


@pytest.mark.parametrize("needed", [False, True])
def test_dropout_in_training_thins_out_what_is_applied_and_not_the_weights(needed: bool) -> None:
    module = layer(dropout=0.4).train()
    record, _ = see(module, X, Y, Y, need_weights=needed)
    stages = expected(module, X, Y)
    close(record.weights, stages.weights)
    dropped = array(record.applied_weights)
    kept = dropped != 0.0
    assert 0.3 < kept.mean() < 0.9
    np.testing.assert_allclose(dropped[kept], (stages.weights / 0.6)[kept], rtol=1e-9)
    v = heads(F.linear(Y, module.in_proj_weight.chunk(3)[2], module.in_proj_bias.chunk(3)[2]))
    close(record.output, dropped @ array(v))


def test_what_looking_in_draws_from_no_generator() -> None:
    module = layer(dropout=0.4).train()
    torch.manual_seed(1)
    plain, _ = module(X, Y, Y)
    post_softmax = torch.rand(())
    torch.manual_seed(1)
    record, (output, _) = see(module, X, Y, Y)
    assert output.equal(plain)
    assert record.applied_weights.ne(0.0).any()
    assert torch.rand(()).equal(post_softmax)


def test_a_padded_sequence_with_nothing_to_attend_is_never_passed_as_proved() -> None:
    module = layer()
    nothing = torch.ones(BATCH, KEYS, dtype=torch.bool)
    with ch.capture() as seen:
        output, _ = module(X, Y, Y, key_padding_mask=nothing, need_weights=True)
    assert output.isnan().all()  # torch's own answer where it writes the softmax out
    with pytest.raises(ch.errors.UnfaithfulCaptureError, match="nan"):
        seen.verify()
