"""Images of which only some patches are kept, and the score of a class on them.

Occlusion, deletion and insertion, Shapley values and the metrics of maps are all computed by
`Removal`.
"""

from dataclasses import KW_ONLY, dataclass
from functools import cache
from typing import Any, Literal, Self, get_args
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter
from scipy.sparse import csc_array, csr_array, diags_array, kron
from scipy.sparse.linalg import spsolve
from torch import Tensor

from clearhead._validate import one_of, validate
from clearhead.data import Normalization, normalize
from clearhead.errors import ConfigError, InputError
from clearhead.insight.forward import Model, Score, batches, class_scores, model_logits
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
            removed hardly shows (Rong et al. 2022, arXiv 2202.00449); equal images get equal noise.
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

        Returns:
            The baseline.

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
        kept: Bool[Tensor, "batch subsets patches"],
        grid: Grid,
    ) -> Float[Tensor, "batch subsets channels height width"]:
        """Each image once for each subset of patches, with all others replaced.

        Args:
            images: Normalised images.
            kept: True where a patch of a subset is kept.
            grid: The patches.

        Returns:
            The images, with the baseline in place of the other patches.

        Raises:
            InputError: The number of values is not that of the channels, or the images do not
                divide evenly into patches.
        """
        pixels = grid.to_pixels(kept, images).to(images.device)
        if self.kind != "linear":
            return torch.where(pixels, images[:, None], self.of(images)[:, None])
        noise = self.noise * torch.stack([_noise(image) for image in images])
        filled = [
            torch.stack([_imputed(image, subset[0]) for subset in subsets])
            for image, subsets in zip(images, pixels, strict=True)
        ]
        return torch.where(pixels, images[:, None], torch.stack(filled) + noise[:, None])

    def of(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The baseline of each image.

        Args:
            images: Normalised images.

        Returns:
            For each image, what is left of it when every patch is removed.

        Raises:
            InputError: The number of values is not that of the channels.
            ConfigError: The kind is "linear", whose pixels depend on which others are removed.
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

        Args:
            images: Normalised images.
            grid: The patches.

        Returns:
            A number for each patch, at least 0, in units of the normalised images.

        Raises:
            InputError: As in `fill`.
            ConfigError: As in `of`.
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


@dataclass(frozen=True, eq=False)
class Removal:
    """The score of each image's class when some of its patches are removed.

    The default baseline is black; the model must then have mean and std.
    """

    model: Model
    images: Float[Tensor, "images channels height width"]
    classes: Int[Tensor, " images"]
    _: KW_ONLY
    grid: Grid
    baseline: Baseline | None = None
    score: Score = "log-odds"
    batch_size: int = 512

    @property
    def replacement(self) -> Baseline:
        """The baseline, or the default one; `ConfigError` if the model has no mean and std."""
        return self.baseline or default_baseline(self.model)

    def scores(
        self, kept: Bool[Tensor, "images subsets patches"]
    ) -> Float[Tensor, "images subsets"]:
        """The score of each image for each subset of its patches, if only that subset is kept."""
        baseline, size, scores = self.replacement, self.batch_size, []
        whole = (self.images, kept, self.classes.cpu())
        at_once = max(size // kept.shape[1], 1)
        for images, subsets, targets in zip(*(batches(x, at_once) for x in whole), strict=True):
            for subset in batches(subsets, size, dim=1):
                inputs = baseline.fill(images, subset, self.grid).flatten(0, 1)
                logits = model_logits(self.model, inputs, batch_size=size)
                repeated = targets.repeat_interleave(subset.shape[1])
                scores.append(class_scores(logits, repeated, self.score))
        # in order: subsets are split into batches only where there is one image at a time
        return torch.cat(scores).view(kept.shape[:2])

    def falls(
        self, removed: Bool[Tensor, "images subsets patches"]
    ) -> Float[Tensor, "images subsets"]:
        """Fall of the score of each image for each subset of its patches, if that is removed."""
        kept = torch.cat([torch.ones_like(removed[:, :1]), ~removed], dim=1)
        scores = self.scores(kept)
        return scores[:, :1] - scores[:, 1:]


def _noise(
    image: Float[Tensor, "channels height width"],
) -> Float[Tensor, "channels height width"]:
    """Standard normal numbers, whose seed is a checksum of the image.

    With one seed for a batch, they would depend on the other images. If they were the same for
    every image, they would not average out over images.
    """
    seed = crc32(image.detach().cpu().double().numpy().tobytes())
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(image.shape, generator=generator).to(image)


@cache
def _neighbours(height: int, width: int) -> Any:
    """ROAD's weights of the neighbours of each pixel: 1/6 for direct ones, 1/12 for diagonal."""
    down, across = (np.eye(size, k=1) + np.eye(size, k=-1) for size in (height, width))
    rows, columns = np.eye(height), np.eye(width)
    direct = kron(csr_array(rows), across) + kron(csr_array(down), columns)
    return csr_array(direct / 6 + kron(csr_array(down), across) / 12)


def _imputed(
    image: Float[Tensor, "channels height width"], kept: Bool[Tensor, "height width"]
) -> Float[Tensor, "channels height width"]:
    """Each pixel that is not kept as the weighted mean of its neighbours, inside the image.

    An image of which nothing is kept becomes the mean of its pixels.
    """
    if not kept.any():
        return image.mean(dim=(1, 2), keepdim=True).expand_as(image)
    removed = ~kept.cpu().numpy().ravel()
    known = np.where(removed, 0.0, image.detach().cpu().double().flatten(1).numpy())
    weights = _neighbours(*kept.shape)
    diagonal = diags_array(np.where(removed, weights.sum(axis=1), 1.0))
    solved = spsolve(csc_array(diagonal - diags_array(1.0 * removed) @ weights), known.T)
    return torch.from_numpy(solved.reshape(known.T.shape).T.reshape(image.shape)).to(image)
