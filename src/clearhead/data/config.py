"""Settings of the data room. Torch is not imported here: the command line shows them at once."""

from dataclasses import dataclass

from clearhead.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How far images are moved and bent at most; all zeros leaves them as they are.

    `rotate` and `shear` in degrees, `scale` as a fraction, `shift` in pixels, each drawn evenly
    from ± its value. `elastic` is the standard deviation, in pixels, of the displacement at
    `elastic_knots` × `elastic_knots` points, smoothly interpolated between them.
    """

    rotate: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    elastic_knots: int = 6

    def __post_init__(self) -> None:
        for name in ("rotate", "scale", "shear", "shift", "elastic"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.scale >= 1:
            raise ConfigError(f"scale must be below 1, got {self.scale}")
        if self.shear >= 90:
            raise ConfigError(f"shear must be below 90, got {self.shear}")
        if self.elastic_knots < 2:
            raise ConfigError(f"elastic_knots must be at least 2, got {self.elastic_knots}")

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return any((self.rotate, self.scale, self.shear, self.shift, self.elastic))
