"""The models. A forward pass returns the model's output and nothing else.

- `config`: configurations (without torch)
- `layers`: patch embedding, positions, block, encoder, initialisation
- `vit`: the Vision Transformer; `text`: the text Transformer; `baselines`: MLP and CNN
- `pretrained`: saving, loading, the Hugging Face hub; `_build`: `build` and `load`; `_timm`: to and
  from timm; `_libraries`: weights of timm and transformers
- `shipped/`: the weights that come with the package
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
