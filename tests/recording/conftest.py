"""timm and torchvision are imported here, also where torch has no GPU support."""

from tests.torchvision_operators import TORCHVISION

__all__ = ["TORCHVISION"]
