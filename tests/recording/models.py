"""Small models of timm and transformers with random weights, in float64."""

import re
from typing import Any

import timm
import torch
import transformers
from timm.layers.config import set_fused_attn
from torch import nn

hf: Any = transformers  # its configurations accept more than their types

ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
VIT = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 3}


def timm_model(fused: bool, name: str = "vit_tiny_patch16_224", **options: Any) -> nn.Module:
    torch.manual_seed(0)
    set_fused_attn(fused)
    try:
        model: nn.Module = timm.create_model(name, num_classes=5, **(options or VIT))
    finally:
        set_fused_attn(True)
    return model.double().eval()


def hf_model(name: str, implementation: str = "eager", **options: Any) -> Any:
    """A model by its class, with a vocabulary of 99 words."""
    torch.manual_seed(0)
    kind = re.sub(r"(Encoder|LMHead)?Model$|For(CausalLM|ConditionalGeneration)$", "", name)
    config = getattr(hf, f"{kind}Config")(**{"vocab_size": 99, **ENDS, **options})
    config._attn_implementation = implementation
    return getattr(hf, name)(config).double().eval()


SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 32,
    "initializer_range": 0.3,  # by default, weights are nearly uniform
}
T5: dict[str, Any] = {"d_model": 48, "num_layers": 2, "num_heads": 3, "d_kv": 7, "d_ff": 16}


def llama(name: str = "LlamaForCausalLM", **options: Any) -> Any:
    """With grouped queries, in float32."""
    return hf_model(name, num_key_value_heads=2, **SIZES, **options).float()


def gpt_oss(name: str = "GptOssModel", **options: Any) -> Any:
    """With attention sinks, in float32."""
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1, "head_dim": 8}
    model = llama(name, **experts, **options)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def bart(name: str, **options: Any) -> Any:
    """One encoder layer, two decoder layers."""
    heads: Any = {"encoder_attention_heads": 3, "decoder_attention_heads": 6}
    sizes: Any = {"d_model": 48, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "init_std": 0.3}
    return hf_model(name, encoder_layers=1, decoder_layers=2, **heads, **sizes, **options)


def gpt2(implementation: str = "eager") -> Any:
    sizes = {"n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 32}
    return hf_model("GPT2LMHeadModel", implementation, **sizes)
