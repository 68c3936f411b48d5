"""Third floor: one picture, one answer.

- `prepare`: any picture to what the model reads; `predict`: the answer, and what speaks against it
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
