"""Clearhead: a Vision Transformer you can see through.

| package | contents |
|---|---|
| `attention` | scaled dot-product attention, its stages, masks, multi-head attention |
| `models` | Vision Transformer, text Transformer, baselines; saving and loading |
| `data` | data sets, preprocessing of pictures, augmentation, sentences |
| `recording` | record and change attention inside any PyTorch model |
| `inference` | predictions and evaluations |
| `training` | recipes, the training loop, checkpoints |
| `insight` | attention maps, head roles, ablation, faithfulness |
| `explanation` | one picture or text explained |
| `studies` | experiments on claims about attention |
| `microscope` | an interactive page about a model's attention |
| `serve` | a model over HTTP |

The names below are imported when they are first used, so that `import clearhead` is fast:

    import clearhead as ch

    model = ch.load()
    ch.predict(model, "seven.png")
"""

from typing import Any

import lazy_loader

_lazy_getattr, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("clearhead")
    return _lazy_getattr(name)


def __dir__() -> list[str]:
    return __all__
