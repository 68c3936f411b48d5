"""timm, for comparison."""

from tests.torchvision_operators import TORCHVISION

__all__ = ["TORCHVISION"]
