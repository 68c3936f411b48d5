"""Second floor: how well a model reads.

- `metrics`: accuracy with its interval, per-class measures, calibration
- `evaluate`: all of them for a model and a data set (`matching`: do the two belong together?)
- `mode`: evaluation mode for as long as a model is asked
- `figure`: one picture of answers, mistakes and confusions
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
