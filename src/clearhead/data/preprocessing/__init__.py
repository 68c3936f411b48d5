"""From any image to a digit as MNIST has it: load, grey, find the ink, scale and centre.

- `image`: loading and luminance; `resolution`: the original size of enlarged scans
- `digits`: all steps, from luminance to one or several digits of 28 × 28 pixels
- `ink`, `lines`, `components`, `groups`: which pixels are ink of digits, and of which digit;
  `touching`: cuts between digits that touch; `shape_checks`: reasons to doubt a digit
- `scaling`: the ink of a digit on 28 × 28 pixels; `strokes`: the same for drawn strokes
- `pixels`: arithmetic that these share
"""
