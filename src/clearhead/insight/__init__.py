"""Third floor: what attention means, as plain data; drawing is a step of its own.

- `tokens`, `grids`: what the tokens are, said and not guessed; the grid as a model says it
- `answers`, `ink`, `paired`: what a model answers; where the ink lies; differences with intervals
- `maps/`: whom tokens ask, in one layer and through all; `heads/`: what single heads do
- `ablation/`: the answer without a part; `mattered/`: does a map show what mattered?
- `figures/`: pictures of all this

It works from outside, through `clearhead.capture`, in the same way on any model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
