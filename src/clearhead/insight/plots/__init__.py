"""Figures of attention, each drawn from plain data, and the parts they are made of.

Weights have one fixed scale in every figure, signed numbers another.
"""

from clearhead.insight.plots._drawing import (
    KEY,
    MUTED,
    OUTLINE,
    QUERY,
    VALUE,
    bare,
    draw_picture,
    draw_signed,
    draw_weights,
    figure_bytes,
    multiples_bar,
    new_figure,
    save_figure,
    weight_bar,
    weight_norm,
)
from clearhead.insight.plots._maps import (
    maps_figure,
    matrices_figure,
    query_figure,
    tokens_figure,
    words_figure,
)
from clearhead.insight.plots._stages import stages_figure

__all__ = [
    "KEY",
    "MUTED",
    "OUTLINE",
    "QUERY",
    "VALUE",
    "bare",
    "draw_picture",
    "draw_signed",
    "draw_weights",
    "figure_bytes",
    "maps_figure",
    "matrices_figure",
    "multiples_bar",
    "new_figure",
    "query_figure",
    "save_figure",
    "stages_figure",
    "tokens_figure",
    "weight_bar",
    "weight_norm",
    "words_figure",
]
