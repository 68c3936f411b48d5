"""Fifth floor: the microscope, one HTML file to look through attention; it opens from disk.

- `page`: a model to the page; `shipped`: the page of the model that ships, without torch
- `payload`: what the page carries, weights in half precision; `reference`: what it must compute
- `modules`: the files in `script/` as one script
- `script/`: the page itself, plain JavaScript in the words of the other rooms (`strokes`, `raster`,
  `patches`, `model`, `stages`, `experiments`, …); `script/views/`: what is seen; `style/`: how
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
