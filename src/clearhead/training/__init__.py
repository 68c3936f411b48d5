"""Training of models on images and on generated sentences.

- `config`: settings; `recipes`: settings with measured results (both without torch)
- `run`: `train`, a whole training run in a folder, and `fit`, one in memory
- `loop`: the training loop and its step; `batches`, `texts`: the batches of images and of texts
- `state`, `start`: what a step changes, and its initial values; `checkpoint`: checkpoints
- `adaptation`: settings that follow from the images; `calibration`: probabilities and thresholds
- `averaging`: a command that averages the weights of several runs
- `results`: what is measured after the last step; `rollout_loss`: an optional loss
- `distributed`: processes, devices, precision
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
