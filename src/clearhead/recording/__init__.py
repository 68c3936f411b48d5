"""First floor: watch attention inside any PyTorch model, and prove what was seen.

- `session`: `capture`, the context manager; `layers` picks what it keeps; `choice`: parts by number
- `captured`: what it gives: records by name, proofs, and the shapes other tools expect
- `record`: one attention: query, key, value, mask, scale, output, and the stages between
- `proof`: the stages computed anew, beside what the model really produced
- `intervene`: change attention on its way, by the same interception
- `watch`: the interception itself; `refusals`: what it cannot see; `places`: names from modules
- `fused`: calls of one function; `explicit`, `written`: attention written out, and its record
- `products`, `scaling`, `steps`, `layout`: the parts that these two are made of

Imports the ground floor alone: nothing here knows any model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
