"""First floor: images and texts, from wherever they are to tensors.

- `datasets`: MNIST, Fashion-MNIST and folders as an `ImageDataset` (`images`); fetched and verified
  by `fetch`, `sources`, `download`, `npm`, read by `idx` and `folder`, divided by `splits`
- `pictures`: any picture, or drawing, to 28 × 28 as in MNIST
- `pixels`: bytes to what a model sees; `augment`: images moved and bent (`config`: how far);
  `corruptions`: spoilt, by `noise_maps` among others
- `text`: a text as words, and sentences to learn from
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
