"""Names of engines; without torch, so that the command line can show them quickly."""

from typing import Literal

EngineName = Literal["torch", "compile", "onnxruntime", "openvino"]
EngineChoice = Literal["torch", "compile", "onnxruntime", "openvino", "auto"]
