"""Record, verify and replace attention inside any PyTorch model.

`capture` records every attention computed in its block, as a `Recording` of `AttentionRecord`s
whose stages are computed on access; `Recording.verify` returns a `Proof` for each. `intervene`
replaces the output of attention. Both intercept torch's function calls and know no particular
model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
