"""What stands where a patch is taken out of an image."""

from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from torch import Tensor

from clearhead.data import Normalization
from clearhead.errors import ConfigError, InputError

Kind = Literal["blank", "mean", "blur"]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The image that is left when every patch is taken out.

    - "blank": one `value`, or one a channel, as the model sees it (normalised): empty paper
    - "mean": each channel's mean over the image itself
    - "blur": the image under a Gaussian of `sigma` pixels, from which RISE starts its insertion of
      natural pictures: it draws no edges that were not there

    None of them is neutral: a blank digit is an image the model may never have seen.
    """

    kind: Kind = "blank"
    value: tuple[float, ...] = (0.0,)
    sigma: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.kind == "blur" and (self.sigma is None or not self.sigma > 0):
            raise ConfigError(f'kind="blur" needs sigma > 0 in pixels, got {self.sigma}')

    @classmethod
    def black(cls, normalization: Normalization) -> Self:
        """Pixels of value 0, the paper of MNIST's digits, as a model so normalised sees them."""
        if not hasattr(normalization, "mean"):
            raise ConfigError(
                "expected a configuration with mean and std, as clearhead's models have, got a "
                f"{type(normalization).__name__}; for others: Baseline(value=(-mean / std, ...))"
            )
        pairs = zip(normalization.mean, normalization.std, strict=True)
        return cls(value=tuple(-mean / std for mean, std in pairs))

    def of(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The baseline of each image."""
        if self.kind == "mean":
            return images.mean(dim=(-2, -1), keepdim=True).expand_as(images)
        if self.kind == "blur":
            pixels = images.detach().cpu().double().numpy()
            blurred = gaussian_filter(pixels, self.sigma or 0.0, axes=(-2, -1))
            return torch.from_numpy(blurred).to(images)
        if len(self.value) not in (1, images.shape[1]):
            raise InputError(
                f"images have {images.shape[1]} channels, but the blank has {len(self.value)} "
                f"values; give 1 or {images.shape[1]}"
            )
        return images.new_tensor(self.value).view(1, -1, 1, 1).expand_as(images)

    def __str__(self) -> str:
        match self.kind:
            case "blank":
                return f"blank ({', '.join(f'{x:.3g}' for x in self.value)})"
            case "blur":
                return f"blur (sigma {self.sigma:g} pixels)"
        return "mean"
