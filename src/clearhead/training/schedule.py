"""How the learning rate rises and falls."""

import math


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """The factor on the learning rate at `step` of `total`: linear to 1, then a cosine to 0.

    (Loshchilov and Hutter 2017, "SGDR", arXiv 1608.03983, without restarts.) The last step is
    still above 0, so that no step is wasted.
    """
    rising = warmup * total
    if step < rising:
        return (step + 1) / (math.floor(rising) + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(total - rising, 1)))
