"""Deletion and insertion curves: the probability of a class as patches are removed or added.

(Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
Models", arXiv 1806.07421, section 4.3; with patches in place of pixels, because attention has no
smaller part of an image.) If a map shows what matters, the probability falls early when the patches
that it ranks first are deleted, and rises early when they are inserted first.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

import torch
from jaxtyping import Float, Int
from scipy.ndimage import gaussian_filter
from torch import Tensor

from clearhead._validate import one_of, validate
from clearhead.data import Normalization
from clearhead.errors import ConfigError, InputError
from clearhead.insight.forward import Model, batches, probabilities
from clearhead.insight.tokens import Grid

Kind = Literal["constant", "mean", "blur"]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The image that is left when every patch is removed.

    No baseline is neutral: a blank digit is an image that may not occur in training.

    Args:
        kind: "constant" is `value`; "mean" is each channel's mean over the image itself; "blur" is
            the image under a Gaussian filter, from which RISE inserts natural images, because it
            adds no edges.
        value: One value, or one for each channel, as the model input has it (normalised).
        sigma: Standard deviation of the Gaussian filter in pixels.

    Raises:
        ConfigError: For another kind, or "blur" without `sigma` > 0.
    """

    kind: Kind = "constant"
    value: tuple[float, ...] = (0.0,)
    sigma: float | None = None

    def __post_init__(self) -> None:
        validate(self, kind=one_of(*get_args(Kind)))
        if self.kind == "blur" and (self.sigma is None or not self.sigma > 0):
            raise ConfigError(f'kind="blur" needs sigma > 0 in pixels, got {self.sigma}')

    @classmethod
    def black(cls, normalization: Normalization) -> Self:
        """Pixels of value 0, the background of MNIST's digits, normalised.

        Args:
            normalization: A configuration with mean and std, as clearhead's models have.

        Raises:
            ConfigError: If it has no mean and std, or not equally many of both.
        """
        mean, std = getattr(normalization, "mean", None), getattr(normalization, "std", None)
        if mean is None or std is None:
            raise ConfigError(
                "expected a configuration with mean and std, as clearhead's models have, got a "
                f"{type(normalization).__name__}; for others: Baseline(value=(-mean / std, ...))"
            )
        if len(mean) != len(std):
            raise ConfigError(
                f"expected a mean and a std for each channel, got {len(mean)} and {len(std)}"
            )
        return cls(value=tuple(-m / s for m, s in zip(mean, std, strict=True)))

    def of(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The baseline of each image; `InputError` unless values match the channels."""
        if self.kind == "mean":
            return images.mean(dim=(-2, -1), keepdim=True).expand_as(images)
        if self.kind == "blur":
            pixels = images.detach().cpu().double().numpy()
            blurred = gaussian_filter(pixels, self.sigma or 0.0, axes=(-2, -1))
            return torch.from_numpy(blurred).to(images)
        if len(self.value) not in (1, images.shape[1]):
            raise InputError(
                f"images have {images.shape[1]} channels, but the baseline has {len(self.value)} "
                f"values; give 1 or {images.shape[1]}"
            )
        return images.new_tensor(self.value).view(1, -1, 1, 1).expand_as(images)

    def difference(
        self, images: Float[Tensor, "batch channels height width"], grid: Grid
    ) -> Float[Tensor, "batch patches"]:
        """Mean |pixel - baseline| of each patch: a map that does not depend on the model.

        For digits and a black baseline it is the foreground.
        """
        return grid.patch_means((images - self.of(images)).abs()).flatten(1)

    def __str__(self) -> str:
        if self.kind == "constant":
            return f"constant ({', '.join(f'{x:.3g}' for x in self.value)})"
        return "mean" if self.kind == "mean" else f"blur (sigma {self.sigma:g} pixels)"


class Curves(NamedTuple):
    """The probability of one class for each image, at fractions of patches deleted (inserted)."""

    fractions: Float[Tensor, " points"]
    probabilities: Float[Tensor, "batch points"]

    @property
    def areas(self) -> Float[Tensor, " batch"]:
        """The area under each curve, by the trapezoidal rule: between 0 and 1."""
        return torch.trapezoid(self.probabilities, self.fractions, dim=1)

    def reversed(self) -> "Curves":
        """Deletion as insertion in the opposite order."""
        return Curves(1 - self.fractions.flip(0), self.probabilities.flip(1))


def ranked(
    importance: Float[Tensor, "batch patches"], generator: torch.Generator
) -> Int[Tensor, "batch patches"]:
    """The patches of each image, the most important first; equals in random order.

    In the order of the grid they would favour its first rows: a map of zeros would delete from the
    top down.
    """
    if importance.dim() != 2 or importance.isnan().any():
        raise InputError(
            f"importance must be (batch, patches) without NaN, got {tuple(importance.shape)}"
            + (" with NaN" if importance.isnan().any() else "")
        )
    shuffled = random_orders(len(importance), importance.shape[1], generator)
    places = importance.cpu().gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return shuffled.gather(1, places)


def random_orders(
    images: int, patches: int, generator: torch.Generator
) -> Int[Tensor, "batch patches"]:
    """One random order of the patches for each image."""
    return torch.rand(images, patches, generator=generator, dtype=torch.float64).argsort(dim=1)


def deletion_curves(
    model: Model,
    images: Float[Tensor, "batch channels height width"],
    order: Int[Tensor, "batch patches"],
    classes: Int[Tensor, " batch"],
    *,
    grid: Grid,
    baseline: Baseline,
    steps: int | None = None,
    batch_size: int = 250,
) -> Curves:
    """Replace the patches by the baseline in this order; follow one class for each image.

    In `steps` steps of (nearly) equal size; by default one patch at a time. Insertion in an order
    is deletion in the opposite order, `reversed()`: both contain the same images.
    """
    patches = grid.num_patches
    if order.shape != (len(images), patches) or classes.shape != (len(images),):
        raise InputError(
            f"{len(images)} images of {patches} patches need an order of that shape and one class "
            f"each, got {tuple(order.shape)} and {tuple(classes.shape)}"
        )
    if not torch.equal(order.cpu().sort(dim=1).values, torch.arange(patches).expand(order.shape)):
        raise InputError(f"an order must name each patch from 0 to {patches - 1} once")
    steps = patches if steps is None else steps
    if not 1 <= steps <= patches:
        raise ConfigError(f"steps must be between 1 and {patches}, the patches, got {steps}")
    height, width = grid.patch_shape(images)
    deleted = [round(step * patches / steps) for step in range(steps + 1)]
    points = []
    for batch, ranks, targets in zip(
        *(batches(x, batch_size) for x in (images, order.argsort(dim=1), classes)), strict=True
    ):
        replacement, rows = baseline.of(batch), torch.arange(len(batch))
        cells = ranks.to(batch.device).view(-1, 1, grid.rows, grid.columns)
        pixels = cells.repeat_interleave(height, dim=2).repeat_interleave(width, dim=3)
        curve = [
            probabilities(
                model, torch.where(pixels >= count, batch, replacement), batch_size=len(batch)
            )[rows, targets.cpu()]
            for count in deleted
        ]
        points.append(torch.stack(curve, dim=1))
    return Curves(torch.tensor(deleted, dtype=torch.float64) / patches, torch.cat(points))
