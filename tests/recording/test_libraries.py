"""Models of timm, torchvision and transformers, against the weights that transformers returns."""

from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
import transformers as library
from timm.layers.config import set_fused_attn
from torch import Tensor, nn

import clearhead as ch
from clearhead.recording import Recording

from .reference import assert_close, assert_stages, attention, generator, normal

hf: Any = library  # its configurations accept more than their types

IDS = torch.randint(5, 90, (2, 11), generator=generator())
PADDING = torch.ones(2, 11, dtype=torch.long)
PADDING[1, 8:] = 0
TEXT: dict[str, Any] = {"input_ids": IDS, "attention_mask": PADDING}
SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 32,
    "initializer_range": 0.3,  # by default, weights are nearly uniform
}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def record_model(model: nn.Module, **inputs: Any) -> Recording:
    with torch.no_grad(), ch.capture() as recording:
        model(**inputs)
    assert all(proof.holds for proof in recording.verify())
    return recording


def assert_same_stages(
    first: Recording,
    second: Recording,
    stages: tuple[str, ...],
    dtype: torch.dtype = torch.float64,
) -> None:
    for x, y in zip(first.records, second.records, strict=True):
        for stage in stages:
            assert_close(getattr(x, stage), getattr(y, stage), dtype)


def record_both(
    model: nn.Module, field: str, *, dtype: torch.dtype = torch.float64, **inputs: Any
) -> tuple[Recording, tuple[Tensor, ...]]:
    """The recording of fused attention, and the library's own weights of eager attention.

    The model is in float64; `dtype` is the type of its eager softmax.
    """
    model.double().eval()
    model.set_attn_implementation("eager")  # type: ignore[operator]
    with torch.no_grad():
        own = model(**inputs, output_attentions=True)[field]
    eager = record_model(model, **inputs)
    model.set_attn_implementation("sdpa")  # type: ignore[operator]
    fused = record_model(model, **inputs)
    assert fused.names == eager.names
    assert_same_stages(fused, eager, ("scores", "scaled", "weights"), dtype)
    return fused, own


def assert_weights(recording: Recording, own: tuple[Tensor, ...], *, atol: float = 1e-12) -> None:
    assert len(own) > 0
    for weights, expected in zip(recording.to_hf(), own, strict=True):
        assert weights.shape == expected.shape
        np.testing.assert_allclose(weights, expected, atol=atol)


def test_an_encoder_with_padding() -> None:
    torch.manual_seed(0)
    model = hf.BertModel(hf.BertConfig(vocab_size=99, **SIZES))
    recording, own = record_both(model, "attentions", **TEXT)
    assert recording.names == tuple(f"encoder.layer.{i}.attention.self" for i in (0, 1))
    assert_weights(recording, own)
    assert recording[0].weights[1, :, :, 8:].eq(0.0).all()


def llama() -> nn.Module:
    torch.manual_seed(0)
    config = hf.LlamaConfig(vocab_size=99, num_key_value_heads=2, **SIZES)
    model: nn.Module = hf.LlamaForCausalLM(config)
    return model.eval()


def test_grouped_queries_causal_with_padding() -> None:
    # Llama's eager softmax is always in float32
    recording, own = record_both(llama(), "attentions", dtype=torch.float32, **TEXT)
    assert recording.names == ("model.layers.0.self_attn", "model.layers.1.self_attn")
    assert_weights(recording, own, atol=1e-6)
    assert recording[0].weights.shape == (2, 6, 11, 11)
    assert recording[0].weights.triu(1).eq(0.0).all()
    assert recording[0].weights[1, :, :, 8:].eq(0.0).all()


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_grouped_queries_causal_with_padding_on_the_left(implementation: str) -> None:
    model, inputs = llama(), {"input_ids": IDS, "attention_mask": PADDING.flip(1)}
    model.set_attn_implementation("eager")  # type: ignore[operator]
    with torch.no_grad():
        own = model(**inputs, output_attentions=True).attentions
    model.set_attn_implementation(implementation)  # type: ignore[operator]
    recording = record_model(model, **inputs)
    for weights, expected in zip(recording.to_hf(), own, strict=True):
        np.testing.assert_allclose(weights[0], expected[0], atol=2e-5)
        # rows of padded queries differ between implementations
        np.testing.assert_allclose(weights[1, :, 3:], expected[1, :, 3:], atol=2e-5)
        assert weights[1, :, 3:, :3].eq(0.0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_half_precision_with_padding_on_the_left(implementation: str, dtype: torch.dtype) -> None:
    model = llama().to(dtype)
    model.set_attn_implementation(implementation)  # type: ignore[operator]
    recording = record_model(model, input_ids=IDS, attention_mask=PADDING.flip(1))
    for record in recording.records:
        assert record.weights[0].triu(1).eq(0.0).all()
        assert record.weights[1, :, 3:, :3].eq(0.0).all()


def test_an_encoder_and_a_decoder_with_cross_attention() -> None:
    torch.manual_seed(0)
    config = hf.BartConfig(
        vocab_size=99,
        d_model=48,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=3,
        decoder_attention_heads=6,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        init_std=0.3,
        **ENDS,
    )
    model = hf.BartModel(config)
    inputs = {**TEXT, "decoder_input_ids": IDS[:, :7]}
    for field, part in (
        ("encoder_attentions", "encoder.layers.*"),
        ("decoder_attentions", "decoder.layers.*.self_attn"),
        ("cross_attentions", "decoder.layers.*.encoder_attn"),
    ):
        _, own = record_both(model, field, **inputs)
        with torch.no_grad(), ch.capture(layers=part) as recording:
            model(**inputs)
        assert_weights(recording, own)
    assert recording[0].weights.shape == (2, 6, 7, 11)


def test_position_bias_and_no_scale() -> None:
    torch.manual_seed(0)
    config = hf.T5Config(
        vocab_size=99, d_model=48, num_layers=2, num_heads=3, d_kv=7, d_ff=16, **ENDS
    )
    model = hf.T5EncoderModel(config).double().eval()
    model.set_attn_implementation("eager")
    recording = record_model(model, **TEXT)
    with torch.no_grad():
        assert_weights(recording, model(**TEXT, output_attentions=True).attentions)
    np.testing.assert_allclose(recording[0].scaled, recording[0].scores, atol=1e-12)


def test_attention_sinks() -> None:
    torch.manual_seed(0)
    config = hf.GptOssConfig(
        vocab_size=99,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=2,
        num_experts_per_tok=1,
        **SIZES,
    )
    config._attn_implementation = "eager"
    model = hf.GptOssModel(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    recording = record_model(model, **TEXT)
    with torch.no_grad():
        own = model(**TEXT, output_attentions=True).attentions
    for record, expected in zip(recording.records, own, strict=True):
        np.testing.assert_allclose(record.applied_weights[0], expected[0], atol=1e-6)
        assert record.weights.sum(-1).sub(1.0).abs().max() < 1e-6


def test_one_record_per_step_of_generation() -> None:
    torch.manual_seed(0)
    config = hf.GPT2Config(vocab_size=99, n_embd=24, n_layer=2, n_head=3, n_positions=32, **ENDS)
    model = hf.GPT2LMHeadModel(config).eval()
    with ch.capture() as recording:
        model.generate(IDS[:1], max_new_tokens=3, min_new_tokens=3, do_sample=False)
    recording.verify()
    base = [f"transformer.h.{i}.attn" for i in (0, 1)]
    assert recording.names == (*base, *(f"{x}#2" for x in base), *(f"{x}#3" for x in base))
    assert [record.weights.shape[-2:] for record in recording.records[::2]] == [
        (11, 11),
        (1, 12),
        (1, 13),
    ]


def test_a_layer_that_a_model_calls_repeatedly() -> None:
    torch.manual_seed(0)
    config = hf.AlbertConfig(vocab_size=99, embedding_size=16, **SIZES)
    recording, own = record_both(hf.AlbertModel(config), "attentions", **TEXT)
    name = "encoder.albert_layer_groups.0.albert_layers.0.attention"
    assert recording.names == (name, f"{name}#2")
    assert_weights(recording, own)


def timm_model(name: str, fused: bool, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    set_fused_attn(fused)
    try:
        model: nn.Module = timm.create_model(name, num_classes=5, **options)
    finally:
        set_fused_attn(True)
    return model.double().eval()


VIT = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 3}


@pytest.mark.parametrize("fused", [False, True])
def test_a_vision_transformer_of_timm(fused: bool) -> None:
    model = timm_model("vit_tiny_patch16_224", fused, **VIT)
    images = normal(2, 3, 32, 32)
    recording = record_model(model, x=images)
    assert recording.names == ("blocks.0.attn", "blocks.1.attn")
    assert recording.to_tensor().shape == (2, 2, 3, 5, 5)

    block: Any = model.get_submodule("blocks.0")
    tokens: list[Tensor] = []
    block.attn.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0]))
    with torch.no_grad():
        model(images)
    q, k, v = block.attn.qkv(tokens[0]).reshape(2, 5, 3, 3, 8).permute(2, 0, 3, 1, 4)
    assert_stages(recording[0], attention(q, k, v))


def test_stages_of_timm_are_the_same_fused_or_not() -> None:
    images = normal(2, 3, 32, 32)
    fused, explicit = (
        record_model(timm_model("vit_tiny_patch16_224", f, **VIT), x=images) for f in (True, False)
    )
    stages = ("scores", "scaled", "masked", "weights", "context", "output")
    assert_same_stages(fused, explicit, stages)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("name", "options", "size", "shape"),
    [
        # a class token and registers on a grid that is not square
        ("vit_small_patch14_reg4_dinov2", {**VIT, "img_size": (28, 42)}, (28, 42), (2, 3, 11, 11)),
        # windows, which share the first axis with the batch
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": 32, "embed_dim": 12, "depths": (2,), "num_heads": (3,), "window_size": 4},
            (32, 32),
            (8, 3, 16, 16),
        ),
        # attention between channels
        (
            "xcit_nano_12_p16_224",
            {"embed_dim": 24, "depth": 1, "num_heads": 3, "img_size": 32},
            (32, 32),
            (2, 3, 8, 8),
        ),
        # talking heads: mixtures of scores, and of weights
        (
            "cait_xxs24_224",
            {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 3},
            (32, 32),
            (2, 3, 4, 4),
        ),
    ],
)
def test_other_models_of_timm(
    name: str, options: Any, size: tuple[int, int], shape: tuple[int, ...], fused: bool
) -> None:
    recording = record_model(timm_model(name, fused, **options), x=normal(2, 3, *size))
    assert recording[0].weights.shape == shape
    assert recording[0].weights.sum(-1).sub(1.0).abs().max() < 1e-12


@pytest.mark.parametrize("no_grad", [False, True])
def test_the_vision_transformer_of_torchvision(no_grad: bool) -> None:
    torch.manual_seed(0)
    model = (
        torchvision.models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=8
        )
        .double()
        .eval()
    )
    images = normal(2, 3, 32, 32)
    plain = model(images)
    with torch.set_grad_enabled(not no_grad), ch.capture() as recording:
        recorded = model(images)
    torch.testing.assert_close(recorded, plain, atol=1e-12, rtol=1e-12)
    assert recording.names == tuple(
        f"encoder.layers.encoder_layer_{i}.self_attention" for i in (0, 1)
    )
    recording.verify()
    assert recording.to_tensor().shape == (2, 2, 3, 17, 17)
