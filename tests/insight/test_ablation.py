"""Ablation, compared with forward passes written out by hand and with other libraries' models."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import pytest
import timm
import torch
from torch import Tensor, nn

from clearhead.attention import MultiHeadAttention
from clearhead.errors import CaptureError, ConfigError, InputError, NothingCapturedError
from clearhead.insight.ablation import Method, Part, ablate, reference_means, without_part
from clearhead.insight.forward import Model, probabilities
from clearhead.insight.stats import mean_interval, paired_proportion_interval
from clearhead.insight.tokens import Grid
from tests.marks import slow_after

from .reference import (
    oblong_images,
    oblong_model,
    plain_probabilities,
    timm_vit,
    transformers_vit,
)

CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}
GRID = Grid(5, 3)
LABELS = torch.arange(23) % 11
LAYERS = [f"blocks.{layer}.attn" for layer in range(3)]


class Twice(nn.Module):
    """One attention, called twice, and class scores from the mean of the tokens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attn = MultiHeadAttention(10, 5)
        self.head = nn.Linear(10, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.attn(tokens + self.attn(tokens)).mean(1))
        return logits


def without(
    part: Part,
    model: Model,
    images: Tensor,
    *,
    method: Method,
    reference: Tensor | None = None,
    grid: Grid = GRID,
) -> Tensor:
    """Probabilities without the part, in uneven batches."""
    means = None
    if reference is not None and method == "mean":
        means = reference_means(model, reference, batch_size=2)
    around = without_part(part, method, means=means, grid=grid)
    return probabilities(model, images, batch_size=3, around=around)


@pytest.mark.parametrize("pool", slow_after(1, ["class", "mean"]))
@pytest.mark.parametrize(
    ("part", "method"),
    [
        (part, method)
        for part in (Part(layer=LAYERS[1], head=1), Part(head=0), Part(), Part(patch=4),
                     Part(layer=LAYERS[2], patch=13), Part(head=1, patch=0))
        for method in get_args(Method)
        if part.patch is not None or method != "mask"
    ],
    ids=str,
)  # fmt: skip
def test_a_part_has_its_mean_or_zeros_or_is_masked(pool: str, part: Part, method: Method) -> None:
    model, images, reference = oblong_model(pool), oblong_images(4), oblong_images(3, seed=2)
    means: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    key = model.num_prefix_tokens + (part.patch or 0)

    def keep(layer: int, head: int, weights: Tensor, values: Tensor) -> Tensor:
        means[layer, head] = (weights @ values).mean(0), values.mean(0)[key]
        return weights @ values

    def removed(layer: int, head: int, weights: Tensor, values: Tensor) -> Tensor:
        if part.layer not in (None, LAYERS[layer]) or part.head not in (None, head):
            return weights @ values
        output, value = (x if method == "mean" else 0.0 * x for x in means[layer, head])
        if part.patch is None:
            return output.expand(len(weights), -1, -1)
        weights, values = weights.clone(), values.clone()
        if method == "mask":
            weights[..., key] = 0.0
            weights /= weights.sum(-1, keepdim=True)
        else:
            values[:, key] = value
        return weights @ values

    plain_probabilities(model, reference, keep)
    grid = Grid(5, 3, model.num_prefix_tokens)
    result = without(part, model, images, method=method, reference=reference, grid=grid)
    torch.testing.assert_close(result, plain_probabilities(model, images, removed), **CLOSE)
    assert not torch.allclose(result, plain_probabilities(model, images), atol=1e-4)


def test_only_the_named_call_of_a_module_is_changed() -> None:
    model, tokens = Twice().double(), torch.randn(5, 7, 10, dtype=torch.float64)
    second = without(Part(layer="attn#2"), model, tokens, method="zero")
    logits = model.head(model.attn.proj.bias).expand(5, -1)
    torch.testing.assert_close(second, logits.softmax(1).detach(), **CLOSE)
    first = without(Part(layer="attn"), model, tokens, method="zero")
    expected = model.head(model.attn(tokens + model.attn.proj.bias).mean(1)).softmax(1)
    torch.testing.assert_close(first, expected.detach(), **CLOSE)


def test_a_part_that_contributes_nothing_changes_nothing_exactly() -> None:
    """In any batch size, because the change is computed and not the whole output."""
    model, images = oblong_model().float(), oblong_images(7).float()
    model.get_parameter("blocks.1.attn.proj.weight").data[:, 7:] = 0.0
    before = probabilities(model, images, batch_size=3)
    for method in get_args(Method):
        part = Part(layer=LAYERS[1], head=1, patch=2 if method == "mask" else None)
        after = without(part, model, images, method=method, reference=images[:3])
        assert torch.equal(after, before)
    (result,) = ablate(model, images, LABELS[:7], [Part(layer=LAYERS[1], head=1)])
    assert (result.lost, result.gained, result.changed, result.drop) == (0, 0, 0, 0.0)
    assert result.interval[0] < 0.0 < result.interval[1]
    assert (result.probability_drop, result.probability_interval) == (0.0, (0.0, 0.0))
    for layer in range(3):  # values are their bias
        model.get_parameter(f"blocks.{layer}.attn.qkv.weight").data[28:] = 0.0
    after = without(Part(patch=2), model, images, method="mean", reference=images[:3])
    assert torch.equal(after, probabilities(model, images, batch_size=3))


def test_a_query_without_any_other_key_gets_zeros() -> None:
    model, images = Twice().double(), torch.randn(3, 1, 10, dtype=torch.float64)
    result = without(Part(patch=0), model, images, method="mask", grid=Grid(1, 1))
    expected = model.head(model.attn.proj.bias).softmax(0).expand(3, -1)
    torch.testing.assert_close(result, expected.detach(), **CLOSE)


def with_larger_weights(model: nn.Module) -> nn.Module:
    """In float64; initial weights would give almost uniform attention."""
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.double().eval()


def timm_swin() -> nn.Module:
    """With windows, which the second block shifts and masks."""
    model: nn.Module = timm.models.SwinTransformer(
        img_size=(16, 16),
        patch_size=2,
        embed_dim=12,
        depths=(2,),
        num_heads=(3,),
        window_size=4,
        num_classes=7,
    )
    return model


@contextmanager
def hook(module: nn.Module, function: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Calls a function with the input of a module; a tensor that it returns replaces it."""

    def before(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        new = function(args[0])
        return None if new is None else (new,)

    handle = module.register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize(
    ("make", "size", "path"),
    [
        (timm_vit, (15, 21), "blocks.1.attn.proj"),
        (timm_swin, (16, 16), "layers.0.blocks.1.attn.proj"),
        (transformers_vit, (15, 21), ""),
    ],
)
@pytest.mark.parametrize("method", ["mean", "zero"])
def test_heads_of_other_libraries_are_removed_like_inputs_of_their_projection(
    make: Callable[[], nn.Module], size: tuple[int, int], path: str, method: Method
) -> None:
    torch.manual_seed(3)
    model = with_larger_weights(make())
    layer = list(reference_means(model, torch.zeros(1, 3, *size).double()))[1]
    if not path:  # the linear layer after the values, whose name depends on the version
        second = [x for x, m in model.named_modules() if ".1." in x and isinstance(m, nn.Linear)]
        values = next(i for i, x in enumerate(second) if x.endswith(("value", "v_proj")))
        path = second[values + 1]
    projection, columns = model.get_submodule(path), slice(8, 12)  # the last of three heads
    images, reference = torch.randn(2, 5, 3, *size, dtype=torch.float64)
    inputs: list[Tensor] = []
    with hook(projection, lambda x: inputs.append(x)), torch.no_grad():
        model(reference)
    windows = inputs[0].unflatten(0, (len(reference), -1)).mean(0)

    def replace(x: Tensor) -> Tensor:
        new = windows.repeat(len(x) // len(windows), *[1] * (x.dim() - 1))[..., columns]
        x = x.clone()
        x[..., columns] = new if method == "mean" else 0.0
        return x

    with hook(projection, replace):
        expected = probabilities(model, images)
    part = Part(layer=layer, head=2)
    result = without(part, model, images, method=method, reference=reference)
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(result, probabilities(model, images), atol=1e-4)


@pytest.mark.parametrize("method", ["mask", "zero"])
def test_a_key_is_removed_before_heads_are_mixed(method: Method) -> None:
    """CaiT mixes its heads before the softmax and after it."""
    torch.manual_seed(5)
    attn = timm.models.cait.TalkingHeadAttn(12, num_heads=3, qkv_bias=True)
    head = nn.Linear(84, 5)
    model = with_larger_weights(nn.Sequential(attn, nn.Flatten(), head))
    tokens = torch.randn(4, 7, 12, dtype=torch.float64)
    query, key, value = (
        x.detach().transpose(1, 2).clone()
        for x in attn.qkv(tokens).view(4, 7, 3, 3, 4).unbind(dim=2)
    )
    scores = (query * attn.scale) @ key.transpose(-2, -1)
    mixed = attn.proj_l(scores.permute(0, 2, 3, 1))
    if method == "mask":
        mixed[:, :, 5] = -torch.inf
    weights = attn.proj_w(mixed.softmax(dim=2)).permute(0, 3, 1, 2)
    if method == "zero":
        value[:, :, 5] = 0.0
    out = attn.proj((weights @ value).transpose(1, 2).flatten(2))
    expected = head(out.flatten(1)).softmax(1).detach()
    result = without(Part(patch=5), model, tokens, method=method, grid=Grid(1, 7))
    torch.testing.assert_close(result, expected, **CLOSE)


def test_counts_drops_and_intervals_are_those_of_two_sets_of_predictions() -> None:
    model, images, reference = oblong_model(), oblong_images(23), oblong_images(11, seed=2)
    parts = [Part(layer=layer, head=head) for layer in LAYERS for head in (0, 1)]
    results = ablate(model, images, LABELS, "head", reference=reference, batch_size=10)
    assert [x.part for x in results] == parts
    before = plain_probabilities(model, images)
    means = reference_means(model, reference, batch_size=4)
    for part, result in zip(parts, results, strict=True):
        around = without_part(part, "mean", means=means, grid=GRID)
        after = probabilities(model, images, batch_size=12, around=around)
        lost = gained = changed = correct = 0
        falls = []
        for label, old, new in zip(LABELS.tolist(), before, after, strict=True):
            was, now = int(old.argmax()), int(new.argmax())
            lost += was == label != now
            gained += was != label == now
            changed += was != now
            correct += was == label
            falls.append(float(old[label] - new[label]))
        assert (result.lost, result.gained, result.changed) == (lost, gained, changed)
        assert (result.correct, result.total, result.method) == (correct, 23, "mean")
        assert result.drop == (lost - gained) / 23
        assert result.interval == paired_proportion_interval(lost, gained, 23)
        assert result.probability_drop == pytest.approx(sum(falls) / 23)
        assert result.probability_interval == pytest.approx(mean_interval(torch.tensor(falls)))
    assert sum(x.changed for x in results) > 5


def test_means_of_half_precision_do_not_overflow() -> None:
    def model(x: Tensor) -> Tensor:
        output: Tensor = nn.functional.scaled_dot_product_attention(0.0 * x, x, x)
        return output.mean((1, 2))

    images = torch.full((250, 1, 2, 3), 300.0, dtype=torch.float16)
    ((output, value),) = reference_means(model, images).values()
    assert output.eq(300.0).all()
    assert value.eq(300.0).all()


def test_parts_are_enumerated_by_layer_or_patch() -> None:
    model, images = oblong_model().train(), oblong_images(2)
    by_layer = ablate(model, images, LABELS[:2], "layer")
    assert [x.part for x in by_layer] == [Part(layer=layer) for layer in LAYERS]
    assert model.training
    by_patch = ablate(model, images, LABELS[:2], "patch", method="zero", grid=GRID)
    assert [x.part for x in by_patch] == [Part(patch=patch) for patch in range(15)]
    twice = ablate(Twice(), torch.randn(2, 7, 10), torch.tensor([0, 1]), "layer")
    assert [x.part.layer for x in twice] == ["attn", "attn#2"]


def test_the_reference_labels_as_bytes_and_the_confidence_of_an_ablation() -> None:
    model, images, parts = oblong_model(), oblong_images(23), [Part(layer=LAYERS[0])]
    (usual,) = result = ablate(model, images, LABELS, parts)
    assert result == ablate(model, images, LABELS.byte(), parts, reference=images)
    assert result != ablate(model, images, LABELS, parts, reference=images[:5])
    (wide,) = ablate(model, images, LABELS, parts, confidence=0.99)
    assert wide.interval == paired_proportion_interval(wide.lost, wide.gained, 23, 0.99)
    assert usual.probability_interval is not None
    assert wide.probability_interval is not None
    assert wide.probability_interval[0] < usual.probability_interval[0]
    (single,) = ablate(model, images[:1], LABELS[:1], parts)
    assert single.probability_interval is None


def test_printed_parts_are_counted_from_one() -> None:
    assert str(Part()) == "all heads of all layers"
    assert str(Part(layer=LAYERS[1], head=3)) == "head 4 of blocks.1.attn"
    assert str(Part(patch=5)) == "patch 6 in all heads of all layers"
    (result,) = ablate(oblong_model(), oblong_images(3), LABELS[:3], [Part(head=1)], method="zero")
    assert str(result).startswith("without head 2 of all layers (zero): accuracy falls by ")
    assert result.to_dict()["part"] == {"layer": None, "head": 1, "patch": None}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "median"}, ConfigError, "one of mean, zero, mask"),
        ({"method": "mask"}, ConfigError, "patches only"),
        ({"labels": LABELS[:2]}, InputError, "3 labels"),
        ({"labels": torch.tensor([0, 1, 11])}, InputError, "0 … 10"),
        ({"parts": "heads"}, ConfigError, "layer, head, patch"),
        ({"parts": "patch"}, ConfigError, "grid="),
        ({"parts": [Part(layer="blocks.7.attn")]}, CaptureError, "blocks.0.attn"),
        ({"parts": [Part(head=2)]}, InputError, "heads 0 … 1, got 2"),
        ({"parts": [Part(patch=0)]}, ConfigError, "grid="),
        ({"parts": [Part(patch=15)], "grid": GRID}, InputError, "patches 0 … 14, got 15"),
        ({"parts": [Part(patch=0)], "grid": Grid(4, 4)}, InputError, "15 tokens"),
        ({"reference": oblong_images(3)[..., 1:]}, InputError, "shape of the images"),
        ({"confidence": 95}, ConfigError, "between 0 and 1"),
        ({"images": oblong_images(0), "labels": LABELS[:0]}, InputError, "at least one image"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(2310, 3).double())},
         NothingCapturedError, "this model has no attention"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments: dict[str, Any] = {
        "model": oblong_model(),
        "images": oblong_images(3),
        "labels": LABELS[:3],
        "parts": [Part()],
    } | options
    with pytest.raises(error, match=message):
        ablate(**arguments)


def test_negative_numbers_missing_means_and_undefined_means_are_refused() -> None:
    for numbers in ({"head": -1}, {"patch": -3}):
        with pytest.raises(ConfigError, match="at least 0"):
            Part(**numbers)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="reference_means"):
        without_part(Part(), "mean")
    model = Twice()
    shortened = [lambda x: model(x[:, : 3 + len(x)]), lambda x: model(x[:1])]
    for function, message in zip(shortened, ("have no mean", "assigned to images"), strict=True):
        with pytest.raises(InputError, match=message):
            reference_means(function, torch.randn(5, 7, 10), batch_size=3)
