"""What makes a step fast on this machine: bfloat16 and compiled blocks, where they win."""

import warnings
from collections.abc import Callable

import torch
from torch import nn

from clearhead.errors import ClearheadError
from clearhead.training.config import LearningConfig
from clearhead.training.step import Inputs


def uses_bfloat16(config: LearningConfig, device: torch.device) -> bool:
    """Whether the forward pass runs under bfloat16 autocast."""
    if config.precision != "auto":
        return config.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def compile_blocks(
    model: nn.Module, batch: Inputs, *, bfloat16: bool, say: Callable[[str], None]
) -> None:
    """Compile the model's blocks in place, and try them on a batch; says so, and why it could not.

    All blocks share their code, so one compilation serves them all: a few seconds instead of a
    minute for the whole model. Without a working C++ compiler the blocks stay as they are.
    """
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.Sequential):
        return
    say("compiling the model's blocks; the first step may take a minute")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler says of itself
            for block in blocks:
                block.compile(dynamic=False)
            inputs = batch if isinstance(batch, tuple) else (batch,)
            with torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=bfloat16):
                logits = model(*inputs)
            logits.float().sum().backward()
    except ClearheadError:
        raise
    except Exception as error:  # noqa: BLE001  # compilers fail in many ways; none may stop us
        for block in blocks:
            block._compiled_call_impl = None  # the inverse of nn.Module.compile
        say(f"blocks are not compiled ({type(error).__name__}); training goes on, slower")
    finally:
        model.zero_grad(set_to_none=True)
