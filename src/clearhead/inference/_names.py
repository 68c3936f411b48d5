"""Names of engines and export formats; without torch, so that `--help` is fast."""

from typing import Literal

EngineName = Literal["torch", "compile", "onnxruntime", "openvino"]
EngineChoice = Literal[EngineName, "auto"]
ExportFormat = Literal["onnx", "openvino", "torch-export", "timm", "safetensors"]
Precision = Literal["float32", "float16", "int8"]
