"""Models of timm, torchvision and transformers, against the weights that transformers gives."""

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

from .independent import array, attention, close, generator, normal, same_stages

hf: Any = library  # its configurations take more than their types say

IDS = torch.randint(5, 90, (2, 11), generator=generator())
PADDING = torch.ones(2, 11, dtype=torch.long)
PADDING[1, 8:] = 0
TEXT: dict[str, Any] = {"input_ids": IDS, "attention_mask": PADDING}
SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 32,
    "initializer_range": 0.3,  # else all scores are near zero and all weights alike
}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def see(model: nn.Module, **inputs: Any) -> Recording:
    with torch.no_grad(), ch.capture() as seen:
        model(**inputs)
    assert all(proof.holds for proof in seen.verify())
    return seen


def both_ways(
    model: nn.Module, field: str, *, dtype: torch.dtype = torch.float64, **inputs: Any
) -> tuple[Recording, tuple[Tensor, ...]]:
    """What is captured of fused attention, and the library's own weights from the eager one.

    The model is one of float64; `dtype` is the type in which its eager softmax is computed.
    """
    model.double().eval()
    model.set_attn_implementation("eager")  # type: ignore[operator]
    with torch.no_grad():
        own = model(**inputs, output_attentions=True)[field]
    eager = see(model, **inputs)
    model.set_attn_implementation("sdpa")  # type: ignore[operator]
    fused = see(model, **inputs)
    assert fused.names == eager.names
    for one, other in zip(fused.records, eager.records, strict=True):
        for stage in ("scores", "scaled", "weights"):
            close(getattr(one, stage), array(getattr(other, stage)), dtype)
    return fused, own


def same_weights(seen: Recording, own: tuple[Tensor, ...], *, atol: float = 1e-12) -> None:
    assert len(own) > 0
    for found, expected in zip(seen.to_hf(), own, strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=atol)


def test_an_encoder_with_padding() -> None:
    torch.manual_seed(0)
    model = hf.BertModel(hf.BertConfig(vocab_size=99, **SIZES))
    seen, own = both_ways(model, "attentions", **TEXT)
    assert seen.names == tuple(f"encoder.layer.{i}.attention.self" for i in (0, 1))
    same_weights(seen, own)
    assert seen[0].weights[1, :, :, 8:].eq(0.0).all()


def llama() -> nn.Module:
    torch.manual_seed(0)
    config = hf.LlamaConfig(vocab_size=99, num_key_value_heads=2, **SIZES)
    model: nn.Module = hf.LlamaForCausalLM(config)
    return model.eval()


def test_grouped_queries_causal_with_padding() -> None:
    # Llama's eager softmax is one of float32, whatever the model is
    seen, own = both_ways(llama(), "attentions", dtype=torch.float32, **TEXT)
    assert seen.names == ("model.layers.0.self_attn", "model.layers.1.self_attn")
    same_weights(seen, own, atol=1e-6)
    assert seen[0].weights.shape == (2, 6, 11, 11)
    assert seen[0].weights.triu(1).eq(0.0).all()
    assert seen[0].weights[1, :, :, 8:].eq(0.0).all()


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_grouped_queries_causal_with_padding_on_the_left(implementation: str) -> None:
    model, inputs = llama(), {"input_ids": IDS, "attention_mask": PADDING.flip(1)}
    model.set_attn_implementation("eager")  # type: ignore[operator]
    with torch.no_grad():
        own = model(**inputs, output_attentions=True).attentions
    model.set_attn_implementation(implementation)  # type: ignore[operator]
    seen = see(model, **inputs)
    for found, expected in zip(seen.to_hf(), own, strict=True):
        np.testing.assert_allclose(found[0], expected[0], atol=2e-5)
        # rows of padded queries mean nothing, and differ between implementations
        np.testing.assert_allclose(found[1, :, 3:], expected[1, :, 3:], atol=2e-5)
        assert found[1, :, 3:, :3].eq(0.0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_half_precision_with_padding_on_the_left(implementation: str, dtype: torch.dtype) -> None:
    model = llama().to(dtype)
    model.set_attn_implementation(implementation)  # type: ignore[operator]
    seen = see(model, input_ids=IDS, attention_mask=PADDING.flip(1))
    for record in seen.records:
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
        _, own = both_ways(model, field, **inputs)
        with torch.no_grad(), ch.capture(layers=part) as seen:
            model(**inputs)
        same_weights(seen, own)
    assert seen[0].weights.shape == (2, 6, 7, 11)


def test_position_bias_and_no_scale() -> None:
    torch.manual_seed(0)
    config = hf.T5Config(
        vocab_size=99, d_model=48, num_layers=2, num_heads=3, d_kv=7, d_ff=16, **ENDS
    )
    model = hf.T5EncoderModel(config).double().eval()
    model.set_attn_implementation("eager")
    seen = see(model, **TEXT)
    with torch.no_grad():
        same_weights(seen, model(**TEXT, output_attentions=True).attentions)
    np.testing.assert_allclose(seen[0].scaled, seen[0].scores, atol=1e-12)


def test_sinks_beside_the_keys_take_part_of_every_row() -> None:
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
    seen = see(model, **TEXT)
    with torch.no_grad():
        own = model(**TEXT, output_attentions=True).attentions
    for record, expected in zip(seen.records, own, strict=True):
        np.testing.assert_allclose(record.applied_weights[0], expected[0], atol=1e-6)
        assert record.weights.sum(-1).sub(1.0).abs().max() < 1e-6


def test_one_record_for_each_step_of_writing_a_text() -> None:
    torch.manual_seed(0)
    config = hf.GPT2Config(vocab_size=99, n_embd=24, n_layer=2, n_head=3, n_positions=32, **ENDS)
    model = hf.GPT2LMHeadModel(config).eval()
    with ch.capture() as seen:
        model.generate(IDS[:1], max_new_tokens=3, min_new_tokens=3, do_sample=False)
    seen.verify()
    base = [f"transformer.h.{i}.attn" for i in (0, 1)]
    assert seen.names == (*base, *(f"{x}#2" for x in base), *(f"{x}#3" for x in base))
    assert [record.weights.shape[-2:] for record in seen.records[::2]] == [
        (11, 11),
        (1, 12),
        (1, 13),
    ]


def test_a_layer_that_a_model_uses_again_and_again() -> None:
    torch.manual_seed(0)
    config = hf.AlbertConfig(vocab_size=99, embedding_size=16, **SIZES)
    seen, own = both_ways(hf.AlbertModel(config), "attentions", **TEXT)
    name = "encoder.albert_layer_groups.0.albert_layers.0.attention"
    assert seen.names == (name, f"{name}#2")
    same_weights(seen, own)


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
    seen = see(model, x=images)
    assert seen.names == ("blocks.0.attn", "blocks.1.attn")
    assert seen.to_tensor().shape == (2, 2, 3, 5, 5)

    block: Any = model.get_submodule("blocks.0")
    tokens: list[Tensor] = []
    block.attn.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0]))
    with torch.no_grad():
        model(images)
    q, k, v = block.attn.qkv(tokens[0]).reshape(2, 5, 3, 3, 8).permute(2, 0, 3, 1, 4)
    same_stages(seen[0], attention(q, k, v))


def test_timm_gives_the_same_stages_fused_or_not() -> None:
    images = normal(2, 3, 32, 32)
    fused, explicit = (
        see(timm_model("vit_tiny_patch16_224", f, **VIT), x=images) for f in (True, False)
    )
    for one, other in zip(fused.records, explicit.records, strict=True):
        for stage in ("scores", "scaled", "masked", "weights", "context", "output"):
            close(getattr(one, stage), array(getattr(other, stage)))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("name", "options", "size", "shape"),
    [
        # a class token and registers on a grid that is not square
        ("vit_small_patch14_reg4_dinov2", {**VIT, "img_size": (28, 42)}, (28, 42), (2, 3, 11, 11)),
        # windows: they share the first axis with the batch
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
        # heads that talk to one another: a mixture of scores, and of weights
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
    seen = see(timm_model(name, fused, **options), x=normal(2, 3, *size))
    assert seen[0].weights.shape == shape
    assert seen[0].weights.sum(-1).sub(1.0).abs().max() < 1e-12


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
    with torch.set_grad_enabled(not no_grad), ch.capture() as seen:
        looked_at = model(images)
    torch.testing.assert_close(looked_at, plain, atol=1e-12, rtol=1e-12)
    assert seen.names == tuple(f"encoder.layers.encoder_layer_{i}.self_attention" for i in (0, 1))
    seen.verify()
    assert seen.to_tensor().shape == (2, 2, 3, 17, 17)
