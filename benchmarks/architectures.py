"""Tests which architectures of timm, torchvision and transformers can be recorded and verified.

    python benchmarks/architectures.py [--only PATTERN] [--out docs/architectures.md]

Every model is built from its configuration with random weights, run once inside `capture`, and
verified. For an architecture without a softmax over products of queries and keys, the table names
what it computes instead.
"""

import argparse
import copy
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.torchvision_operators import TORCHVISION  # isort: skip

import timm
import torchvision
import transformers
from timm.layers.config import set_fused_attn

import clearhead as ch

__all__ = ["TORCHVISION"]

hf: Any = transformers  # its classes are looked up by name

HEAD = """\
# Architectures

[`capture`](recording.md) applied to {count} architectures, each with random weights and one forward
pass on {machine}, with torch {torch}, timm {timm}, torchvision {torchvision} and transformers
{transformers}. In {verified} of {runs} runs all attentions were recorded and verified; the last
column gives the reason for the others. This page is written by

```sh
python benchmarks/architectures.py
```

BigBird is recorded with full attention; its block-sparse attention and Nyströmformer's landmarks
are [listed as not recorded](recording.md#what-is-not-recorded).

- **implementation**: fused or sdpa, one call of `scaled_dot_product_attention`; explicit or eager,
  separate operations
- **attentions**: number of recorded attentions
- **first**: heads × queries × keys of the first one
- **error**: largest relative difference between weights · V and the model's output
- **tolerance**: largest difference that rounding in float32 explains

| library | architecture | implementation | attentions | first | error | tolerance | result |
|---|---|---|--:|--:|--:|--:|---|
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One architecture with one implementation of attention."""

    library: str
    name: str
    implementation: str
    build: Callable[[], nn.Module]
    inputs: Callable[[nn.Module], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The result for one case; `why` is the reason of a failure, empty if all was verified."""

    case: Case
    attentions: int = 0
    first: tuple[int, ...] = ()
    error: float = 0.0
    tolerance: float = 0.0
    why: str = ""

    @property
    def verified(self) -> bool:
        """Whether attention was recorded and every record verified."""
        return not self.why

    def __str__(self) -> str:
        case = self.case
        figures = ("", "", "", "")
        if self.attentions:
            size = " × ".join(map(str, self.first))
            figures = (str(self.attentions), size, f"{self.error:.1e}", f"{self.tolerance:.1e}")
        cells = (case.library, case.name, case.implementation, *figures, self.why or "verified")
        return f"| {' | '.join(cells)} |"


def record(case: Case) -> ch.Recording:
    """Build the model and record one forward pass."""
    torch.manual_seed(0)
    model = case.build().eval()
    spread(model)
    inputs = case.inputs(model)
    with torch.no_grad(), ch.capture() as recording:
        model(**inputs)
    return recording


def measure(case: Case) -> Row:
    """Record one forward pass and verify it."""
    try:
        recording = record(case)
        verifications = recording.verify()
    except ch.errors.NothingCapturedError as error:
        return Row(case=case, why=WITHOUT.get(case.name) or str(error).split(". ")[0])
    except ch.errors.CaptureError as error:
        return Row(case=case, why=str(error).split("; ")[0])
    worst = max(verifications, key=lambda x: x.output_error / x.tolerance)
    return Row(
        case=case,
        attentions=len(verifications),
        first=tuple(recording[0].weights.shape[-3:]),
        error=worst.output_error,
        tolerance=worst.tolerance,
    )


def spread(model: nn.Module) -> None:
    """Scale every matrix to keep the variance of its input.

    Libraries initialise weights so small that all scores are nearly zero and all rows of attention
    nearly uniform; a wrong scale or a wrong key would hardly show there.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2 and parameter.numel() > 1 and bool(parameter.std() > 0):
                parameter.mul_(parameter.shape[1] ** -0.5 / parameter.std())


# Architectures without a softmax over products of queries and keys, and what they compute instead.
WITHOUT = {
    "coat_tiny": "no such attention: softmax over the keys alone, times values first (factorised)",
    "coat_lite_tiny": "no such attention: softmax over the keys alone, times values first",
    "efficientvit_b0": "no such attention: ReLU instead of softmax (linear attention)",
    "mobilevitv2_050": "no such attention: one context vector for all queries",
    "lambda_resnet26t": "no such attention: lambdas, softmax over the keys alone",
    "swiftformer_xs": "no such attention: additive, one global query",
    "sequencer2d_s": "no attention: LSTMs mix the tokens",
    "poolformer_s12": "no attention: pooling mixes the tokens",
    "mixer_s16_224": "no attention: an MLP mixes the tokens",
    "repvit_m0_9": "no attention: convolutions",
    "inception_next_tiny": "no attention: convolutions",
    "resnet18": "no attention: convolutions",
    "FNet": "no attention: Fourier transforms mix the tokens",
    "PoolFormer": "no attention: pooling mixes the tokens",
    "FocalNet": "no attention: gated convolutions mix the tokens",
    "ConvNext": "no attention: convolutions",
    "Mamba": "no attention: a state space model",
    "Mamba2": "no attention: a state space model",
    "Rwkv": "no attention: a weighted running mean",
    "Longformer": "not recorded: banded scores are sliced and joined between the products",
}

# timm's names, with options that make large models smaller.
TIMM: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {},
    "vit_relpos_small_patch16_224": {"depth": 4},
    "vit_so150m_patch16_reg4_gap_256": {"img_size": 96, "depth": 4},
    "flexivit_small": {"img_size": 96},
    "naflexvit_base_patch16_gap": {"depth": 2},
    "samvit_base_patch16_224": {"depth": 4},
    "vit_base_mci_224": {"depth": 2},
    "vitamin_small_224": {},
    "deit_tiny_distilled_patch16_224": {},
    "deit3_small_patch16_224": {"depth": 4},
    "beit_base_patch16_224": {"depth": 2},
    "beitv2_base_patch16_224": {"depth": 2},
    "beit3_base_patch16_224": {"depth": 2},
    "eva02_tiny_patch14_224": {},
    "vit_small_patch14_dinov2": {"img_size": (70, 98)},
    "vit_small_patch14_reg4_dinov2": {"img_size": (70, 98)},
    "vit_small_patch16_dinov3": {"depth": 4},
    "vit_pe_core_tiny_patch16_384": {"img_size": 128},
    "vit_base_patch16_siglip_224": {"depth": 2},
    "vit_base_patch32_clip_224": {"depth": 2},
    "cait_xxs24_224": {"depth": 4},
    "xcit_nano_12_p16_224": {},
    "convit_tiny": {},
    "crossvit_tiny_240": {},
    "swin_tiny_patch4_window7_224": {},
    "swinv2_tiny_window8_256": {},
    "swinv2_cr_tiny_ns_224": {},
    "swin_s3_tiny_224": {},
    "maxvit_tiny_rw_224": {},
    "maxvit_tiny_tf_224": {},
    "maxxvit_rmlp_nano_rw_256": {},
    "coatnet_nano_rw_224": {},
    "levit_128s": {},
    "mvitv2_tiny": {},
    "pvt_v2_b0": {},
    "twins_svt_small": {},
    "twins_pcpvt_small": {},
    "tnt_s_patch16_224": {},
    "volo_d1_224": {},
    "pit_ti_224": {},
    "visformer_tiny": {},
    "nest_tiny": {},
    "gcvit_xxtiny": {},
    "davit_tiny": {},
    "edgenext_xx_small": {},
    "efficientformer_l1": {},
    "efficientformerv2_s0": {},
    "efficientvit_m0": {},
    "mobilevit_xxs": {},
    "fastvit_sa12": {},
    "tiny_vit_5m_224": {},
    "hiera_tiny_224": {},
    "caformer_s18": {},
    "nextvit_small": {},
    "shvit_s1": {},
    "botnet26t_256": {},
    "halonet26t": {},
    "mobilenetv4_hybrid_medium": {},
    "resnet50_clip": {},
    "coat_tiny": {},
    "coat_lite_tiny": {},
    "efficientvit_b0": {},
    "mobilevitv2_050": {},
    "lambda_resnet26t": {},
    "swiftformer_xs": {},
    "sequencer2d_s": {},
    "poolformer_s12": {},
    "mixer_s16_224": {},
    "repvit_m0_9": {},
    "inception_next_tiny": {},
    "resnet18": {},
}

# These have no fused implementation, with any setting of timm.
EXPLICIT = frozenset(
    "convit_tiny swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_ns_224 "
    "swin_s3_tiny_224 levit_128s mvitv2_tiny tnt_s_patch16_224 visformer_tiny gcvit_xxtiny "
    "edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientvit_m0 shvit_s1 "
    "botnet26t_256 halonet26t".split()
)


def timm_cases() -> Iterator[Case]:
    """Each model fused, where it has a fused implementation, and explicit."""

    def build(name: str, fused: bool) -> nn.Module:
        set_fused_attn(fused)
        try:
            model: nn.Module = timm.create_model(name, pretrained=False, **TIMM[name])
        finally:
            set_fused_attn(True)
        return model

    def inputs(name: str, model: Any) -> dict[str, Any]:
        size = TIMM[name].get("img_size") or model.default_cfg["input_size"][-1]
        sides = size if isinstance(size, tuple) else (size, size)
        return {"x": torch.randn(1, 3, *sides)}

    for name in TIMM:
        for fused in (False,) if name in WITHOUT or name in EXPLICIT else (True, False):
            yield Case(
                library="timm",
                name=name,
                implementation="" if name in WITHOUT else "fused" if fused else "explicit",
                build=partial(build, name, fused),
                inputs=partial(inputs, name),
            )


def torchvision_cases() -> Iterator[Case]:
    """All its models with attention; they have one implementation each."""

    def inputs(size: int, _: nn.Module) -> dict[str, Any]:
        return {"x": torch.randn(1, 3, size, size)}

    for name, size in (("vit_b_32", 96), ("swin_t", 64), ("swin_v2_t", 64), ("maxvit_t", 224)):
        options = {"image_size": size} if name == "vit_b_32" else {}
        yield Case(
            library="torchvision",
            name=name,
            implementation="",
            build=partial(torchvision.models.get_model, name, **options),
            inputs=partial(inputs, size),
        )


VOCABULARY = 99
SIZES = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 64,
}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WORDS = {"vocab_size": VOCABULARY, **ENDS, **SIZES}
GROUPS = {**WORDS, "num_key_value_heads": 2}
GPT = {"vocab_size": VOCABULARY, "n_embd": 48, "n_layer": 2, "n_head": 6, **ENDS}
PATCHES = {**SIZES, "image_size": 32, "patch_size": 8}
BOTH = {
    **ENDS,
    "vocab_size": VOCABULARY,
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "decoder_start_token_id": 1,
}
T5 = {
    **ENDS,
    "vocab_size": VOCABULARY,
    "d_model": 48,
    "num_layers": 2,
    "num_heads": 3,
    "d_kv": 16,
    "d_ff": 64,
    "decoder_start_token_id": 1,
}
WAVES = {
    **SIZES,
    "conv_dim": (16, 16),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer",
}
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
TWO = {
    "text_config": {"vocab_size": VOCABULARY, **SIZES, **ENDS},
    "vision_config": PATCHES,
    "projection_dim": 32,
}
STAGES = {"image_size": 32, "depths": [2, 2], "num_heads": [2, 3], "window_size": 4}
RESNET = {"embedding_size": 16, "hidden_sizes": [16] * 4, "depths": [1] * 4}
DETR = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_queries": 5,
}

# Prefix of the class: kind of inputs, configuration.
HF: dict[str, tuple[str, dict[str, Any]]] = {
    "Bert": ("text", WORDS),
    "DistilBert": ("text", {**ENDS, "vocab_size": 99, "dim": 48, "n_layers": 2, "n_heads": 3}),
    "Roberta": ("text", WORDS),
    "XLMRoberta": ("text", WORDS),
    "Albert": ("text", {**WORDS, "embedding_size": 16}),
    "Electra": ("text", {**WORDS, "embedding_size": 16}),
    "Deberta": ("text", {**WORDS, **DISENTANGLED}),
    "DebertaV2": ("text", {**WORDS, **DISENTANGLED}),
    "ModernBert": ("text", {**WORDS, "cls_token_id": 1, "sep_token_id": 2}),
    "MPNet": ("text", WORDS),
    "ConvBert": ("text", {**WORDS, "embedding_size": 48, "head_ratio": 2}),
    "RoFormer": ("text", {**WORDS, "embedding_size": 48}),
    "SqueezeBert": ("text", {**WORDS, "embedding_size": 48}),
    "MobileBert": ("text", {**WORDS, "embedding_size": 16, "intra_bottleneck_size": 24}),
    "IBert": ("text", WORDS),
    "Esm": ("text", {**WORDS, "position_embedding_type": "rotary"}),
    "BigBird": ("text", {**WORDS, "attention_type": "original_full"}),
    "Funnel": ("text", {"vocab_size": 99, "d_model": 48, "n_head": 3, "d_head": 16, "d_inner": 64,
                        "block_sizes": [1, 1], "num_decoder_layers": 1}),
    "XLNet": ("text", {"vocab_size": 99, "d_model": 48, "n_layer": 2, "n_head": 3, "d_inner": 64}),
    "Longformer": ("text", {**WORDS, "attention_window": 4}),
    "FNet": ("ids", WORDS),
    "GPT2": ("text", GPT),
    "GPTNeo": ("text", {**ENDS, "vocab_size": 99, "hidden_size": 48, "num_layers": 2,
                        "num_heads": 3, "attention_types": [[["global", "local"], 1]]}),
    "GPTNeoX": ("text", WORDS),
    "GPTJ": ("text", {**GPT, "rotary_dim": 4}),
    "GPTBigCode": ("text", GPT),
    "CodeGen": ("text", {**GPT, "n_head": 4, "rotary_dim": 4}),
    "OPT": ("text", {**ENDS, "vocab_size": 99, "hidden_size": 48, "num_hidden_layers": 2,
                     "num_attention_heads": 6, "ffn_dim": 64, "word_embed_proj_dim": 48}),
    "Bloom": ("text", {**ENDS, "vocab_size": 99, "hidden_size": 48, "n_layer": 2, "n_head": 3}),
    "Falcon": ("text", WORDS),
    "Mpt": ("text", {"vocab_size": 99, "d_model": 48, "n_layers": 2, "n_heads": 4}),
    "Llama": ("text", GROUPS),
    "Mistral": ("text", {**GROUPS, "sliding_window": 4}),
    "Mixtral": ("text", {**GROUPS, **EXPERTS}),
    "Qwen2": ("text", GROUPS),
    "Qwen3": ("text", {**GROUPS, "head_dim": 8}),
    "Gemma": ("text", {**GROUPS, "head_dim": 8}),
    "Gemma2": ("text", {**GROUPS, "head_dim": 8}),
    "Gemma3Text": ("text", {**GROUPS, "head_dim": 8}),
    "Phi": ("text", GROUPS),
    "Phi3": ("text", GROUPS),
    "Cohere": ("text", GROUPS),
    "Olmo2": ("text", GROUPS),
    "StableLm": ("text", GROUPS),
    "Starcoder2": ("text", GROUPS),
    "Granite": ("text", GROUPS),
    "DeepseekV3": ("text", {**WORDS, "num_key_value_heads": 6, "q_lora_rank": 16,
                            "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4,
                            "v_head_dim": 8, "first_k_dense_replace": 2}),
    "GptOss": ("text", {**GROUPS, **EXPERTS, "head_dim": 8}),
    "T5": ("texts", T5),
    "MT5": ("texts", T5),
    "Bart": ("texts", BOTH),
    "MBart": ("texts", BOTH),
    "Pegasus": ("texts", BOTH),
    "Marian": ("texts", BOTH),
    "M2M100": ("texts", BOTH),
    "Blenderbot": ("texts", BOTH),
    "Whisper": ("mel", {**BOTH, "num_mel_bins": 8, "max_source_positions": 15}),
    "Wav2Vec2": ("sound", WAVES),
    "Hubert": ("sound", WAVES),
    "WavLM": ("sound", WAVES),
    "ASTModel": ("spectrogram", {**SIZES, "patch_size": 8, "num_mel_bins": 16, "max_length": 40}),
    "ViT": ("image", PATCHES),
    "DeiT": ("image", PATCHES),
    "Beit": ("image", {**PATCHES, "use_relative_position_bias": True}),
    "ViTMAE": ("image", PATCHES),
    "ViTMSN": ("image", PATCHES),
    "Dinov2": ("image", PATCHES),
    "Dinov2WithRegisters": ("image", PATCHES),
    "DINOv3ViT": ("image", PATCHES),
    "IJepa": ("image", PATCHES),
    "Yolos": ("image", {**PATCHES, "image_size": [32, 32], "num_detection_tokens": 5}),
    "Swin": ("image", {**STAGES, "patch_size": 2, "embed_dim": 24}),
    "Swinv2": ("image", {**STAGES, "patch_size": 2, "embed_dim": 24}),
    "Hiera": ("image", {"image_size": [32, 32], "embed_dim": 12, "depths": [1, 1],
                        "num_heads": [1, 2], "num_query_pool": 1, "masked_unit_size": [4, 4]}),
    "Segformer": ("image", {"depths": [1] * 4, "hidden_sizes": [16, 16, 32, 32],
                            "num_attention_heads": [1, 1, 2, 2]}),
    "PvtV2": ("image", {"image_size": 32, "depths": [1] * 4, "hidden_sizes": [16, 16, 32, 32],
                        "num_attention_heads": [1, 1, 2, 2]}),
    "Cvt": ("image", {"embed_dim": [12, 24, 24], "num_heads": [1, 2, 2], "depth": [1, 2, 3]}),
    "MobileViT": ("image", {"image_size": 64, "hidden_sizes": [24, 24, 24],
                            "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16],
                            "num_attention_heads": 2}),
    "Detr": ("picture", DETR),
    "ConditionalDetr": ("picture", DETR),
    "TimesformerModel": ("video", {**PATCHES, "num_frames": 2}),
    "VideoMAE": ("video", {**PATCHES, "num_frames": 2}),
    "Vivit": ("video", {**PATCHES, "num_frames": 2, "tubelet_size": [2, 8, 8]}),
    "CLIP": ("pair", TWO),
    "Siglip": ("pair", TWO),
    "Siglip2Vision": ("patches", {**SIZES, "num_patches": 16, "patch_size": 8}),
    "ChineseCLIP": ("pair", TWO),
    "ViltModel": ("pair", {**WORDS, **PATCHES}),
    "Perceiver": ("latent", {"num_latents": 6, "d_latents": 48, "d_model": 24, "num_blocks": 1,
                             "num_self_attends_per_block": 2, "num_self_attention_heads": 3,
                             "num_cross_attention_heads": 3}),
    "PoolFormer": ("image", {"image_size": 32, "depths": [1] * 4, "hidden_sizes": [8] * 4}),
    "FocalNet": ("image", {"image_size": 32, "embed_dim": 8, "depths": [1, 1],
                           "hidden_sizes": [8, 16], "focal_levels": [1, 1],
                           "focal_windows": [3, 3]}),
    "ConvNext": ("image", {"depths": [1] * 4, "hidden_sizes": [8] * 4}),
    "Mamba": ("ids", {**WORDS}),
    "Mamba2": ("ids", {**WORDS, "num_heads": 6, "head_dim": 16, "n_groups": 1}),
    "Rwkv": ("ids", {**WORDS, "attention_hidden_size": 48}),
}  # fmt: skip


# Their backbone here does not support sdpa, so neither does the whole model.
EAGER_BACKBONE = ("Detr", "ConditionalDetr")


def hf_inputs(kind: str, model: Any) -> dict[str, Any]:
    """Inputs of one kind: a batch of two, the second text with padding."""
    ids = torch.randint(5, 90, (2, 11))
    padding = torch.ones(2, 11, dtype=torch.long)
    padding[1, 8:] = 0
    side = getattr(model.config, "image_size", 32)
    side = side if isinstance(side, int) else 32
    kinds: dict[str, dict[str, Any]] = {
        "ids": {"input_ids": ids},
        "text": {"input_ids": ids, "attention_mask": padding},
        "image": {"pixel_values": torch.randn(2, 3, side, side)},
        "picture": {"pixel_values": torch.randn(2, 3, 64, 96)},
        "video": {"pixel_values": torch.randn(2, 2, 3, 32, 32)},
        "mel": {"input_features": torch.randn(2, 8, 30), "decoder_input_ids": ids[:, :7]},
        "sound": {"input_values": torch.randn(2, 400)},
        "spectrogram": {"input_values": torch.randn(2, 40, 16)},
        "latent": {"inputs": torch.randn(2, 9, 24)},
        "patches": {
            "pixel_values": torch.randn(2, 16, 192),
            "pixel_attention_mask": torch.ones(2, 16, dtype=torch.long),
            "spatial_shapes": torch.tensor([[4, 4], [2, 8]]),
        },
    }
    kinds["texts"] = {**kinds["text"], "decoder_input_ids": ids[:, :7]}
    kinds["pair"] = {**kinds["text"], "pixel_values": torch.randn(2, 3, 32, 32)}
    return kinds[kind]


def hf_config(name: str) -> Any:
    """A small configuration of an architecture."""
    options = copy.deepcopy(HF[name][1])
    if name in EAGER_BACKBONE:
        options["backbone_config"] = hf.ResNetConfig(**RESNET, out_features=["stage4"])
    return getattr(hf, f"{name.removesuffix('Model')}Config")(**options)


def hf_model(name: str) -> Any:
    """The model class of an architecture."""
    return getattr(hf, f"{name.removesuffix('Model')}Model")


def hf_cases(names: Iterable[str] = HF) -> Iterator[Case]:
    """Each model with sdpa, where it supports it, and eager."""

    def build(name: str, implementation: str) -> nn.Module:
        config = hf_config(name)
        config._attn_implementation = implementation
        model: nn.Module = hf_model(name)(config)
        return model

    for name in names:
        kind, _ = HF[name]
        fused = getattr(hf_model(name), "_supports_sdpa", False)
        single = name in WITHOUT or name in EAGER_BACKBONE
        for implementation in ("sdpa", "eager") if fused and not single else ("eager",):
            yield Case(
                library="transformers",
                name=name.removesuffix("Model"),
                implementation="" if name in WITHOUT else implementation,
                build=partial(build, name, implementation),
                inputs=partial(hf_inputs, kind),
            )


def cases() -> list[Case]:
    """All cases, in the order of the page."""
    return [*timm_cases(), *torchvision_cases(), *hf_cases()]


def page(rows: list[Row]) -> str:
    """The whole page as Markdown."""
    head = HEAD.format(
        count=len({(row.case.library, row.case.name) for row in rows}),
        runs=len(rows),
        verified=sum(row.verified for row in rows),
        machine=f"{os.cpu_count()} cores ({platform.machine()})",
        torch=torch.__version__,
        timm=timm.__version__,
        torchvision=torchvision.__version__,
        transformers=transformers.__version__,
    )
    return head + "\n".join(map(str, rows)) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="*", help="a shell pattern of names")
    parser.add_argument("--out", type=Path, default=None, help="the file of the page")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    hf.logging.set_verbosity_error()

    rows = []
    for case in cases():
        if fnmatchcase(case.name.lower(), options.only.lower()):
            rows.append(measure(case))
            print(rows[-1], flush=True)
    out = options.out or (ROOT / "docs" / "architectures.md" if options.only == "*" else None)
    if out is not None:
        out.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
