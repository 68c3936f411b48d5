"""Lets timm and torchvision be imported where torch has no GPU support: import this first.

The torchvision that package registries offer for Linux is built for CUDA. Beside a CPU-only torch
its compiled part does not load, and then it describes two operators that nobody has declared.
Declaring them, without giving them a body, is enough: they are for object detection, and no Vision
Transformer calls them.
"""

from importlib import import_module

from torch.library import Library

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def declare_missing_operators() -> Library | None:
    """The declarations, which live as long as this object; None where nothing is missing."""
    try:
        import_module("torchvision")
    except RuntimeError:
        library = Library("torchvision", "DEF")
        for schema in SCHEMAS:
            library.define(schema)
        return library
    return None


TORCHVISION = declare_missing_operators()
