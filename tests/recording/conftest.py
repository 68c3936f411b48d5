"""Makes timm and torchvision importable with a CPU-only torch."""

from tests.torchvision_operators import TORCHVISION

__all__ = ["TORCHVISION"]
