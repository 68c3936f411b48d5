"""`intervene` equals the same change of the model, or of its code."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import transformers as library
from timm.layers.config import set_fused_attn
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack

import clearhead as ch
from clearhead.errors import CaptureError, UnfaithfulCaptureError
from clearhead.models import build
from clearhead.recording import AttentionRecord

from .reference import generator, normal

hf: Any = library  # its configurations take more than their types say

HEAD = 1


def remove(record: AttentionRecord) -> Tensor:
    output = record.output.clone()
    output[:, HEAD] = 0.0
    return output


def zero_columns(projection: Any, head_dim: int) -> None:
    """Remove the head by zeros in the output projection."""
    weight = projection.weight
    columns = slice(HEAD * head_dim, (HEAD + 1) * head_dim)
    with torch.no_grad():
        if isinstance(projection, nn.Linear):
            weight[:, columns] = 0.0
        else:
            weight[columns] = 0.0  # the Conv1D of transformers is transposed


def our_model() -> tuple[nn.Module, dict[str, Any], str, str, int]:
    torch.manual_seed(0)
    config = ch.ViTConfig(embed_dim=24, depth=2, num_heads=3)
    inputs = {"images": normal(2, 1, 28, 28)}
    return build(config), inputs, "blocks.1.attn", "blocks.1.attn.proj", 8


def timm_model(fused: bool) -> tuple[nn.Module, dict[str, Any], str, str, int]:
    torch.manual_seed(0)
    set_fused_attn(fused)
    try:
        model = timm.create_model(
            "vit_tiny_patch16_224", img_size=32, embed_dim=24, depth=2, num_heads=3, num_classes=5
        )
    finally:
        set_fused_attn(True)
    return model, {"x": normal(2, 3, 32, 32)}, "blocks.1.attn", "blocks.1.attn.proj", 8


def hf_model(implementation: str) -> tuple[nn.Module, dict[str, Any], str, str, int]:
    torch.manual_seed(0)
    config = hf.GPT2Config(
        vocab_size=99,
        n_embd=24,
        n_layer=2,
        n_head=3,
        n_positions=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    config._attn_implementation = implementation
    ids = torch.randint(5, 90, (2, 7), generator=generator())
    model = hf.GPT2LMHeadModel(config)
    name = "transformer.h.1.attn"
    return model, {"input_ids": ids}, name, f"{name}.c_proj", 8


def torch_layer(need_weights: bool) -> tuple[nn.Module, dict[str, Any], str, str, int]:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(24, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.attn(x, x, x, need_weights=need_weights)[0]
            return output

    torch.manual_seed(0)
    return Model(), {"x": normal(2, 5, 24)}, "attn", "attn.out_proj", 8


MODELS: dict[str, Callable[[], tuple[nn.Module, dict[str, Any], str, str, int]]] = {
    "ours": our_model,
    "timm fused": lambda: timm_model(True),
    "timm": lambda: timm_model(False),
    "transformers eager": lambda: hf_model("eager"),
    "transformers sdpa": lambda: hf_model("sdpa"),
    "torch": lambda: torch_layer(False),
    "torch with weights": lambda: torch_layer(True),
}


def logits(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        output = model(**inputs)
    result: Tensor = output if isinstance(output, Tensor) else output.logits
    return result


@pytest.mark.parametrize("name", MODELS)
def test_removing_a_head_equals_zeros_in_the_projection(name: str) -> None:
    model, inputs, layer, projection, head_dim = MODELS[name]()
    model.double().eval()
    plain = logits(model, inputs)
    with ch.intervene(remove, layers=layer):
        result = logits(model, inputs)
    assert logits(model, inputs).equal(plain)
    zero_columns(model.get_submodule(projection), head_dim)
    expected = logits(model, inputs)
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=1e-12)
    assert (expected - plain).abs().max() > 1e-6


def two_layers() -> tuple[nn.Module, dict[str, Any]]:
    model, inputs, *_ = timm_model(True)
    return model.double().eval(), inputs


def test_none_or_the_same_output_changes_nothing() -> None:
    for name in MODELS:
        model, inputs, *_ = MODELS[name]()
        model.double().eval()
        plain = logits(model, inputs)
        for change in (lambda record: None, lambda record: record.output):
            with ch.intervene(change):
                assert logits(model, inputs).equal(plain)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, ["blocks.0.attn", "blocks.1.attn"]),
        ("blocks.1.attn", ["blocks.1.attn"]),
        ("blocks.*", ["blocks.0.attn", "blocks.1.attn"]),
        (0, ["blocks.0.attn"]),
        ([1, "blocks.1.attn"], ["blocks.1.attn"]),
    ],
)
def test_layers_are_selected_as_in_capture(layers: Any, expected: list[str]) -> None:
    model, inputs = two_layers()
    names: list[str] = []
    with ch.intervene(lambda record: names.append(record.name), layers=layers):
        logits(model, inputs)
    assert names == expected


@pytest.mark.parametrize("layers", ["blocks.7.attn", 5])
def test_unknown_layers_raise(layers: Any) -> None:
    model, inputs = two_layers()
    with (
        pytest.raises(CaptureError, match=r"blocks\.1\.attn|there were 2"),
        ch.intervene(remove, layers=layers),
    ):
        logits(model, inputs)


@pytest.mark.parametrize("layers", [-1, [0, -1]])
def test_negative_indices_are_rejected(layers: Any) -> None:
    model, inputs = two_layers()
    with pytest.raises(CaptureError, match="negative"), ch.intervene(remove, layers=layers):
        logits(model, inputs)


def test_uniform_weights_equal_scores_of_zero() -> None:
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 7, 4, seed=1), normal(2, 3, 7, 11, seed=2)

    def uniform(record: AttentionRecord) -> Tensor:
        return record.context_from(torch.full_like(record.weights, 1 / 7))

    with ch.intervene(uniform):
        fused = F.scaled_dot_product_attention(q, k, v)
        explicit = (q @ k.mT).softmax(-1) @ v
    expected = F.scaled_dot_product_attention(torch.zeros_like(q), k, v)
    torch.testing.assert_close(fused, expected, atol=1e-14, rtol=0)
    torch.testing.assert_close(explicit, expected, atol=1e-14, rtol=0)


def test_a_masked_key_equals_one_key_less() -> None:
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 7, 4, seed=1), normal(2, 3, 7, 11, seed=2)

    def mask_last(record: AttentionRecord) -> Tensor:
        masked = record.masked
        masked[..., 6] = -math.inf
        return record.context_from(masked.softmax(-1))

    with ch.intervene(mask_last):
        result = F.scaled_dot_product_attention(q, k, v)
    expected = F.scaled_dot_product_attention(q, k[:, :, :6], v[:, :, :6])
    torch.testing.assert_close(result, expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize("code", ["transposed", "heads last", "flat", "five axes"])
def test_the_new_output_is_returned_in_the_layout_of_the_model(code: str) -> None:
    x = normal(2, 5, 3, 4)  # batch, tokens, heads, dim

    def attend() -> Tensor:
        if code == "transposed":
            scores = torch.einsum("bqhd,bkhd->bhqk", x, x)
            return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), x)
        if code == "heads last":
            y = x.permute(0, 2, 1, 3)
            scores = torch.einsum("bhqd,bhkd->qkbh", y, y)
            return torch.einsum("qkbh,bhkd->qbhd", scores.softmax(1), y)
        if code == "flat":
            y = x.transpose(1, 2).flatten(0, 1)
            return torch.bmm(torch.bmm(y, y.mT).softmax(-1), y)
        y = x.transpose(1, 2)[None]
        return F.scaled_dot_product_attention(y, y, y)

    plain = attend()
    with ch.capture() as recording:
        attend()
    with ch.intervene(lambda record: 2.0 * record.output):
        doubled = attend()
    torch.testing.assert_close(doubled, 2.0 * plain)

    unit = torch.zeros_like(recording[0].output)
    unit[(0,) * unit.dim()] = 1.0
    with ch.intervene(lambda record: record.output + unit):
        changed = attend()
    assert (changed - plain).abs().gt(0.5).sum() == 1


def test_an_output_of_the_wrong_shape_is_rejected() -> None:
    q = normal(2, 3, 5, 4)
    for wrong in (
        lambda record: record.output[:, :2],
        lambda record: record.output.mT,
        lambda record: 1.0,
    ):
        with pytest.raises((CaptureError, ch.ClearheadError)), ch.intervene(wrong):  # type: ignore[arg-type]
            F.scaled_dot_product_attention(q, q, q)


def test_a_capture_around_and_inside_an_intervention() -> None:
    model, inputs = two_layers()
    with ch.capture() as plain:
        logits(model, inputs)
    with ch.capture() as recording, ch.intervene(remove, layers=0):
        changed = logits(model, inputs)
    assert recording.names == plain.names
    recording.verify()  # of the output before the change
    assert recording[0].output.equal(plain[0].output)
    assert not recording[1].output.equal(plain[1].output)
    with ch.intervene(remove, layers=0), ch.capture() as recording:
        assert logits(model, inputs).equal(changed)
    assert recording[0].output[:, HEAD].eq(0.0).all()
    with pytest.raises(UnfaithfulCaptureError, match=r"blocks\.0\.attn"):
        recording.verify()  # of the output after the change


def test_computing_inside_a_change_is_not_recorded() -> None:
    model, inputs = two_layers()

    def recompute(record: AttentionRecord) -> Tensor:
        return record.context_from(record.stages().weights)

    with ch.capture() as recording, ch.intervene(recompute):
        logits(model, inputs)
    assert recording.names == ("blocks.0.attn", "blocks.1.attn")
    with ch.intervene(recompute), ch.capture() as recording:
        logits(model, inputs)
    assert recording.names == ("blocks.0.attn", "blocks.1.attn")


def test_nested_interventions() -> None:
    q = normal(2, 3, 5, 4)
    plain = F.scaled_dot_product_attention(q, q, q)
    with (
        ch.intervene(lambda record: record.output + 1.0),
        ch.intervene(lambda record: record.output * 2.0),
    ):
        result = F.scaled_dot_product_attention(q, q, q)
    torch.testing.assert_close(result, (plain + 1.0) * 2.0)


def test_exceptions_of_the_change_pass_unchanged() -> None:
    error = ValueError("mine")

    def fail(record: AttentionRecord) -> Tensor:
        raise error

    model, inputs = two_layers()
    plain = logits(model, inputs)
    with pytest.raises(ValueError, match="mine") as caught, ch.intervene(fail):
        logits(model, inputs)
    assert caught.value is error
    assert not _get_current_function_mode_stack()
    assert logits(model, inputs).equal(plain)


def test_gradients_of_a_change() -> None:
    gate = torch.ones(3, 1, 1, dtype=torch.float64, requires_grad=True)
    q = normal(2, 3, 5, 4).requires_grad_()
    with ch.intervene(lambda record: record.output * gate):
        result = F.scaled_dot_product_attention(q, q, q)
    result.sum().backward()
    assert gate.grad is not None
    plain = F.scaled_dot_product_attention(q, q, q)
    torch.testing.assert_close(gate.grad.flatten(), plain.sum((0, 2, 3)).detach())
    assert q.grad is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_type(dtype: torch.dtype) -> None:
    q = normal(2, 3, 5, 4, dtype=dtype)
    with ch.intervene(lambda record: record.context_from(record.weights)):
        assert F.scaled_dot_product_attention(q, q, q).dtype == dtype
        assert ((q @ q.mT).softmax(-1) @ q).dtype == dtype


def test_type_errors_of_the_change_are_reported_inside_operators() -> None:
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 7, 4, seed=1), normal(2, 3, 7, 11, seed=2)

    def broken(record: AttentionRecord) -> Tensor:
        return len(3)  # type: ignore[arg-type, return-value]

    with pytest.raises(ch.ClearheadError, match="int"), ch.intervene(broken):
        (q @ k.mT).softmax(-1) @ v
    with pytest.raises(ch.ClearheadError, match="function"), ch.intervene(3):  # type: ignore[arg-type]
        (q @ k.mT).softmax(-1) @ v
