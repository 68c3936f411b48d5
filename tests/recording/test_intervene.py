"""`intervene` equals the same change of the model, or of its code."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack

import clearhead as ch
from clearhead.errors import CaptureError, ConfigError, InputError, UnfaithfulCaptureError
from clearhead.models import build
from clearhead.recording import AttentionRecord

from .models import gpt2, timm_model
from .reference import generator, normal

HEAD, HEAD_DIM = 1, 8
Change = Callable[[AttentionRecord], Any]

Q = normal(2, 3, 5, 4)
K, V = normal(2, 3, 7, 4, seed=1), normal(2, 3, 7, 11, seed=2)


def remove(record: AttentionRecord) -> Tensor:
    output = record.output.clone()
    output[:, HEAD] = 0.0
    return output


def zero_columns(projection: Any) -> None:
    """Remove the head by zeros in the output projection."""
    columns = slice(HEAD * HEAD_DIM, (HEAD + 1) * HEAD_DIM)
    with torch.no_grad():
        if isinstance(projection, nn.Linear):
            projection.weight[:, columns] = 0.0
        else:
            projection.weight[columns] = 0.0  # the Conv1D of transformers is transposed


class TorchModel(nn.Module):
    def __init__(self, need_weights: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attn = nn.MultiheadAttention(24, 3, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.attn(x, x, x, need_weights=self.need_weights)[0]
        return output


def our_model() -> nn.Module:
    torch.manual_seed(0)
    return build(ch.ViTConfig(embed_dim=24, depth=2, num_heads=3))


IDS = torch.randint(5, 90, (2, 7), generator=generator())
IMAGES, TOKENS = normal(2, 3, 32, 32), normal(2, 5, 24)
GREY = normal(2, 1, 28, 28)

# The model, its input, a layer, and the layer's output projection.
MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor, str, str]] = {
    "ours": (our_model, GREY, "blocks.1.attn", "proj"),
    "timm fused": (lambda: timm_model(True), IMAGES, "blocks.1.attn", "proj"),
    "timm": (lambda: timm_model(False), IMAGES, "blocks.1.attn", "proj"),
    "transformers eager": (lambda: gpt2("eager"), IDS, "transformer.h.1.attn", "c_proj"),
    "transformers sdpa": (lambda: gpt2("sdpa"), IDS, "transformer.h.1.attn", "c_proj"),
    "torch": (lambda: TorchModel(False), TOKENS, "attn", "out_proj"),
    "torch with weights": (lambda: TorchModel(True), TOKENS, "attn", "out_proj"),
}


def logits(model: nn.Module, x: Tensor = IMAGES) -> Tensor:
    with torch.no_grad():
        output = model(x)
    result: Tensor = output if isinstance(output, Tensor) else output.logits
    return result


@pytest.mark.parametrize(("build", "x", "layer", "projection"), MODELS.values(), ids=MODELS)
def test_removing_a_head_equals_zeros_in_the_projection(
    build: Callable[[], nn.Module], x: Tensor, layer: str, projection: str
) -> None:
    model = build().double().eval()
    plain = logits(model, x)
    for change in (lambda record: None, lambda record: record.output):  # change nothing
        with ch.intervene(change):
            assert logits(model, x).equal(plain)
    with ch.intervene(remove, layers=layer):
        result = logits(model, x)
    assert logits(model, x).equal(plain)
    zero_columns(model.get_submodule(f"{layer}.{projection}"))
    expected = logits(model, x)
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=1e-12)
    assert (expected - plain).abs().max() > 1e-6


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
    model = timm_model(True)
    names: list[str] = []
    with ch.intervene(lambda record: names.append(record.name), layers=layers):
        logits(model)
    assert names == expected


@pytest.mark.parametrize("layers", ["blocks.7.attn", 5])
def test_unknown_layers_raise(layers: Any) -> None:
    model = timm_model(True)
    with (
        pytest.raises(CaptureError, match=r"blocks\.1\.attn|there were 2"),
        ch.intervene(remove, layers=layers),
    ):
        logits(model)


@pytest.mark.parametrize("layers", [-1, [0, -1]])
def test_negative_indices_are_rejected(layers: Any) -> None:
    model = timm_model(True)
    with pytest.raises(CaptureError, match="negative"), ch.intervene(remove, layers=layers):
        logits(model)


def test_uniform_weights_equal_scores_of_zero() -> None:
    def uniform(record: AttentionRecord) -> Tensor:
        return record.context_from(torch.full_like(record.weights, 1 / 7))

    with ch.intervene(uniform):
        fused = F.scaled_dot_product_attention(Q, K, V)
        explicit = (Q @ K.mT).softmax(-1) @ V
    expected = F.scaled_dot_product_attention(torch.zeros_like(Q), K, V)
    torch.testing.assert_close(fused, expected, atol=1e-14, rtol=0)
    torch.testing.assert_close(explicit, expected, atol=1e-14, rtol=0)


def test_a_masked_key_equals_one_key_less() -> None:
    def mask_last(record: AttentionRecord) -> Tensor:
        masked = record.masked
        masked[..., 6] = -math.inf
        return record.context_from(masked.softmax(-1))

    with ch.intervene(mask_last):
        result = F.scaled_dot_product_attention(Q, K, V)
    expected = F.scaled_dot_product_attention(Q, K[:, :, :6], V[:, :, :6])
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


@pytest.mark.parametrize(
    "change", [lambda record: record.output[:, :2], lambda record: record.output.mT, lambda _: 1.0]
)
def test_an_output_of_the_wrong_shape_is_rejected(change: Change) -> None:
    with pytest.raises(InputError, match="shape"), ch.intervene(change):
        F.scaled_dot_product_attention(Q, Q, Q)


def test_a_capture_around_and_inside_an_intervention() -> None:
    model = timm_model(True)
    with ch.capture() as plain:
        logits(model)
    with ch.capture() as recording, ch.intervene(remove, layers=0):
        changed = logits(model)
    assert recording.names == plain.names
    recording.verify()  # of the output before the change
    assert recording[0].output.equal(plain[0].output)
    assert not recording[1].output.equal(plain[1].output)
    with ch.intervene(remove, layers=0), ch.capture() as recording:
        assert logits(model).equal(changed)
    assert recording[0].output[:, HEAD].eq(0.0).all()
    with pytest.raises(UnfaithfulCaptureError, match=r"blocks\.0\.attn"):
        recording.verify()  # of the output after the change


def test_computing_inside_a_change_is_not_recorded() -> None:
    model = timm_model(True)

    def recompute(record: AttentionRecord) -> Tensor:
        return record.context_from(record.stages().weights)

    with ch.capture() as recording, ch.intervene(recompute):
        logits(model)
    assert recording.names == ("blocks.0.attn", "blocks.1.attn")
    with ch.intervene(recompute), ch.capture() as recording:
        logits(model)
    assert recording.names == ("blocks.0.attn", "blocks.1.attn")


def test_nested_interventions() -> None:
    plain = F.scaled_dot_product_attention(Q, Q, Q)
    with ch.intervene(lambda record: record.output + 1.0):  # noqa: SIM117 - the inner one is first
        with ch.intervene(lambda record: record.output * 2.0):
            result = F.scaled_dot_product_attention(Q, Q, Q)
    torch.testing.assert_close(result, (plain + 1.0) * 2.0)


def test_exceptions_of_the_change_pass_unchanged() -> None:
    error = ValueError("mine")

    def fail(record: AttentionRecord) -> Tensor:
        raise error

    model = timm_model(True)
    plain = logits(model)
    with pytest.raises(ValueError, match="mine") as caught, ch.intervene(fail):
        logits(model)
    assert caught.value is error
    assert not _get_current_function_mode_stack()
    assert logits(model).equal(plain)


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int64])
def test_an_output_of_another_number_type_gets_that_of_the_model(dtype: torch.dtype) -> None:
    q = normal(2, 3, 5, 4, dtype=torch.bfloat16)
    with ch.intervene(lambda record: record.output.to(dtype)):
        for output in (F.scaled_dot_product_attention(q, q, q), (q @ q.mT).softmax(-1) @ q):
            assert output.dtype == torch.bfloat16


def test_type_errors_of_the_change_are_reported_inside_operators() -> None:
    def broken(record: AttentionRecord) -> Tensor:
        return len(3)  # type: ignore[arg-type, return-value]

    with pytest.raises(InputError, match="int"), ch.intervene(broken):
        (Q @ K.mT).softmax(-1) @ V


def test_a_change_that_is_not_a_function_raises_before_the_block() -> None:
    with pytest.raises(ConfigError, match="expects a function of a record, got 3"):
        ch.intervene(3)  # type: ignore[arg-type]
