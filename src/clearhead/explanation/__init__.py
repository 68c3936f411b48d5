"""A model's prediction for one picture or text explained, in files that open anywhere.

- `_explain`: `explain` and `write_report`; `classifiers`, `_libraries`: models with their
  preprocessing or tokenizer
- `pictures`, `texts`: explanations as plain data; `_selection`: which layers and queries they keep;
  `influence`: four measures of what a prediction depends on
- `page`, `html`, `templates/`, `assets/`: HTML pages; `_images`: small images in them; `figures`:
  PNG and SVG; `tables`: CSV
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
