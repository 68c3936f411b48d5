"""Methods that attribute a prediction to the patches of an image, under one protocol."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearhead.errors import ConfigError
from clearhead.inference import evaluation_mode
from clearhead.insight._attnlrp import attnlrp
from clearhead.insight._layerwise import (
    blocks_of,
    legrad,
    output_projections,
    tokens_observed,
    tokentm,
)
from clearhead.insight.coalitions import shapley
from clearhead.insight.forward import (
    Score,
    batches,
    check_score,
    device_of,
    logits_of,
    probabilities,
)
from clearhead.insight.metrics import subset_falls
from clearhead.insight.perturbation import Baseline, default_baseline
from clearhead.insight.propagation import Readout, max_flow, read_out, rollout, square_weights
from clearhead.insight.relevance import (
    gradients_on,
    output_gradients,
    readout_tokens,
    relevance_matrix,
    scored,
)
from clearhead.insight.tokens import Grid, check_tokens, grid_of
from clearhead.insight.weights import value_norms
from clearhead.recording import Layers, Recording

RAW, ROLLOUT, RELEVANCE, VALUES = "raw attention", "rollout", "relevance", "value-weighted"
GRADIENT, INK, RANDOM, SHAPLEY = "gradient", "ink", "random", "shapley"

# Points of the Gauss-Legendre rule on the path of Integrated Gradients.
PATH_POINTS = 50


def attribute(
    method: str,
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    *,
    grid: Grid | None = None,
    baseline: Baseline | None = None,
    classes: Int[Tensor, " batch"] | None = None,
    layers: Layers = None,
    score: Score = "log-odds",
    seed: int = 0,
    batch_size: int = 100,
) -> Float[Tensor, "batch patches"]:
    """What each patch contributes to the prediction, by one of `insight.METHODS`.

    Of attention, for the tokens from which the model computes its output (found by gradients):

    - "raw attention": the last layer's weights, mean over heads
    - "value-weighted": the last layer's ‖w · v W_O‖, mean over heads (Kobayashi et al. 2020)
    - "rollout": `rollout` (Abnar & Zuidema 2020)
    - "max-flow": `max_flow` (Abnar & Zuidema 2020)

    Of attention and gradients, for the logit of the class:

    - "relevance": `class_relevance` (Chefer, Gur & Wolf 2021)
    - "legrad": gradients of the weights in every layer (arXiv 2404.03214)
    - "tokentm": relevance with the change of the tokens in every layer (arXiv 2403.14552)
    - "attnlrp": layer-wise relevance propagation (arXiv 2402.05602), summed over pixels

    Of gradients alone:

    - "gradient": mean of |∂y/∂pixel|, the largest over channels (Simonyan et al. 2014)
    - "gradient × input": sum of ∂y/∂pixel · (pixel - baseline)
    - "integrated gradients": the same, with the mean gradient from the baseline to the image
      (Sundararajan, Taly & Yan 2017)

    Of changed images, for `score`:

    - "occlusion": the fall when the patch is replaced by the baseline
    - "shapley": exact Shapley values, `shapley`

    Controls: "ink" is the mean |pixel - baseline|, "random" random numbers.

    Args:
        method: Name of the method.
        model: The model; it runs in evaluation mode.
        images: Model inputs, normalised already.
        grid: The patches; by default as the model declares them.
        baseline: What stands for a missing patch; by default black, for models with mean and std.
        classes: The class of each image; by default the predicted one.
        layers: Which layers to record, as in `capture`.
        score: What "occlusion" and "shapley" measure.
        seed: Seed of "random".
        batch_size: Images in a forward pass.

    Returns:
        One number for each patch, on the CPU, in float64; larger for more important.

    Raises:
        ConfigError: For an unknown method, or a missing grid or baseline.
        InputError: If the layers do not attend from all tokens of the grid to all of them, or the
            model has no parts that the method needs.
    """
    if method not in _METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    check_score(score)
    grid = grid or grid_of(model)
    grid.patch_shape(images)
    if classes is None:
        classes = probabilities(model, images, batch_size=batch_size).argmax(1)
    generator = torch.Generator().manual_seed(seed)
    device = device_of(model, images)
    parts = []
    for part, targets in zip(*(batches(x, batch_size) for x in (images, classes)), strict=True):
        task = _Task(
            model, part.to(device), targets.to(device), grid, baseline, layers, score, generator
        )
        parts.append(_METHODS[method](task).detach().double().cpu())
    return torch.cat(parts)


class _Trace(NamedTuple):
    """A forward pass: the records, the gradients of their outputs, and the tokens read out."""

    recording: Recording
    gradients: tuple[Float[Tensor, "batch heads queries value_dim"], ...]
    readout: Readout


@dataclass
class _Task:
    """One batch of images to explain."""

    model: nn.Module
    images: Float[Tensor, "batch channels height width"]
    classes: Int[Tensor, " batch"]
    grid: Grid
    given_baseline: Baseline | None
    layers: Layers
    score: Score
    generator: torch.Generator

    @property
    def baseline(self) -> Baseline:
        return self.given_baseline or default_baseline(self.model)

    @cached_property
    def trace(self) -> _Trace:
        y, _, recording = scored(self.model, self.images, self.classes, layers=self.layers)
        check_tokens(self.grid, square_weights(recording[-1]).shape[-1], recording[-1].name)
        gradients = output_gradients(y, recording.records)
        return _Trace(recording, gradients, readout_tokens(gradients[-1]))

    def patches(self, tokens: Float[Tensor, "batch tokens"]) -> Float[Tensor, "batch patches"]:
        return tokens[:, self.grid.num_prefix_tokens :]

    def read_out(
        self, matrix: Float[Tensor, "batch tokens tokens"]
    ) -> Float[Tensor, "batch patches"]:
        return self.patches(read_out(matrix, self.trace.readout))

    def patch_sums(
        self, pixels: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch patches"]:
        size = pixels[0].numel() // self.grid.num_patches
        return self.grid.patch_means(pixels).flatten(1) * size

    def pixel_gradient(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        with evaluation_mode(self.model), gradients_on(self.model):
            pixels = images.detach().clone().requires_grad_()
            y = logits_of(self.model(pixels)).gather(1, self.classes[:, None]).sum()
            (gradient,) = torch.autograd.grad(y, pixels)
        return gradient


def _value_weighted(task: _Task) -> Tensor:
    projection = output_projections(task.model, task.images, task.layers)[-1]
    return task.read_out(value_norms(task.trace.recording[-1], projection).mean(dim=1))


def _max_flow(task: _Task) -> Tensor:
    weights = [record.weights.detach() for record in task.trace.recording.records]
    return task.patches(max_flow(weights, readout=task.trace.readout))


def _legrad(task: _Task) -> Tensor:
    blocks = blocks_of(task.model, task.trace.recording.names)
    return task.patches(legrad(task.model, task.images, task.classes, blocks, layers=task.layers))


def _tokentm(task: _Task) -> Tensor:
    recording, gradients, _ = task.trace
    blocks = blocks_of(task.model, recording.names)
    with evaluation_mode(task.model), torch.no_grad(), tokens_observed(blocks) as tokens:
        task.model(task.images)
    projections = output_projections(task.model, task.images, task.layers)
    return task.read_out(tokentm(recording.records, gradients, tokens, projections))


def _gradient(task: _Task) -> Tensor:
    sizes = task.pixel_gradient(task.images).abs().amax(dim=1, keepdim=True)
    return task.grid.patch_means(sizes).flatten(1)


def _gradient_times_input(task: _Task) -> Tensor:
    change = task.images - task.baseline.of(task.images)
    return task.patch_sums(change * task.pixel_gradient(task.images))


def _integrated_gradients(task: _Task) -> Tensor:
    start = task.baseline.of(task.images)
    change = task.images - start
    points, weights = np.polynomial.legendre.leggauss(PATH_POINTS)
    total = torch.zeros_like(change)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        total += float(weight) * task.pixel_gradient(start + float(point) * change)
    return task.patch_sums(change * total)


def _occlusion(task: _Task) -> Tensor:
    single = torch.eye(task.grid.num_patches, dtype=torch.bool).expand(len(task.images), -1, -1)
    options: Any = {"grid": task.grid, "baseline": task.baseline, "score": task.score}
    return subset_falls(task.model, task.images, single, task.classes, **options)


def _shapley(task: _Task) -> Tensor:
    options: Any = {"grid": task.grid, "baseline": task.baseline, "score": task.score}
    return shapley(task.model, task.images, classes=task.classes, **options).values


def _random(task: _Task) -> Tensor:
    shape = (len(task.images), task.grid.num_patches)
    return torch.rand(shape, generator=task.generator, dtype=torch.float64)


_METHODS: dict[str, Callable[[_Task], Tensor]] = {
    SHAPLEY: _shapley,
    "occlusion": _occlusion,
    "integrated gradients": _integrated_gradients,
    "gradient × input": _gradient_times_input,
    GRADIENT: _gradient,
    "attnlrp": lambda x: x.patch_sums(attnlrp(x.model, x.images, x.classes, layers=x.layers)),
    "legrad": _legrad,
    "tokentm": _tokentm,
    RELEVANCE: lambda x: x.read_out(relevance_matrix(x.trace.recording.records, x.trace.gradients)),
    "max-flow": _max_flow,
    ROLLOUT: lambda x: x.read_out(rollout(x.trace.recording)),
    VALUES: _value_weighted,
    RAW: lambda x: x.read_out(square_weights(x.trace.recording[-1]).mean(dim=1)),
    INK: lambda x: x.baseline.difference(x.images, x.grid),
    RANDOM: _random,
}
METHODS = tuple(_METHODS)
