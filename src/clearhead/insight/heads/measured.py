"""What each head looks at, measured: entropy, distance, shares on kinds of patches, agreement.

Every measure is taken for one image, head by head, and then averaged over images, with the
standard error of that mean.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearhead.errors import ConfigError, InputError
from clearhead.inference import evaluation_mode
from clearhead.insight.answers import device_of
from clearhead.insight.grids import grid_of
from clearhead.insight.heads.measures import agreement_of, geometric_measures
from clearhead.insight.ink import Ink
from clearhead.insight.maps.rollout import square_weights
from clearhead.insight.maps.weights import Records, name_of, records_of
from clearhead.insight.tokens import Tokens, check_tokens
from clearhead.recording._capture import Layers, capture


class Described(NamedTuple):
    """What a measure says, and its unit."""

    words: str
    unit: str


# Every measure. A share is a mean over queries of the sum of weights on some keys. Its lift is what
# of it is due to the query (what the same keys get from other queries is taken off) or, for ink,
# to the image (what the same places get in other images is taken off).
MEASURES: Mapping[str, Described] = MappingProxyType(
    {
        "entropy": Described("entropy of a query's weights", "nats"),
        "relative_entropy": Described("entropy over that of even weights, ln(keys)", "1"),
        "distance": Described("mean distance from a patch to the patches it asks", "patches"),
        "horizontal": Described("mean distance along the rows", "patches"),
        "vertical": Described("mean distance along the columns", "patches"),
        "prefix": Described("on tokens that are no patches", "share"),
        "itself": Described("of a patch on itself", "share"),
        "neighbours": Described("of a patch on the (up to 8) patches around it", "share"),
        "row": Described("of a patch on the others in its row", "share"),
        "column": Described("of a patch on the others in its column", "share"),
        "top_bottom": Described("of top patches on bottom ones, and back", "share"),
        "ink": Described("on patches with ink", "share"),
        "blank": Described("on blank patches", "share"),
        "centre": Described("on the patch of the centre of mass", "share"),
        "fixed_place": Described("on the patch that is asked most over all images", "share"),
        "itself_lift": Described("on itself, due to the query", "share"),
        "neighbours_lift": Described("on the patches around it, due to the query", "share"),
        "row_lift": Described("on its row, due to the query", "share"),
        "column_lift": Described("on its column, due to the query", "share"),
        "top_bottom_lift": Described("between top and bottom, due to the query", "share"),
        "ink_lift": Described("on patches with ink, due to the image", "share"),
        "blank_lift": Described("on blank patches, due to the image", "share"),
        "centre_lift": Described("on the centre of mass, due to the image", "share"),
    }
)


class Figures(NamedTuple):
    """Means over images, and their standard errors (None for a single image)."""

    mean: Float[Tensor, "layers heads"]
    error: Float[Tensor, "layers heads"] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadMeasures:
    """All measures of all heads; `MEASURES` says what each is.

    Entropy, prefix and ink are means over all queries, distances and the other shares over those
    that are patches; distances leave out what goes to prefix tokens. Measures about ink are there
    where the ink was given, and their lifts where there were at least two images. `most_asked` is
    the patch (from 0) that gets most over all queries and images. `agreement` between two heads
    of a layer is 1 minus the Jensen-Shannon distance of their weights, mean over queries and
    images: 1 for equal heads, 0 for heads that never ask the same key.
    """

    layers: tuple[str, ...]
    tokens: Tokens
    num_images: int
    figures: Mapping[str, Figures]
    most_asked: Int[Tensor, "layers heads"]
    agreement: Float[Tensor, "layers heads heads"]

    def __getitem__(self, measure: str) -> Figures:
        """The figures of one measure; raises `KeyError` with those there are."""
        if measure not in self.figures:
            known = ", ".join(self.figures)
            raise KeyError(f"no measure {measure!r} was taken; there is {known}")
        return self.figures[measure]

    @property
    def num_heads(self) -> int:
        """Heads of a layer."""
        return self.agreement.shape[-1]


def measure_heads(
    model: nn.Module,
    inputs: Tensor | Mapping[str, Any],
    tokens: Tokens | None = None,
    *,
    ink: Ink | None = None,
    layers: Layers = None,
    batch_size: int = 100,
) -> HeadMeasures:
    """Run the model and measure every head.

    `inputs` are what the model takes: normalised images, or arguments by name. `tokens` are by
    default the grid that the model says it has. `ink` (`ink_of` the same images before they were
    normalised) is needed for the measures about ink.
    """
    tokens = tokens or grid_of(model)
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
    parts = []
    with evaluation_mode(model), torch.no_grad():
        for batch in _batches(model, inputs, batch_size):
            with capture(layers) as seen:
                model(**batch) if isinstance(batch, Mapping) else model(batch)
            parts.append(_Sample.of(seen, tokens))
    return _summary(_Sample.joined(parts), tokens, ink)


def measure_records(layers: Records, tokens: Tokens, *, ink: Ink | None = None) -> HeadMeasures:
    """The same of attention already captured, or of weights (batch, heads, tokens, tokens)."""
    return _summary(_Sample.of(layers, tokens), tokens, ink)


class _Sample(NamedTuple):
    """What is kept of each image: its measures, and how much each patch was asked."""

    layers: tuple[str, ...]
    measures: dict[str, Float[Tensor, "images layers heads"]]
    received: Float[Tensor, "images layers heads patches"]
    agreement: Float[Tensor, "images layers heads heads"]

    @classmethod
    def of(cls, layers: Records, tokens: Tokens) -> "_Sample":
        records = records_of(layers)
        shape = None
        per_layer = []
        for record in records:
            weights = square_weights(record).cpu()
            check_tokens(tokens, weights.shape[-1], name_of(record))
            if shape not in (None, weights.shape):
                raise InputError(
                    f"{name_of(record)} has (batch, heads, tokens, tokens) {tuple(weights.shape)}, "
                    f"the layers before it {tuple(shape or ())}; choose layers of one shape"
                )
            shape = weights.shape
            per_layer.append(
                (
                    geometric_measures(weights, tokens),
                    _received(weights, tokens),
                    agreement_of(weights),
                )
            )
        return cls(
            tuple(name_of(record) for record in records),
            {
                name: torch.stack([layer[0][name] for layer in per_layer], dim=1)
                for name in per_layer[0][0]
            },
            torch.stack([layer[1] for layer in per_layer], dim=1),
            torch.stack([layer[2] for layer in per_layer], dim=1),
        )

    @classmethod
    def joined(cls, parts: "list[_Sample]") -> "_Sample":
        if not parts:
            raise InputError("nothing to measure: there are no inputs")
        return cls(
            parts[0].layers,
            {
                name: torch.cat([part.measures[name] for part in parts])
                for name in parts[0].measures
            },
            torch.cat([part.received for part in parts]),
            torch.cat([part.agreement for part in parts]),
        )


def _received(
    weights: Float[Tensor, "batch heads tokens tokens"], tokens: Tokens
) -> Float[Tensor, "batch heads patches"]:
    return weights.mean(dim=-2)[..., tokens.num_prefix_tokens :]


def _summary(sample: _Sample, tokens: Tokens, ink: Ink | None) -> HeadMeasures:
    most_asked = sample.received.mean(dim=0).argmax(dim=-1)
    place = most_asked.expand(sample.received.shape[:-1])[..., None]
    measures = sample.measures | {"fixed_place": sample.received.gather(-1, place)[..., 0]}
    if ink is not None:
        measures = measures | _ink_measures(sample.received, tokens, ink)
    return HeadMeasures(
        layers=sample.layers,
        tokens=tokens,
        num_images=len(sample.received),
        figures={name: _figures(measures[name]) for name in MEASURES if name in measures},
        most_asked=most_asked,
        agreement=sample.agreement.mean(dim=0),
    )


def _ink_measures(
    received: Float[Tensor, "images layers heads patches"], tokens: Tokens, ink: Ink
) -> dict[str, Float[Tensor, "images layers heads"]]:
    count = len(received)
    if ink.amount.shape != (count, tokens.rows, tokens.columns):
        raise InputError(
            f"ink must be of the same {count} images and {tokens.rows} × {tokens.columns} patches, "
            f"got {tuple(ink.amount.shape)}"
        )
    centre = nn.functional.one_hot(ink.centre.long().cpu(), tokens.num_patches)
    kinds = {"ink": ink.inked.cpu(), "blank": ink.blank.cpu(), "centre": centre}
    result = {}
    for name, kind in kinds.items():
        where = kind.to(received)[:, None, None]
        result[name] = (received * where).sum(dim=-1)
        if count > 1:
            # against the mean of the other images: a head that always asks the same places,
            # where ink happens to lie mostly, follows no ink
            usual = (received.mean(dim=0) * where).sum(dim=-1)
            result[f"{name}_lift"] = (result[name] - usual) * count / (count - 1)
    return result


def _figures(x: Float[Tensor, "images layers heads"]) -> Figures:
    count = len(x)
    return Figures(x.mean(dim=0), x.std(dim=0) / count**0.5 if count > 1 else None)


def _batches(
    model: nn.Module, inputs: Tensor | Mapping[str, Any], size: int
) -> Iterator[Tensor | dict[str, Any]]:
    if isinstance(inputs, Tensor):
        for batch in inputs.split(size) if len(inputs) else ():
            yield batch.to(device_of(model, batch))
        return
    tensors = {name: x for name, x in inputs.items() if isinstance(x, Tensor)}
    others = {name: x for name, x in inputs.items() if name not in tensors}
    counts = {len(x) for x in tensors.values()}
    if len(counts) != 1:
        raise InputError(f"inputs by name must be tensors of one length, got {sorted(counts)}")
    for start in range(0, counts.pop(), size):
        parts = {name: x[start : start + size] for name, x in tensors.items()}
        yield {name: x.to(device_of(model, x)) for name, x in parts.items()} | others
