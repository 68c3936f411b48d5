"""The microscope: one offline HTML page that runs a model and shows every number of its attention.

- `build_page`: the page for a Vision Transformer; `shipped_page`: for the shipped digit classifier
- `_build`: the page from its data; `_payload`: settings and weights; `_reference`: PyTorch's
  results; `shipped`: the shipped models and these results
- `assets/`: script and style, built from `web/` at the root of the repository; `templates/`: HTML
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
