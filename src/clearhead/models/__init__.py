"""First floor: the models. A forward returns its output and nothing else.

- `config`: what a model is made of (imports no torch)
- `patches`, `positions`, `block`, `encoder`: the parts; `vit`: images; `text`: words
- `cnn`, `mlp`: baselines with as many parameters
- `pretrained`: saving and loading; `card`: what a saved one says of itself;
  `hub`: asking the Hugging Face hub without a wait; `maker`: whose model a folder holds
- `build`: from a configuration or a name to a model
- `shipped/`: the weights that come with the package
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
