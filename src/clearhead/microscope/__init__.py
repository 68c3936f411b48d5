"""The microscope: one offline HTML page that runs a model and shows every number of its attention.

- `build_page`: the page for a Vision Transformer; `shipped_page`: for the shipped digit classifier
- `script/`: the page's code, JavaScript modules with types in comments; `script/views/`: its views;
  `style/`: its style sheets
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
