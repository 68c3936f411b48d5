"""What each head attends to, measured: entropy, distance, shares on kinds of patches, agreement.

Every measure is taken for one image and head, and then averaged over images, with the standard
error of that mean.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearhead.errors import InputError
from clearhead.inference import evaluation_mode
from clearhead.insight.foreground import Foreground
from clearhead.insight.forward import batches, on_device_of
from clearhead.insight.propagation import square_layers
from clearhead.insight.tokens import Tokens, check_tokens, coordinates, grid_of
from clearhead.insight.weights import Records, name_of, records_of
from clearhead.recording import Layers, capture

# A share is a mean over queries of the sum of weights on some keys. Its lift is the part that
# depends on the query (less what other queries give to the same keys) or, for foreground,
# background and centre, on the image (less what the same patches receive in other images).
MEASURES: Mapping[str, str] = MappingProxyType(
    {
        "entropy": "entropy of a query's weights, in nats",
        "relative_entropy": "entropy over that of uniform weights, ln(keys)",
        "distance": "mean distance from a patch to the patches it attends to, in patches",
        "horizontal": "mean distance along the rows, in patches",
        "vertical": "mean distance along the columns, in patches",
        "prefix": "on prefix tokens",
        "itself": "of a patch on itself",
        "neighbours": "of a patch on the (up to 8) adjacent patches",
        "row": "of a patch on the others in its row",
        "column": "of a patch on the others in its column",
        "top_bottom": "of top patches on bottom ones, and of bottom on top",
        "foreground": "on foreground patches",
        "background": "on background patches",
        "centre": "on the patch of the centre of mass",
        "fixed_patch": "on the patch with the largest weight over all images",
        "itself_lift": "on itself, due to the query",
        "neighbours_lift": "on adjacent patches, due to the query",
        "row_lift": "on its row, due to the query",
        "column_lift": "on its column, due to the query",
        "top_bottom_lift": "between top and bottom, due to the query",
        "foreground_lift": "on foreground patches, due to the image",
        "background_lift": "on background patches, due to the image",
        "centre_lift": "on the centre of mass, due to the image",
    }
)


class Estimate(NamedTuple):
    """Means over images, and their standard errors (None for a single image)."""

    mean: Float[Tensor, "layers heads"]
    standard_error: Float[Tensor, "layers heads"] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadMeasures:
    """All measures of all heads; `MEASURES` describes them.

    Entropy, prefix, foreground, background and centre are means over all queries; distances and the
    other shares over those that are patches. Distances leave out the weights of prefix tokens.

    Attributes:
        layers: Names of the layers.
        tokens: What the tokens stand for.
        num_images: Number of images.
        estimates: The measures by name. Those of the foreground are there if it was given, their
            lifts if there were at least two images as well.
        most_attended: The patch (from 0) with the largest mean weight over queries and images.
        agreement: For two heads of a layer 1 minus the Jensen-Shannon distance of their weights,
            mean over queries and images: 1 for equal heads, 0 for heads that never attend to the
            same key.
    """

    layers: tuple[str, ...]
    tokens: Tokens
    num_images: int
    estimates: Mapping[str, Estimate]
    most_attended: Int[Tensor, "layers heads"]
    agreement: Float[Tensor, "layers heads heads"]

    def __getitem__(self, measure: str) -> Estimate:
        """The estimates of one measure; `KeyError` with those that were taken."""
        if measure not in self.estimates:
            raise KeyError(
                f"no measure {measure!r} was taken; expected one of {', '.join(self.estimates)}"
            )
        return self.estimates[measure]

    def __repr__(self) -> str:
        return (
            f"HeadMeasures({len(self.layers)} layers, {self.num_heads} heads, "
            f"{len(self.estimates)} measures, {self.num_images} images)"
        )

    @property
    def num_heads(self) -> int:
        """Heads of a layer."""
        return self.agreement.shape[-1]

    def to_dict(self) -> dict[str, Any]:
        """Layers, number of images, and of each measure means and standard errors, as lists."""
        return {
            "layers": list(self.layers),
            "num_images": self.num_images,
            "measures": {
                name: {key: None if x is None else x.tolist() for key, x in y._asdict().items()}
                for name, y in self.estimates.items()
            },
            "most_attended": self.most_attended.tolist(),
            "agreement": self.agreement.tolist(),
        }


def measure_heads(
    model: nn.Module,
    inputs: Tensor | Mapping[str, Any],
    tokens: Tokens | None = None,
    *,
    foreground: Foreground | None = None,
    layers: Layers = None,
    batch_size: int = 100,
) -> HeadMeasures:
    """Run a model and measure what each of its heads attends to.

    Args:
        model: The model; it runs in evaluation mode.
        inputs: Normalised images of shape (images, channels, height, width), or a dictionary of the
            model's arguments, whose tensors have the same length.
        tokens: What the tokens stand for; by default the grid that the model declares.
        foreground: The foreground of the same images, for the measures that need it.
        layers: The layers to record, as in `capture`; by default all.
        batch_size: Images in a forward pass.

    Returns:
        For each measure the mean over the images and its standard error, of shape (layers, heads).

    Raises:
        InputError: If there are no inputs, or the layers have other tokens or different shapes.
        ConfigError: If `batch_size` is below 1, or the model does not declare its grid.
    """
    tokens, parts = tokens or grid_of(model), []
    names: tuple[str, ...] = ()
    with evaluation_mode(model), torch.no_grad():
        for batch in _batches(model, inputs, batch_size):
            with capture(layers) as recording:
                model(**batch) if isinstance(batch, Mapping) else model(batch)
            parts.append(_by_image(recording, tokens))
            names = recording.names
    return _summary(names, parts, tokens, foreground)


def measure_records(
    layers: Records, tokens: Tokens, *, foreground: Foreground | None = None
) -> HeadMeasures:
    """The same for a recording, or weights of shape (batch, heads, tokens, tokens)."""
    names = tuple(name_of(record) for record in records_of(layers))
    return _summary(names, [_by_image(layers, tokens)], tokens, foreground)


def entropy(weights: Float[Tensor, "*batch keys"]) -> Float[Tensor, "*batch"]:
    """-Σ w ln w, in nats; 0 ln 0 = 0."""
    nats: Tensor = -torch.special.xlogy(weights, weights).sum(dim=-1)
    return nats


def agreement_of(
    weights: Float[Tensor, "batch heads queries keys"],
) -> Float[Tensor, "batch heads heads"]:
    """1 - Jensen-Shannon distance (root of the divergence in bits) of two heads, mean over queries.

    (Lin 1991, "Divergence measures based on the Shannon entropy"; Endres & Schindelin 2003: its
    root is a metric.)
    """
    heads = weights.shape[1]
    own = entropy(weights)
    result = torch.ones(len(weights), heads, heads, dtype=weights.dtype)
    for head in range(heads - 1):
        this, others = slice(head, head + 1), slice(head + 1, None)
        mixture = entropy((weights[:, this] + weights[:, others]) / 2)
        bits = (mixture - (own[:, this] + own[:, others]) / 2).clamp_min(0.0) / math.log(2)
        agreement = 1.0 - bits.clamp_max(1.0).sqrt().mean(dim=-1)
        result[:, head, others] = agreement
        result[:, others, head] = agreement
    return result


def _by_image(
    layers: Records, tokens: Tokens
) -> dict[str, Float[Tensor, "images layers heads *rest"]]:
    """The measures of each image, weights received by patches, and agreements of heads."""
    measures: list[dict[str, Tensor]] = []
    for record, weights in square_layers(layers, same_heads=True):
        check_tokens(tokens, weights.shape[-1], name_of(record))
        measures.append(_of_layer(weights.cpu(), tokens))
    return {name: torch.stack([x[name] for x in measures], dim=1) for name in measures[0]}


def _of_layer(
    weights: Float[Tensor, "batch heads tokens tokens"], tokens: Tokens
) -> dict[str, Float[Tensor, "batch heads *rest"]]:
    """All that needs no foreground."""
    first = tokens.num_prefix_tokens
    nats = entropy(weights).mean(dim=-1)
    patches = weights[..., first:, first:]
    mass = patches.sum(dim=(-2, -1)).clamp_min(torch.finfo(weights.dtype).tiny)
    rows, columns = (coordinates(tokens)[:, None] - coordinates(tokens)[None]).abs().unbind(-1)
    distances = {"distance": rows.hypot(columns), "horizontal": columns, "vertical": rows}
    return {
        "entropy": nats,
        "relative_entropy": nats / math.log(max(tokens.num_tokens, 2)),
        "prefix": weights[..., :first].sum(dim=-1).mean(dim=-1),
        **{name: total / mass for name, total in _totals(patches, distances).items()},
        **_shares_and_lifts(patches, _share_kernels(rows, columns, tokens)),
        "received": weights.mean(dim=-2)[..., first:],
        "agreement": agreement_of(weights),
    }


def _share_kernels(
    rows: Tensor, columns: Tensor, tokens: Tokens
) -> dict[str, Float[Tensor, "patches patches"]]:
    """For each share 1 where a query (row) and a key (column) count, from their distances."""
    farther = torch.maximum(rows, columns)
    kernels = {"itself": farther == 0, "neighbours": farther == 1}
    if tokens.rows > 1:
        band = max(1, tokens.rows // 3)
        place = coordinates(tokens)[:, 0]
        top, bottom = place < band, place >= tokens.rows - band
        kernels |= {
            "row": (rows == 0) & (columns > 0),
            "column": (columns == 0) & (rows > 0),
            "top_bottom": top[:, None] & bottom | bottom[:, None] & top,
        }
    return {name: kernel.double() for name, kernel in kernels.items()}


def _shares_and_lifts(
    weights: Float[Tensor, "batch heads patches patches"],
    kernels: dict[str, Float[Tensor, "patches patches"]],
) -> dict[str, Float[Tensor, "batch heads"]]:
    """Means over the queries of a kernel, and the same less what other queries give.

    Without the lift, a head in which every query attends to one patch in the middle would seem to
    attend to neighbours, because that patch has many.
    """
    count = weights.shape[-1]
    received = weights.mean(dim=-2)
    correction = count / max(count - 1, 1)  # a query is not among the others
    shares, lifts = {}, {}
    for name, total in _totals(weights, kernels).items():
        kernel = kernels[name]
        queries = kernel.any(dim=1).sum().clamp_min(1)
        shares[name] = total / queries
        lifts[f"{name}_lift"] = correction * (total - received @ kernel.sum(dim=0)) / queries
    return shares | lifts


def _totals(
    weights: Float[Tensor, "batch heads patches patches"],
    kernels: dict[str, Float[Tensor, "patches patches"]],
) -> dict[str, Float[Tensor, "batch heads"]]:
    """Σ over queries and keys of weight · kernel, for every kernel in one product."""
    together = torch.stack([kernel.flatten() for kernel in kernels.values()], dim=-1)
    totals = weights.flatten(-2) @ together
    return dict(zip(kernels, totals.unbind(dim=-1), strict=True))


def _summary(
    layers: tuple[str, ...],
    parts: list[dict[str, Tensor]],
    tokens: Tokens,
    foreground: Foreground | None,
) -> HeadMeasures:
    measures = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    received, agreement = measures.pop("received"), measures.pop("agreement")
    most_attended = received.mean(dim=0).argmax(dim=-1)
    patch = most_attended.expand(received.shape[:-1])[..., None]
    measures["fixed_patch"] = received.gather(-1, patch)[..., 0]
    if foreground is not None:
        measures |= _foreground_measures(received, tokens, foreground)
    return HeadMeasures(
        layers=layers,
        tokens=tokens,
        num_images=len(received),
        estimates={name: _estimate(measures[name]) for name in MEASURES if name in measures},
        most_attended=most_attended,
        agreement=agreement.mean(dim=0),
    )


def _foreground_measures(
    received: Float[Tensor, "images layers heads patches"], tokens: Tokens, foreground: Foreground
) -> dict[str, Float[Tensor, "images layers heads"]]:
    count = len(received)
    if foreground.amount.shape != (count, tokens.rows, tokens.columns):
        raise InputError(
            f"foreground must be of the same {count} images and {tokens.rows} × {tokens.columns} "
            f"patches, got {tuple(foreground.amount.shape)}"
        )
    masks = {
        "foreground": foreground.mask.cpu(),
        "background": foreground.background.cpu(),
        "centre": nn.functional.one_hot(foreground.centre.long().cpu(), tokens.num_patches),
    }
    result = {}
    for name, mask in masks.items():
        kernel = mask.to(received)[:, None, None]
        result[name] = (received * kernel).sum(dim=-1)
        if count > 1:
            # less the mean of the other images: a head with fixed patches, where the foreground
            # mostly lies, does not follow the foreground
            usual = (received.mean(dim=0) * kernel).sum(dim=-1)
            result[f"{name}_lift"] = (result[name] - usual) * count / (count - 1)
    return result


def _estimate(x: Float[Tensor, "images layers heads"]) -> Estimate:
    count = len(x)
    return Estimate(x.mean(dim=0), x.std(dim=0) / count**0.5 if count > 1 else None)


def _batches(
    model: nn.Module, inputs: Tensor | Mapping[str, Any], size: int
) -> Iterator[Tensor | dict[str, Any]]:
    named = inputs if isinstance(inputs, Mapping) else {"": inputs}
    tensors = {name: x for name, x in named.items() if isinstance(x, Tensor)}
    counts = {len(x) for x in tensors.values()}
    if len(counts) != 1:
        raise InputError(f"inputs by name must be tensors of one length, got {sorted(counts)}")
    if counts == {0}:
        raise InputError("expected at least one input, got none")
    for parts in zip(*(batches(x, size) for x in tensors.values()), strict=True):
        moved = [on_device_of(model, x) for x in parts]
        yield (
            moved[0] if named is not inputs else {**named, **dict(zip(tensors, moved, strict=True))}
        )
