"""An HTTP server for one model: predictions, attention, the Open Inference Protocol, metrics.

- `config`: address and limits; `_run`: uvicorn in one or several processes, with draining
- `app`: the application and its own routes; `protocol`: those of the Open Inference Protocol;
  `_pages`: HTML
- `schemas`: requests and responses; `telemetry`: metrics and traces
- `_limits`: concurrency (429), size (413) and time (408, 504)
- `_pool`: processes, each of which makes the responses to a batch of requests (`_compute`), for
  pictures (`_pictures`) or tensors (`_tensors`)

Needs the extra `serve`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
