"""Settings of augmentation; torch is not imported, so that the command line starts quickly."""

from dataclasses import dataclass

from clearhead.errors import ConfigError


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
    elastic: float = 0.0
    """Elastic distortion: standard deviation of the displacements, in pixels."""
    elastic_knots: int = 6
    """Elastic distortion: displacements are drawn on a grid of this size, and interpolated."""
    style: float = 0.0
    """Probability of a random pixel style: another pen, other tones, a background, noise."""

    def __post_init__(self) -> None:
        for name in ("rotate", "scale", "shear", "shift", "elastic"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.scale >= 1:
            raise ConfigError(f"scale must be below 1, got {self.scale}")
        if self.shear >= 90:
            raise ConfigError(f"shear must be below 90, got {self.shear}")
        if not 0 <= self.style <= 1:
            raise ConfigError(f"style must be between 0 and 1, got {self.style}")
        if self.elastic_knots < 2:
            raise ConfigError(f"elastic_knots must be at least 2, got {self.elastic_knots}")

    @property
    def active(self) -> bool:
        """Whether images are changed at all."""
        return any((self.rotate, self.scale, self.shear, self.shift, self.elastic, self.style))
