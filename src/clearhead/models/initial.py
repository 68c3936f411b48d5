"""How weights start."""

from torch import nn


def init_weights(module: nn.Module) -> None:
    """Normal with standard deviation 0.02, cut at two of them; biases zero (as in ViT and BERT)."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
