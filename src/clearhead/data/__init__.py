"""First floor: images and texts, from wherever they are to tensors.

- `datasets`: MNIST, Fashion-MNIST and folders as an `ImageDataset` (`images`); fetched and verified
  by `fetch`, `sources`, `download`, `npm`, read by `idx` and `folder`, divided by `splits`
- `pictures`: any bytes to a picture (`containers` knows where a format ends); `grey`, `ink`,
  `scale`, `digits`: a picture of a digit to 28 × 28, as in MNIST
- `strokes`: a drawing to 28 × 28, as in the microscope
- `pixels`: bytes to what a model sees; `augment`: images moved and bent (`config`: how far)
- `words`: a text as words, and these as places in a vocabulary; `sentences`, of the words in
  `lexicon`: generated ones, in which the last word decides what "it" is
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
