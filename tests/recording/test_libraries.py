"""Models of timm, torchvision and transformers, against the weights that transformers returns."""

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

import clearhead as ch
from clearhead import insight
from clearhead.recording import Recording

from .models import SIZES, T5, VIT, bart, gpt2, gpt_oss, hf, hf_model, llama, timm_model
from .reference import assert_close, assert_stages, attention, generator, normal

IDS = torch.randint(5, 90, (2, 11), generator=generator())
PADDING = torch.ones(2, 11, dtype=torch.long)
PADDING[1, 8:] = 0
TEXT: dict[str, Any] = {"input_ids": IDS, "attention_mask": PADDING}
LEFT: dict[str, Any] = {"input_ids": IDS, "attention_mask": PADDING.flip(1)}
IMAGES = normal(2, 3, 32, 32)
implementations = pytest.mark.parametrize("implementation", ["eager", "sdpa"])


def record(model: nn.Module, **inputs: Any) -> Recording:
    with torch.no_grad(), ch.capture() as recording:
        model(**inputs)
    assert all(verification.passed for verification in recording.verify())
    return recording


def own_weights(model: Any, field: str = "attentions", **inputs: Any) -> tuple[Tensor, ...]:
    """The library's own weights, by its eager implementation."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        weights: tuple[Tensor, ...] = model(**inputs, output_attentions=True)[field]
    assert len(weights) > 0
    return weights


def record_both(model: Any, dtype: torch.dtype = torch.float64, **inputs: Any) -> Recording:
    """The recording of sdpa, whose stages equal those of eager; `dtype` is eager's softmax's."""
    recordings = []
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        recordings.append(record(model, **inputs))
    eager, fused = recordings
    assert fused.names == eager.names
    for x, y in zip(fused.records, eager.records, strict=True):
        for name in ("scores", "scaled", "weights"):
            assert_close(getattr(x, name), getattr(y, name), dtype)
    return fused


def assert_weights(recording: Recording, own: tuple[Tensor, ...], *, atol: float = 1e-12) -> None:
    for weights, expected in zip(recording.to_hf(), own, strict=True):
        assert weights.shape == expected.shape
        np.testing.assert_allclose(weights, expected, atol=atol)


def test_an_encoder_with_padding() -> None:
    model = hf_model("BertModel", **SIZES)
    recording = record_both(model, **TEXT)
    assert recording.names == tuple(f"encoder.layer.{i}.attention.self" for i in (0, 1))
    assert_weights(recording, own_weights(model, **TEXT))
    assert recording[0].weights[1, :, :, 8:].eq(0.0).all()


def test_causal_grouped_queries_with_padding() -> None:
    model = llama().double()  # but the softmax of eager is always in float32
    recording = record_both(model, torch.float32, **TEXT)
    assert recording.names == ("model.layers.0.self_attn", "model.layers.1.self_attn")
    assert_weights(recording, own_weights(model, **TEXT), atol=1e-6)
    assert recording[0].weights.shape == (2, 6, 11, 11)
    assert recording[0].weights.triu(1).eq(0.0).all()
    assert recording[0].weights[1, :, :, 8:].eq(0.0).all()


@implementations
def test_causal_grouped_queries_with_padding_on_the_left(implementation: str) -> None:
    model = llama()
    own = own_weights(model, **LEFT)
    model.set_attn_implementation(implementation)
    for weights, expected in zip(record(model, **LEFT).to_hf(), own, strict=True):
        np.testing.assert_allclose(weights[0], expected[0], atol=2e-5)
        # rows of padded queries differ between implementations
        np.testing.assert_allclose(weights[1, :, 3:], expected[1, :, 3:], atol=2e-5)
        assert weights[1, :, 3:, :3].eq(0.0).all()


@implementations
@pytest.mark.parametrize("new", [1, 2, 3])
@pytest.mark.parametrize("padded", [False, True])
def test_steps_of_decoding_with_grouped_queries(
    implementation: str, new: int, padded: bool
) -> None:
    """Three query heads share a key head; with one new token, transformers packs them together."""
    model = llama()
    inputs: dict[str, Any] = dict(LEFT) if padded else {"input_ids": IDS}

    def step(attentions: bool = False) -> Any:
        with torch.no_grad():
            past = model(**inputs, use_cache=True).past_key_values
            grown = {**inputs, "input_ids": IDS[:, :new], "past_key_values": past}
            if padded:
                mask = inputs["attention_mask"]
                grown["attention_mask"] = torch.cat([mask, mask.new_ones(2, new)], 1)
            with ch.capture(copies=True) as recording:
                output = model(**grown, output_attentions=attentions)
        return recording, output

    model.set_attn_implementation("eager")
    own = step(attentions=True)[1].attentions
    model.set_attn_implementation(implementation)
    recording, _ = step()
    recording.verify()
    assert recording[0].shape == (2, 6, new, 11 + new)
    for record, expected in zip(recording.records, own, strict=True):
        np.testing.assert_allclose(record.weights, expected, atol=2e-5)
        part = record.stages(batch=1, heads=[4], queries=-1)
        np.testing.assert_allclose(part.weights, expected[1:, 4:5, -1:], atol=2e-5)


def test_intervening_in_a_step_of_decoding_with_grouped_queries() -> None:
    model = llama()
    model.set_attn_implementation("sdpa")
    layer = model.model.layers[1].self_attn
    with torch.no_grad():
        past = model(**LEFT, use_cache=True).past_key_values
        rest = {"input_ids": IDS[:, :1], "past_key_values": past}
        rest["attention_mask"] = torch.cat([LEFT["attention_mask"], torch.ones(2, 1)], 1).long()
        inputs: list[Tensor] = []
        hook = layer.o_proj.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))

        def only_head_4(record: ch.AttentionRecord) -> Tensor:
            return record.output * torch.eye(6)[4][:, None, None]

        with ch.intervene(only_head_4, layers="*1.self_attn"):
            model(**rest)
        hook.remove()
    by_head = inputs[0].unflatten(-1, (6, -1)).abs().sum(-1)[:, 0]
    assert by_head[:, 4].gt(0).all()
    assert by_head[:, [0, 1, 2, 3, 5]].eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@implementations
def test_half_precision_with_padding_on_the_left(implementation: str, dtype: torch.dtype) -> None:
    model = llama().to(dtype)
    model.set_attn_implementation(implementation)
    for weights in record(model, **LEFT).to_hf():
        assert weights[0].triu(1).eq(0.0).all()
        assert weights[1, :, 3:, :3].eq(0.0).all()


def test_an_encoder_and_a_decoder_with_cross_attention() -> None:
    model = bart("BartModel")
    inputs = {**TEXT, "decoder_input_ids": IDS[:, :7]}
    recording = record_both(model, **inputs)
    for field, part in (
        ("encoder_attentions", "encoder.layers"),
        ("decoder_attentions", "self_attn"),
        ("cross_attentions", "encoder_attn"),
    ):
        records = {name: x for name, x in recording.items() if part in name}
        if field == "decoder_attentions":
            records = {name: x for name, x in records.items() if name.startswith("decoder")}
        assert_weights(Recording(records), own_weights(model, field, **inputs))
    assert recording["decoder.layers.0.encoder_attn"].weights.shape == (2, 6, 7, 11)


def test_position_bias_without_a_scale() -> None:
    model = hf_model("T5EncoderModel", **T5)
    recording = record(model, **TEXT)
    assert_weights(recording, own_weights(model, **TEXT))
    assert_close(recording[0].scaled, recording[0].scores)


def test_one_record_per_step_of_generation() -> None:
    with ch.capture() as recording:
        gpt2().generate(IDS[:1], max_new_tokens=3, min_new_tokens=3, do_sample=False)
    recording.verify()
    layers = [f"transformer.h.{i}.attn" for i in (0, 1)]
    assert recording.names == tuple(f"{x}{call}" for call in ("", "#2", "#3") for x in layers)
    shapes = [record.weights.shape[-2:] for record in recording.records[::2]]
    assert shapes == [(11, 11), (1, 12), (1, 13)]


@pytest.mark.parametrize("fused", [False, True])
def test_a_vision_transformer_of_timm(fused: bool) -> None:
    model = timm_model(fused)
    block: Any = model.get_submodule("blocks.0")
    tokens: list[Tensor] = []
    block.attn.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0]))
    recording = record(model, x=IMAGES)
    assert recording.names == ("blocks.0.attn", "blocks.1.attn")
    assert recording.to_tensor().shape == (2, 2, 3, 5, 5)
    q, k, v = block.attn.qkv(tokens[0]).reshape(2, 5, 3, 3, 8).permute(2, 0, 3, 1, 4)
    assert_stages(recording[0], attention(q, k, v))


SWIN = {"img_size": 32, "embed_dim": 12, "depths": (2,), "num_heads": (3,), "window_size": 4}
CAIT = {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 3}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("name", "options", "size", "shape"),
    [
        # registers, and a grid that is not square
        ("vit_small_patch14_reg4_dinov2", VIT | {"img_size": (28, 42)}, (28, 42), (2, 3, 11, 11)),
        # windows, which share the first axis with the batch
        ("swin_tiny_patch4_window7_224", SWIN, (32, 32), (8, 3, 16, 16)),
        # attention between channels
        ("xcit_nano_12_p16_224", CAIT, (32, 32), (2, 3, 8, 8)),
        # talking heads: mixtures of scores, and of weights
        ("cait_xxs24_224", CAIT, (32, 32), (2, 3, 4, 4)),
    ],
)
def test_other_models_of_timm(
    name: str, options: Any, size: tuple[int, int], shape: tuple[int, ...], fused: bool
) -> None:
    recording = record(timm_model(fused, name, **options), x=normal(2, 3, *size))
    assert recording[0].weights.shape == shape
    assert recording[0].weights.sum(-1).sub(1.0).abs().max() < 1e-12


@pytest.mark.parametrize("grad", [False, True])
def test_the_vision_transformer_of_torchvision(grad: bool) -> None:
    torch.manual_seed(0)
    sizes = {"num_layers": 2, "num_heads": 3, "hidden_dim": 24, "mlp_dim": 8}
    model = torchvision.models.VisionTransformer(image_size=32, patch_size=8, **sizes)
    model.double().eval()
    plain = model(IMAGES)
    with torch.set_grad_enabled(grad), ch.capture() as recording:
        assert_close(model(IMAGES), plain)
    assert recording.names == tuple(
        f"encoder.layers.encoder_layer_{i}.self_attention" for i in (0, 1)
    )
    recording.verify()
    assert recording.to_tensor().shape == (2, 2, 3, 17, 17)


def test_sinks_are_not_tokens_in_exports_and_rollout() -> None:
    model = gpt_oss(sliding_window=4)
    own = own_weights(model, input_ids=IDS)
    recording = record(model, input_ids=IDS)
    assert recording[0].weights.shape == (2, 6, 11, 12)
    assert recording[0].weights.sum(-1).sub(1.0).abs().max() < 1e-6
    np.testing.assert_allclose(recording[0].applied_weights, own[0], atol=1e-6)
    assert_weights(recording, own, atol=1e-6)
    tokens = [str(number) for number in range(11)]
    weights, _ = recording.to_bertviz(tokens, 1)
    np.testing.assert_allclose(weights[1], own[1][1:], atol=1e-6)
    layers = [x.double().mean(1) for x in own]
    first, second = (y / y.sum(-1, keepdim=True) for y in (x + torch.eye(11) for x in layers))
    np.testing.assert_allclose(insight.rollout(recording), second @ first, atol=1e-6)
    matrix = insight.weight_matrix(recording[1], insight.Words(tuple(tokens)), image=1)
    np.testing.assert_allclose(matrix.weights, own[1][1], atol=1e-6)
    relevance = insight.class_relevance(
        model, {"input_ids": IDS}, score=lambda output: output.last_hidden_state[:, -1, 3]
    )
    assert relevance.matrix.shape == (2, 11, 11)


def test_places_of_a_static_cache_are_not_tokens_in_exports_and_rollout() -> None:
    model = llama()
    model.set_attn_implementation("eager")  # "sdpa" drops these places where it needs no mask
    expected = record(model, input_ids=IDS)
    cache: Any = hf.StaticCache(config=model.config, max_cache_len=20)
    mask = torch.ones(2, 11, dtype=torch.long)
    mask[1, :2] = 0
    with torch.no_grad(), ch.capture(copies=True) as recording:
        model(input_ids=IDS, attention_mask=mask, past_key_values=cache)
    recording.verify()
    with torch.no_grad(), ch.capture() as recording:
        model(input_ids=IDS, past_key_values=hf.StaticCache(model.config, max_cache_len=20))
    assert recording[0].shape[-1] == 20
    weights, _ = recording.to_bertviz([str(number) for number in range(11)])
    for one, other in zip(weights, expected.to_hf(), strict=True):
        np.testing.assert_allclose(one, other[:1], atol=1e-5)
    np.testing.assert_allclose(insight.rollout(recording), insight.rollout(expected), atol=1e-5)


def test_cross_attention_for_bertviz() -> None:
    model = bart("BartModel")
    inputs = {**TEXT, "decoder_input_ids": IDS[:, :7]}
    recording = record(model, **inputs)
    source, target = [f"s{number}" for number in range(11)], [f"t{number}" for number in range(7)]
    arguments = recording.to_bertviz(target, 1, key_tokens=source)
    own = own_weights(model, "cross_attentions", **inputs)
    assert (arguments["encoder_tokens"], arguments["decoder_tokens"]) == (source, target)
    for weights, expected in zip(arguments["cross_attention"], own, strict=True):
        assert_close(weights, expected[1:])
    with pytest.raises(ch.errors.CaptureError, match="7 and 8 tokens were given"):
        recording.to_bertviz(target, key_tokens=source[:8])
