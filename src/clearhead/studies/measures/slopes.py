"""How a measure changes with size or layer: slopes of a straight line by least squares."""

from collections.abc import Callable, Sequence

import numpy as np

from clearhead.studies.table import Measure, Outcome, Trial, Values

_NOBODY = Trial(study="", condition="", seed=0)


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of y against x."""
    return float(np.polyfit(x, y, 1)[0])


def over_layers(measure: Measure) -> Callable[[Values], float]:
    """Change of a measure from the first to the last layer: its slope over the relative depth.

    Unlike a difference between halves, it does not depend on where the halves are cut.
    """

    def change(values: Values) -> float:
        layers = Outcome(trial=_NOBODY, values=values).measure(measure)
        return slope(np.linspace(0.0, 1.0, len(layers)).tolist(), layers)

    return change


def per_doubling(
    measure: Callable[[Values], float], sizes: Sequence[int], base: float = 2.0
) -> Callable[[Values], float]:
    """Slope of a measure over the logarithm of the size; values hold one dict for each size."""

    def change(values: Values) -> float:
        x = [float(np.log(size) / np.log(base)) for size in sizes]
        return slope(x, [measure(values[str(size)]) for size in sizes])

    return change
