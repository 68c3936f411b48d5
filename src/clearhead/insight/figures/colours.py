"""The colours of every picture: one fixed scale for weights, one for signed numbers.

Weights are on 0 to 100 % whatever the picture shows, so that colours can be compared between
heads, layers and figures; a square-root ramp keeps small weights apart. Both scales stay readable
without colour vision (cividis: Nuñez, Anderton & Renslow 2018).
"""

from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize, PowerNorm, to_hex

WEIGHT_COLOURS = colormaps["cividis"]
NEGATIVE, ZERO, POSITIVE = "#B34700", "#F7F4EF", "#0063A6"
SIGNED_COLOURS = LinearSegmentedColormap.from_list("signed", [NEGATIVE, ZERO, POSITIVE])

QUERY, KEY, VALUE = "#0063A6", "#B34700", "#00735C"
MOST_TIMES = 16
INK, OUTLINE, MUTED = "#FFFFFF", "#14181F", "#5F6368"


def weight_norm() -> Normalize:
    """From a weight to its place on the scale: √w, fixed from 0 to 1."""
    return PowerNorm(0.5, vmin=0.0, vmax=1.0, clip=True)


def weight_colour(weight: float) -> str:
    """The colour of a weight from 0 to 1, as #rrggbb."""
    return to_hex(WEIGHT_COLOURS(weight_norm()(weight)))


def times_norm() -> Normalize:
    """From a multiple of the even share to its place on the signed scale: 1/16 to 16, by logs."""
    return LogNorm(1 / MOST_TIMES, MOST_TIMES, clip=True)


def signed_norm(limit: float) -> Normalize:
    """From -limit to limit, zero in the middle: the same colour for the same size."""
    limit = abs(limit) or 1.0
    return Normalize(-limit, limit, clip=True)


def signed_colour(number: float, limit: float) -> str:
    """The colour of a number from -limit to limit, as #rrggbb."""
    return to_hex(SIGNED_COLOURS(signed_norm(limit)(number)))
