"""Settings of the data room. Torch is not imported here: the command line shows them at once."""

from dataclasses import dataclass

from clearhead.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How far images are moved and bent at most; all zeros leaves them as they are.

    `rotate`, `scale`, `shear` and `shift` are drawn evenly from ± their value.
    """

    rotate: float = 0.0
    """Turned by at most so many degrees."""
    scale: float = 0.0
    """Made larger or smaller by at most this fraction."""
    shear: float = 0.0
    """Slanted by at most so many degrees."""
    shift: float = 0.0
    """Moved by at most so many pixels."""
    elastic: float = 0.0
    """Bent: the standard deviation, in pixels, of how far each place moves."""
    elastic_knots: int = 6
    """Bending is drawn at so many × so many points, and smooth between them."""

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
