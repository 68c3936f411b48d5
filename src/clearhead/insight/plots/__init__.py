"""Figures of attention, each drawn from plain data, and the parts they are made of.

Weights have one fixed scale in every figure, signed numbers another.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
