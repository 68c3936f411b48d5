"""From pictures to predictions, and measures of how good predictions are.

- `predict`: label and probabilities of one picture or many (`prepare`, `predict_inputs`: its two
  halves)
- `evaluate`: accuracy with its interval, per-class measures and calibration on a data set
- `load_engine`: the forward pass by a compiled library, ONNX Runtime or OpenVINO
- `metrics`: the measures alone, as functions of labels and probabilities
- `plots`: a figure of examples, mistakes and the confusion matrix
- `pronoun_scores`: accuracy of text models at pronoun resolution
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
