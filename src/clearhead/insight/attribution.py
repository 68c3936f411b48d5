"""Methods that attribute a prediction to the patches of an image, under one protocol."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearhead.errors import check_one_of
from clearhead.insight._attnlrp import attnlrp
from clearhead.insight._layerwise import legrad, projection_of, tokentm
from clearhead.insight.coalitions import shapley
from clearhead.insight.forward import (
    Classes,
    Score,
    batches,
    check_finite,
    class_of_each,
    on_device_of,
    probabilities,
)
from clearhead.insight.perturbation import Baseline, Removal
from clearhead.insight.propagation import max_flow, read_out, rollout, square_weights
from clearhead.insight.relevance import (
    OVERFLOW,
    Trace,
    check_module,
    pixel_gradient,
    trace_model,
)
from clearhead.insight.tokens import Grid, check_tokens, grid_for
from clearhead.insight.weights import value_norms
from clearhead.recording import Layers

RAW, ROLLOUT, RELEVANCE, VALUES = "raw attention", "rollout", "relevance", "value-weighted"
GRADIENT, INK, RANDOM, SHAPLEY = "gradient", "ink", "random", "shapley"

# Points of the Gauss-Legendre rule on the path of Integrated Gradients.
PATH_POINTS = 50


@torch.inference_mode(mode=False)
@torch.no_grad()  # maps need no graph; passes that do run in `gradients_on`
def attribute(
    method: str,
    model: nn.Module,
    images: Float[Tensor, "batch channels height width"],
    *,
    grid: Grid | None = None,
    baseline: Baseline | None = None,
    classes: Classes | None = None,
    layers: Layers = None,
    score: Score = "log-odds",
    seed: int = 0,
    batch_size: int = 100,
) -> Float[Tensor, "batch patches"]:
    """Attribute the prediction to the patches of each image, by one of `insight.METHODS`.

    From attention alone, the row of the tokens from which the model computes its output (those
    whose output in the last layer has a gradient):

    - "raw attention": the weights of the last layer, mean over heads
    - "value-weighted": ‖w · v W_O‖ of the last layer, mean over heads: `value_norms`
      (Kobayashi et al. 2020, arXiv 2004.10102)
    - "rollout", "max-flow": `rollout`, `max_flow` (Abnar & Zuidema 2020, arXiv 2005.00928)

    From attention and gradients of y, the logit of the class:

    - "relevance": `class_relevance` (Chefer, Gur & Wolf 2021, arXiv 2103.15679)
    - "legrad": gradients of the weights of every layer (Bousselham et al. 2024, arXiv 2404.03214)
    - "tokentm": relevance, weighted by the change of the tokens in every layer (Wu et al. 2024,
      arXiv 2403.14552)
    - "attnlrp": layer-wise relevance propagation (Achtibat et al. 2024, arXiv 2402.05602), summed
      over the pixels of the patch

    From gradients alone:

    - "gradient": mean over pixels of the largest |∂y/∂pixel| over channels (Simonyan et al. 2014,
      arXiv 1312.6034)
    - "gradient × input": sum over pixels of ∂y/∂pixel · (pixel - baseline)
    - "integrated gradients": the same with the mean gradient on the line from the baseline to the
      image (Sundararajan, Taly & Yan 2017, arXiv 1703.01365)

    From changed images:

    - "occlusion": the fall of `score` when the patch is replaced by the baseline
    - "shapley": exact Shapley values of `score`: `shapley`

    Controls that do not use the model: "ink" is the mean |pixel - baseline|, "random" is uniform
    random numbers.

    Args:
        method: Name of the method.
        model: The model; it runs in evaluation mode.
        images: Normalised images of shape (batch, channels, height, width).
        grid: The patches; by default those that the model declares.
        baseline: What replaces a patch or pixel; by default black, for models with mean and std.
        classes: The class of each image, of shape (batch,), or one for all; by default the
            predicted one.
        layers: The layers to record, as in `capture`; by default all on which the class depends.
        score: The score of the class for "occlusion" and "shapley": "log-odds", "logit" or
            "probability".
        seed: Seed of "random".
        batch_size: Images in a forward pass.

    Returns:
        The attribution of each patch, of shape (batch, patches), in float64 on the CPU; the largest
        number is the most important.

    Raises:
        ConfigError: For an unknown method, or a missing grid or baseline.
        InputError: If the layers do not attend from all tokens of the grid to all of them or do not
            follow one another, the model has no parts that the method needs, or pixels, logits or
            gradients are not finite.
        RuntimeError: For "attnlrp" under gradient checkpointing.
    """
    check_one_of("method", method, METHODS)
    check_one_of("score", score, get_args(Score))
    grid = grid_for(model, images, grid)
    check_module(model)
    if classes is None:
        classes = probabilities(model, images, batch_size=batch_size).argmax(1)
    classes = class_of_each(classes, len(images))
    images, classes = (on_device_of(model, x) for x in (images, classes))
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for part, targets in zip(*(batches(x, batch_size) for x in (images, classes)), strict=True):
        task = _Task(
            model, part, targets, grid=grid, baseline=baseline, score=score,
            layers=layers, generator=generator,
        )  # fmt: skip
        parts.append(_METHODS[method](task).double().cpu())
    maps = torch.cat(parts)
    check_finite(maps, OVERFLOW)
    return maps


@dataclass(frozen=True, eq=False)
class _Task(Removal):
    """One batch of images to explain, and the options of `attribute`."""

    model: nn.Module
    _: KW_ONLY
    layers: Layers
    generator: torch.Generator

    def patch_sums(
        self, pixels: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch patches"]:
        size = pixels[0].numel() // self.grid.num_patches
        return self.grid.patch_means(pixels).flatten(1) * size


def _of_tokens(
    method: Callable[[_Task, Trace], Tensor], **options: Any
) -> Callable[[_Task], Float[Tensor, "batch patches"]]:
    """Make a method of patches from one that computes a map or a matrix of tokens from a trace.

    `options` are those of `trace_model`.
    """

    def of_patches(task: _Task) -> Tensor:
        trace = trace_model(
            task.model, task.images, task.classes,
            layers=task.layers, skip_unused=task.layers is None, **options,
        )  # fmt: skip
        last = trace.records[-1]
        check_tokens(task.grid, square_weights(last).shape[-1], last.name)
        tokens = method(task, trace)
        tokens = read_out(tokens, trace.readout) if tokens.dim() == 3 else tokens
        return tokens[:, task.grid.num_prefix_tokens :]

    return of_patches


def _value_weighted(task: _Task, trace: Trace) -> Tensor:
    last = trace.records[-1]
    return value_norms(last, projection_of(task.model, last, trace.calls)).mean(dim=1)


def _gradient(task: _Task) -> Tensor:
    gradient = pixel_gradient(task.model, task.images, task.classes)
    return task.grid.patch_means(gradient.abs().amax(dim=1, keepdim=True)).flatten(1)


def _gradient_times_input(task: _Task) -> Tensor:
    change = task.images - task.replacement.of(task.images)
    return task.patch_sums(change * pixel_gradient(task.model, task.images, task.classes))


def _integrated_gradients(task: _Task) -> Tensor:
    start = task.replacement.of(task.images)
    change = task.images - start
    points, weights = np.polynomial.legendre.leggauss(PATH_POINTS)
    total = torch.zeros_like(change)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        pixels = start + float(point) * change
        total += float(weight) * pixel_gradient(task.model, pixels, task.classes)
    return task.patch_sums(change * total)


def _occlusion(task: _Task) -> Tensor:
    single = torch.eye(task.grid.num_patches, dtype=torch.bool).expand(len(task.images), -1, -1)
    return task.falls(single)


def _shapley(task: _Task) -> Tensor:
    return shapley(
        task.model, task.images, classes=task.classes,
        grid=task.grid, baseline=task.replacement, score=task.score,
    ).values  # fmt: skip


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
    "legrad": _of_tokens(
        lambda x, trace: legrad(x.model, x.images, x.classes, trace),
        observed=nn.Module,
        retain_graph=True,
    ),
    "tokentm": _of_tokens(lambda x, trace: tokentm(x.model, trace), observed=nn.Module),
    RELEVANCE: _of_tokens(lambda _, trace: trace.relevance()),
    "max-flow": _of_tokens(lambda _, trace: max_flow(trace.records, readout=trace.readout)),
    ROLLOUT: _of_tokens(lambda _, trace: rollout(trace.records)),
    VALUES: _of_tokens(_value_weighted, observed=nn.Linear),
    RAW: _of_tokens(lambda _, trace: square_weights(trace.records[-1]).mean(dim=1)),
    INK: lambda x: x.replacement.difference(x.images, x.grid),
    RANDOM: _random,
}
METHODS = tuple(_METHODS)
