"""Deletion and insertion curves: the probability of a class as patches are removed or added.

(Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
Models", arXiv 1806.07421, section 4.3; with patches in place of pixels, because attention has no
smaller part of an image.) If a map shows what matters, the probability falls early when the patches
that it ranks first are deleted, and rises early when they are inserted first.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.linalg import solve_banded
from scipy.ndimage import gaussian_filter
from torch import Tensor

from clearhead._validate import one_of, validate
from clearhead.data import Normalization, normalize
from clearhead.errors import ConfigError, InputError
from clearhead.insight.forward import (
    Model,
    Score,
    batches,
    class_scores,
    model_logits,
    probabilities,
)
from clearhead.insight.tokens import Grid

Kind = Literal["constant", "mean", "blur", "linear"]


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The image that is left when every patch is removed.

    No baseline is neutral: a blank digit is an image that may not occur in training.

    Args:
        kind: "constant" is `value`; "mean" is each channel's mean over the image itself; "blur" is
            the image under a Gaussian filter, from which RISE inserts natural images, because it
            adds no edges; "linear" is ROAD's noisy linear imputation, in which each removed pixel
            is the weighted mean of its eight neighbours plus noise, so that the shape of what is
            removed hardly shows (Rong et al. 2022, arXiv 2202.00449).
        value: One value, or one for each channel, as the model input has it (normalised).
        sigma: Standard deviation of the Gaussian filter in pixels.
        noise: Standard deviation of the noise of "linear", in units of the model input.

    Raises:
        ConfigError: For another kind, or "blur" without `sigma` > 0.
    """

    kind: Kind = "constant"
    value: tuple[float, ...] = (0.0,)
    sigma: float | None = None
    noise: float = 0.01

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
                f"{type(normalization).__name__}; for others give the baseline: "
                "Baseline(value=(-mean / std, ...))"
            )
        if len(mean) != len(std):
            raise ConfigError(
                f"expected a mean and a std for each channel, got {len(mean)} and {len(std)}"
            )
        black = normalize(torch.zeros(1, len(mean), 1, 1, dtype=torch.uint8), normalization)
        return cls(value=tuple(black.flatten().tolist()))

    def fill(
        self,
        images: Float[Tensor, "batch channels height width"],
        kept: Bool[Tensor, "batch 1 height width"],
    ) -> Float[Tensor, "batch channels height width"]:
        """The images with all pixels replaced but those that are kept."""
        if self.kind != "linear":
            return torch.where(kept, images, self.of(images))
        generator = torch.Generator().manual_seed(0)
        noise = self.noise * torch.randn(images.shape, generator=generator).to(images)
        filled = [_imputed(*pair) for pair in zip(images, kept[:, 0], strict=True)]
        return torch.where(kept, images, torch.stack(filled) + noise)

    def of(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The baseline of each image.

        Raises `InputError` unless values match the channels, `ConfigError` for "linear", whose
        pixels depend on which others are removed.
        """
        if self.kind == "linear":
            raise ConfigError('kind="linear" has no image in which all is removed; use fill')
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
        blur = f"blur (sigma {self.sigma or 0:g} pixels)"
        return {"mean": "mean", "blur": blur, "linear": "noisy linear imputation"}[self.kind]


def default_baseline(model: Model) -> Baseline:
    """Black, in the units of a model with mean and std; `ConfigError` for other models."""
    config: Any = getattr(model, "config", None)
    return Baseline.black(config)


def subset_scores(
    model: Model,
    image: Float[Tensor, "channels height width"],
    blank: Float[Tensor, "channels height width"],
    target: int,
    kept: Bool[Tensor, "subsets patches"],
    *,
    grid: Grid,
    score: Score,
    batch_size: int,
) -> Float[Tensor, " subsets"]:
    """The score of a class for one image of which only some patches are kept."""
    logits = []
    for part in batches(kept, batch_size):
        pixels = grid.to_pixels(part, image[None]).to(image.device)
        inputs = torch.where(pixels, image, blank)
        logits.append(model_logits(model, inputs, batch_size=batch_size))
    every = torch.cat(logits)
    return class_scores(every, torch.full((len(every),), target), score)


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
    deleted = [round(step * patches / steps) for step in range(steps + 1)]
    points = []
    for batch, ranks, targets in zip(
        *(batches(x, batch_size) for x in (images, order.argsort(dim=1), classes)), strict=True
    ):
        rows = torch.arange(len(batch))
        pixels = grid.to_pixels(ranks, batch).to(batch.device)
        curve = [
            probabilities(model, baseline.fill(batch, pixels >= count), batch_size=len(batch))[
                rows, targets.cpu()
            ]
            for count in deleted
        ]
        points.append(torch.stack(curve, dim=1))
    return Curves(torch.tensor(deleted, dtype=torch.float64) / patches, torch.cat(points))


# Weights of ROAD for the neighbours of a pixel: direct ones, and diagonal ones.
NEIGHBOURS = {(0, 1): 1 / 6, (1, 0): 1 / 6, (1, 1): 1 / 12, (1, -1): 1 / 12}


def _imputed(
    image: Float[Tensor, "channels height width"], kept: Bool[Tensor, "height width"]
) -> Float[Tensor, "channels height width"]:
    """Each pixel that is not kept as the weighted mean of its neighbours, inside the image.

    Solves the linear system with a row for each pixel, in order: a matrix of small bandwidth. An
    image of which nothing is kept becomes the mean of its pixels.
    """
    if not kept.any():
        return image.mean(dim=(1, 2), keepdim=True).expand_as(image)
    channels, height, width = image.shape
    size, band = height * width, width + 1
    matrix = np.zeros(
        (2 * band + 1, size)
    )  # as scipy's solve_banded: [band + row - column, column]
    matrix[band] = 1.0
    removed = ~kept.cpu().numpy()
    rows, columns = np.nonzero(removed)
    for sign in (1, -1):
        for (down, right), weight in NEIGHBOURS.items():
            y, x = rows + sign * down, columns + sign * right
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            pixel = (rows * width + columns)[inside]
            other = (y * width + x)[inside]
            matrix[band + pixel - other, other] -= weight
            outside = (rows * width + columns)[~inside]
            matrix[band, outside] -= weight
    known = np.where(removed, 0.0, image.detach().cpu().double().numpy()).reshape(channels, size)
    solved = solve_banded((band, band), matrix, known.T)
    return torch.from_numpy(solved.T.reshape(channels, height, width)).to(image)
