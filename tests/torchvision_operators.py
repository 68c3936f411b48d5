"""Makes timm and torchvision importable with a CPU-only torch: import this module first.

torchvision's wheels for Linux are built for CUDA. With a CPU-only torch its compiled part does not
load, and its import fails, as two operators are not declared. Declaring them without an
implementation is sufficient: they are for object detection, and no Vision Transformer calls them.
"""

from importlib import import_module

from torch.library import Library

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def declare_missing_operators() -> Library | None:
    """The declarations, valid as long as this object; None if torchvision is complete."""
    try:
        import_module("torchvision")
    except RuntimeError:
        library = Library("torchvision", "DEF")
        for schema in SCHEMAS:
            library.define(schema)
        return library
    return None


TORCHVISION = declare_missing_operators()
