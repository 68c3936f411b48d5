"""torch's Transformer layers, also where they would take the inference fast path."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import clearhead as ch

from .independent import attention, normal, same_stages

WIDTH, HEADS = 12, 2  # torch packs only where the number of heads is even
X, MEMORY = normal(2, 5, WIDTH, seed=1), normal(2, 7, WIDTH, seed=2)
PADDED = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])


@contextmanager
def mode(name: str) -> Iterator[None]:
    with ExitStack() as stack:
        if name != "grad":
            stack.enter_context(
                {"no_grad": torch.no_grad, "inference": torch.inference_mode}[name]()
            )
        yield


def encoder(layers: int = 2, *, nested: bool = True, **options: Any) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    one = nn.TransformerEncoderLayer(WIDTH, HEADS, 17, batch_first=True, **options)
    return nn.TransformerEncoder(one, layers, enable_nested_tensor=nested).double().eval()


def projected(
    module: nn.MultiheadAttention, x: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    pairs = zip(
        (x, y, y), module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3), strict=True
    )
    q, k, v = (F.linear(z, w, b).unflatten(-1, (HEADS, -1)).transpose(1, 2) for z, w, b in pairs)
    return q, k, v


@pytest.mark.parametrize("name", ["grad", "no_grad", "inference"])
@pytest.mark.parametrize("padded", [False, True])
def test_an_encoder_layer_also_where_the_fast_path_would_be_taken(name: str, padded: bool) -> None:
    layer = encoder(nested=False).layers[0]
    with mode(name), ch.capture() as seen:
        output = layer(X, src_key_padding_mask=PADDED if padded else None)
    with mode(name):
        plain = layer(X, src_key_padding_mask=PADDED if padded else None)
    torch.testing.assert_close(output, plain, atol=1e-12, rtol=1e-12)
    assert seen.names == ("self_attn",)
    seen.verify()
    mask = ~PADDED[:, None, None] if padded else None
    same_stages(seen[0], attention(*projected(layer.self_attn, X, X), mask))


# torch never packs where it normalises first, and warns if it is asked to
@pytest.mark.parametrize(("nested", "norm_first"), [(True, False), (False, False), (False, True)])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_an_encoder_that_would_pack_padded_sequences(nested: bool, norm_first: bool) -> None:
    model = encoder(norm_first=norm_first, nested=nested)
    with torch.no_grad(), ch.capture() as seen:
        output = model(X, src_key_padding_mask=PADDED)
    assert seen.names == ("layers.0.self_attn", "layers.1.self_attn")
    seen.verify()
    for record in seen.records:
        assert record.weights.shape == (2, HEADS, 5, 5)
        assert record.weights[1, :, :, 3:].eq(0.0).all()
    with torch.enable_grad():
        slow = model(X, src_key_padding_mask=PADDED)
    torch.testing.assert_close(output, slow, atol=1e-12, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_sequences_that_come_packed_are_refused_with_a_way_out() -> None:
    packed = torch.nested.as_nested_tensor([X[0], X[1, :3]], layout=torch.strided)
    model = encoder()
    with (
        pytest.raises(ch.errors.CaptureError, match=r"(?i)nested.*pad"),
        torch.no_grad(),
        ch.capture(),
    ):
        model(packed)


@pytest.mark.parametrize("name", ["grad", "no_grad"])
def test_a_decoder_layer_attends_to_itself_and_to_the_memory(name: str) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 17, batch_first=True).double().eval()
    later = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    with mode(name), ch.capture() as seen:
        layer(X, MEMORY, tgt_mask=later, tgt_is_causal=True)
    assert seen.names == ("self_attn", "multihead_attn")
    seen.verify()
    attends = torch.ones(5, 5).tril().bool()
    same_stages(seen[0], attention(*projected(layer.self_attn, X, X), attends))
    assert seen["multihead_attn"].weights.shape == (2, HEADS, 5, 7)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_a_whole_transformer_trains_with_dropout() -> None:
    torch.manual_seed(0)
    model = nn.Transformer(WIDTH, HEADS, 1, 2, 17, dropout=0.3).double()
    with ch.capture() as seen:
        loss = model(MEMORY.transpose(0, 1), X.transpose(0, 1)).square().mean()
    loss.backward()
    assert seen.names == (
        "encoder.layers.0.self_attn",
        *(f"decoder.layers.{i}.{part}" for i in (0, 1) for part in ("self_attn", "multihead_attn")),
    )
    assert [proof.holds for proof in seen.verify()] == [True] * 5
    assert all(record.applied_weights.eq(0.0).any() for record in seen.records)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_autocast_takes_the_layers_down_to_bfloat16() -> None:
    model = encoder().float()
    x = X.float()
    with torch.autocast("cpu", torch.bfloat16), ch.capture() as seen:
        model(x)
    assert seen[0].query.dtype == torch.bfloat16
    assert all(proof.tolerance > 1e-3 for proof in seen.verify())
