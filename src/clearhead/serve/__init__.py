"""Sixth floor: a model over HTTP.

- `config`: address and limits; `run`: listens, and stops without losing a request
- `app`: the application; `routes` (`direct`), `protocol`: what it answers; `schemas`, `openapi`: in
  what form
- `door`, `connections` (`plain`), `bodies`, `admission`, `waiting`: who comes in, how slowly, how
  much, how many, and who waits for a place
- `service`: from a body to its answer, through
- `decoders` (`decoder`, `frames`, `upload`, `tensors`): processes that make pixels of bodies
- `batcher` (`work`, `attention`): the thread in which requests share a forward pass
- `metrics`: what is counted and timed

Needs the extra `serve`: pip install 'clearhead[serve]'.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
