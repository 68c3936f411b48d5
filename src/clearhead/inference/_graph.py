"""An image classifier as a graph, for other programs: a program of torch.export, an ONNX model.

Both take any number of normalised images.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.overrides import TorchFunctionMode

from clearhead.attention import attention_stages, scaled_dot_product_attention
from clearhead.errors import require
from clearhead.inference._model import evaluation_mode
from clearhead.models.pretrained import ImageModel

IMAGES, LOGITS, ATTENTION = "images", "logits", "attention"
NORMALIZATION = "(pixel / 255 - mean) / std for each channel; float32, batch channels height width"


class AttentionOutput(nn.Module):
    """A classifier that also returns its attention weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch layers heads queries keys"]]:
        """Logits, and the weights of all layers."""
        with _Weights() as mode:
            logits = self.model(images)
        return logits, torch.stack(mode.weights, dim=1)


class _Weights(TorchFunctionMode):
    """Computes attention by its definition and keeps the weights; `capture` cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        stages = attention_stages(*args, **(kwargs or {}))
        self.weights.append(stages.weights)
        return stages.context.to(args[0].dtype)  # the stages of float16 are float32


class _Float16(nn.Module):
    """Computes in float16; inputs and outputs are float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.half()

    def forward(self, images: Tensor) -> Any:
        outputs = self.model(images.half())
        if isinstance(outputs, tuple):
            return tuple(output.float() for output in outputs)
        return outputs.float()


def trace(model: ImageModel, *, attention: bool = False, float16: bool = False) -> ExportedProgram:
    """The model as a program with a dynamic batch axis; `float16` converts it in place."""
    module: nn.Module = AttentionOutput(model) if attention else model
    images = example_images(model, 3)  # one image would make a constant of the batch size
    if float16:
        module = _Float16(module)
    with evaluation_mode(module), torch.no_grad(), quiet_export():
        return torch.export.export(
            module, (images,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False
        )


def to_onnx(program: ExportedProgram) -> Any:
    """The program as an ONNX `ModelProto`."""
    require("ONNX", "onnx", "onnxscript")
    outputs = [LOGITS, ATTENTION][: len(program.graph_signature.user_outputs)]
    with quiet_export():
        exported: Any = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=[IMAGES], output_names=outputs
        )
    proto = exported.model_proto
    for element in (*proto.graph.node, *proto.graph.value_info):
        del element.metadata_props[:]  # among them paths of source files on this machine
    return proto


def model_metadata(model: ImageModel) -> dict[str, str]:
    """What a program needs to use the model beside its graph; lists are JSON."""
    config = model.config
    values = {
        "class_names": config.labels,
        "normalization": NORMALIZATION,
        "mean": config.mean,
        "std": config.std,
        "doubtful_below": config.doubtful_below,
        "rejected_below": config.rejected_below,
        "threshold_temperature": config.threshold_temperature,
        "certainty_weights": config.certainty_weights,
        "config": asdict(config),
    }
    text = {name: x if isinstance(x, str) else json.dumps(x) for name, x in values.items()}
    return {
        "architecture": type(model).__name__,
        "producer": f"clearhead {version('clearhead')}",
        **text,
    }


def example_images(model: ImageModel, count: int) -> Float[Tensor, "batch channels height width"]:
    """Normalised images of noise, always the same ones."""
    generator = torch.Generator().manual_seed(count)
    shape = (count, model.config.in_channels, *model.config.image_shape)
    like = next(model.parameters())
    return torch.randn(shape, generator=generator).to(like.device, like.dtype)


@contextmanager
def quiet_export(name: str | None = "torch.onnx") -> Iterator[None]:
    """Ignore warnings of exporters and of their logger: torchvision is missing, and the like."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
