"""Support for the lessons in the documentation: checks of the exercises, and an example digit.

- `_check`: `check`, and how an answer is compared with the right one and with typical mistakes
- `_exercises`: the exercises, with right answers and typical mistakes
- `_digit`: the digit of the lessons
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
