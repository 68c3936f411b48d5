"""An HTTP server for one model: predictions, attention, the Open Inference Protocol, metrics.

- `config`: address and limits; `_run`: uvicorn, with draining on SIGTERM; `_workers`: several
  processes; `telemetry`: traces
- `app`: the application and its own routes; `protocol`: those of the Open Inference Protocol
- `schemas`: requests and responses; `metrics`: counters for Prometheus
- `_service`: from a body to a response, through `_limits` (concurrency, size and time of the
  body, deadline) and `_pool` (processes that decode batches, by `_bodies`, and classify them, by
  `_compute`)

Needs the extra `serve`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
