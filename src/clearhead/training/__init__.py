"""Training of models on images and on generated sentences.

- `config`: settings; `recipes`: settings with measured results (both without torch)
- `run`: `train`, a whole training run in a folder
- `loop`: `fit`, the training loop; `step`: `train_step`; `start`: the initial weights
- `adaptation`: settings that follow from the images; `calibration`: probabilities and thresholds
- `batches`, `texts`: batches of images and of texts; `rollout_loss`: an optional loss
- `optim`: optimisers and the learning rate; `checkpoint`: checkpoints
- `distributed`: processes, devices, precision
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
