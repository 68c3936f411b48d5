"""Any picture, as any file or camera has it, to the pixels of a digit in MNIST.

- `decode`: bytes to a picture, or a clear error (`containers` knows where a format ends);
  `any_picture`: paths, arrays and tensors as well
- `grey`, `ink`, `scale`, `digits`: a photo to 28 × 28; `strokes`: a drawing likewise
"""
