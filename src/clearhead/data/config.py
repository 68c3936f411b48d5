"""Settings of augmentation; torch is not imported, so that the command line starts quickly."""

from dataclasses import dataclass, fields

from clearhead._validate import at_least, at_least_and_below, between, integer, validate


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Limits of the random distortion of training images; all zeros turns it off.

    `rotate`, `scale`, `shear` and `shift` are drawn uniformly from ± their value.

    Raises:
        ConfigError: If a value is negative or too large.
    """

    rotate: float = 0.0
    """Maximum rotation, in degrees."""
    scale: float = 0.0
    """Maximum change in size along each axis, as a fraction."""
    shear: float = 0.0
    """Maximum shear, in degrees."""
    shift: float = 0.0
    """Maximum shift along each axis, in pixels."""
    flip: float = 0.0
    """Probability of a mirror image, left to right."""
    elastic: float = 0.0
    """Elastic distortion: standard deviation of the displacements, in pixels."""
    elastic_knots: int = 6
    """Elastic distortion: displacements are drawn on a grid of this size, and interpolated."""
    style: float = 0.0
    """Probability of a random pixel style: another pen, other tones, a background, noise."""

    def __post_init__(self) -> None:
        validate(
            self,
            rotate=at_least(0),
            scale=at_least_and_below(0, 1),
            shear=at_least_and_below(0, 90),
            shift=at_least(0),
            flip=between(0, 1),
            elastic=at_least(0),
            style=between(0, 1),
            elastic_knots=integer(2),
        )

    @property
    def active(self) -> bool:
        """Whether images are changed at all."""
        return any(getattr(self, field.name) for field in fields(self) if "_" not in field.name)
