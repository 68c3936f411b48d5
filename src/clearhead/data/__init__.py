"""Data sets of images and sentences, and preprocessing from any image to model input.

- `image_dataset`: `ImageDataset`, labelled images in memory
- `datasets`: `load_dataset` for MNIST, Fashion-MNIST, folders (`folder`), CSV, Parquet and Hugging
  Face data sets (`tables`), whose images are decoded in one size (`labelled`)
- `augment`: random distortion and normalisation (`config`: its limits), with `styles` of pixels
- `drawn`, `outliers`: generated digits in forms that MNIST lacks, and images without a digit
- `preprocessing`: an image file, photo or drawing as a digit of MNIST
- `tokenizer`, `sentences`: a word tokenizer, and generated sentences about the pronoun "it"
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
