"""Each method written out in loops, and the same protocol on models of other libraries."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead.errors import ConfigError, InputError
from clearhead.insight import METHODS, Baseline, Grid, attribute, shapley
from clearhead.insight._attnlrp import _Rules, attnlrp
from clearhead.insight.attribution import INK, RANDOM, RAW, RELEVANCE, ROLLOUT, VALUES
from clearhead.insight.forward import model_logits
from clearhead.insight.propagation import max_flow, rollout
from clearhead.insight.relevance import class_relevance
from clearhead.insight.weights import value_norms
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture
from tests.marks import slow_after

from .reference import SMALL, cell, oblong_images, oblong_model, plain_logits, transformers_vit

GRID, BASELINE = Grid(5, 3), Baseline(value=(0.3, -0.2))
TARGETS = torch.tensor([3, 0, 10])


def cells(pixels: Tensor) -> Tensor:
    """(images, patches, pixels), with the channels of a patch side by side."""
    parts = pixels.unflatten(3, (3, 11)).unflatten(2, (5, 7))
    cut: Tensor = parts.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    return cut


def explained(method: str, model: nn.Module, images: Tensor, **options: Any) -> Tensor:
    return attribute(method, model, images, baseline=BASELINE, classes=TARGETS, **options)


def pixel_gradients(model: VisionTransformer, images: Tensor) -> Tensor:
    pixels = images.clone().requires_grad_()
    y = plain_logits(model, pixels).gather(1, TARGETS[:, None]).sum()
    return torch.autograd.grad(y, pixels)[0]


@pytest.mark.parametrize(("pool", "prefix"), [("mean", 0), ("class", 1)])
def test_maps_of_attention_are_rows_of_the_readout_tokens(pool: str, prefix: int) -> None:
    model, images = oblong_model(pool), oblong_images(3)
    with torch.no_grad(), capture() as recording:
        model(images)

    def row(matrix: Tensor) -> Tensor:
        return (matrix[:, 0] if prefix else matrix.mean(1))[:, prefix:].double()

    last = recording["blocks.2.attn"]
    projection = model.get_submodule("blocks.2.attn.proj")
    assert isinstance(projection, nn.Linear)
    readout: Any = 0 if prefix else "mean"
    expected = {
        RAW: row(last.weights.mean(1)),
        ROLLOUT: row(rollout(recording)),
        RELEVANCE: class_relevance(model, images, TARGETS).tokens[:, prefix:],
        VALUES: row(value_norms(last, projection).mean(1)),
        "max-flow": max_flow(recording, readout=readout)[:, prefix:],
        INK: cells((images - BASELINE.of(images)).abs()).mean(2),
    }
    for name, importance in expected.items():
        result = explained(name, model, images, batch_size=2)
        torch.testing.assert_close(result, importance.detach(), rtol=1e-6, atol=1e-9)


def test_flow_is_the_maximum_flow_from_the_output_to_each_token() -> None:
    import networkx as nx

    generator = torch.Generator().manual_seed(0)
    layers = [
        torch.randn(2, 3, 5, 5, generator=generator, dtype=torch.float64).mul(3).softmax(-1)
        for _ in range(4)
    ]
    for readout, sources in ((2, [2]), ("mean", range(5))):
        result = max_flow(layers, readout=readout, residual=0.3)  # type: ignore[arg-type]
        for image in range(2):
            graph = nx.DiGraph()
            for token in sources:
                graph.add_edge("source", (4, token), capacity=1 / len(sources))
            for level, weights in enumerate(layers):
                step = 0.3 * np.eye(5) + 0.7 * weights[image].mean(0).numpy()
                for query, key in np.ndindex(5, 5):
                    graph.add_edge((level + 1, query), (level, key), capacity=step[query, key])
            for token in range(5):
                flow = nx.maximum_flow_value(graph, "source", (0, token))
                assert float(result[image, token]) == pytest.approx(flow, abs=1e-6)


def test_gradients_are_those_of_the_logit_by_pixel() -> None:
    model, images = oblong_model(), oblong_images(3)
    gradient = pixel_gradients(model, images)
    sizes = cells(gradient.abs().amax(dim=1, keepdim=True).expand(-1, 2, -1, -1)).mean(2)
    torch.testing.assert_close(explained("gradient", model, images), sizes)
    change = images - BASELINE.of(images)
    products = cells(change * gradient).sum(2)
    torch.testing.assert_close(explained("gradient × input", model, images), products)


def test_integrated_gradients_sum_to_the_change_of_the_logit() -> None:
    model, images = oblong_model(), oblong_images(3)
    result = explained("integrated gradients", model, images)
    with torch.no_grad():
        rise = model(images) - model(BASELINE.of(images))
    torch.testing.assert_close(
        result.sum(1), rise.gather(1, TARGETS[:, None])[:, 0], rtol=1e-5, atol=1e-4
    )


@pytest.mark.slow
def test_integrated_gradients_equal_those_of_captum() -> None:
    attr = pytest.importorskip("captum.attr")
    model, images = oblong_model(), oblong_images(3)
    pixels = attr.IntegratedGradients(model).attribute(
        images, baselines=BASELINE.of(images), target=TARGETS, n_steps=50
    )
    result = explained("integrated gradients", model, images)
    torch.testing.assert_close(result, cells(pixels).sum(2))


def test_occlusion_is_the_fall_of_the_log_odds_without_a_patch() -> None:
    model, images = oblong_model(), oblong_images(3)
    result = explained("occlusion", model, images)

    def log_odds(x: Tensor) -> Tensor:
        p = plain_logits(model, x).softmax(1).gather(1, TARGETS[:, None])[:, 0]
        return (p / (1 - p)).log()

    with torch.no_grad():
        for patch in (0, 4, 14):
            changed, part = images.clone(), (..., *cell(patch))
            changed[part] = BASELINE.of(images)[part]
            fall = log_odds(images) - log_odds(changed)
            torch.testing.assert_close(result[:, patch], fall)


def test_legrad_sums_gradients_of_the_weights_of_each_layer() -> None:
    model: Any
    model, images = oblong_model("class"), oblong_images(3)
    expected = torch.zeros(3, 16, dtype=torch.float64)
    of_layers = []
    for layers in range(1, 4):  # the head on the tokens of the first 1, 2, 3 layers
        blocks, model.blocks = model.blocks, model.blocks[:layers]
        kept: dict[tuple[int, int], Tensor] = {}

        def keep(
            layer: int, head: int, weights: Tensor, values: Tensor, kept: Any = kept
        ) -> Tensor:
            kept[layer, head] = weights
            return weights @ values

        y = plain_logits(model, images, keep).gather(1, TARGETS[:, None]).sum()
        last = [kept[layers - 1, head] for head in range(2)]
        for gradient in torch.autograd.grad(y, last):
            expected += gradient.clamp_min(0).mean(1) / 2
        of_layers.append(expected.clone())
        model.blocks = blocks
    result = explained("legrad", model, images)
    torch.testing.assert_close(result, expected[:, 1:])
    first = explained("legrad", model, images, layers=0)
    torch.testing.assert_close(first, of_layers[0][:, 1:])


def test_tokentm_weights_relevance_by_the_change_of_each_token() -> None:
    model, images = oblong_model("class"), oblong_images(3)
    kept: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def keep(layer: int, head: int, weights: Tensor, values: Tensor) -> Tensor:
        kept[layer, head] = weights, values
        return weights @ values

    y = plain_logits(model, images, keep).gather(1, TARGETS[:, None]).sum()
    gradients = dict(zip(kept, torch.autograd.grad(y, [x for x, _ in kept.values()]), strict=True))

    def change(before: Tensor, after: Tensor) -> Tensor:
        lengths = after.norm(dim=1) / before.norm(dim=1)
        similarity = torch.tensor(
            [
                float(torch.dot(a, b) / a.norm() / b.norm())
                for a, b in zip(before, after, strict=True)
            ]
        ).exp()
        weights: Tensor = lengths * similarity / similarity.mean()
        return weights

    result = explained("tokentm", model, images)
    with torch.no_grad():
        for image in range(3):
            x = model.embedded(images)[image]
            matrix = torch.diag(x.norm(dim=1))
            block: Any
            for layer, block in enumerate(model.blocks):
                total = torch.zeros_like(matrix)
                for head in range(2):
                    weights, values = (part[image] for part in kept[layer, head])
                    moved = values @ block.attn.proj.weight[:, 7 * head : 7 * head + 7].T
                    gain = (gradients[layer, head][image] * weights).clamp_min(0)
                    total += gain @ torch.diag(change(x, moved)) @ matrix / 2
                matrix = matrix + total
                middle = x + block.attn(block.norm1(x)[None])[0]
                added = block.mlp(block.norm2(middle)[None])[0]
                matrix = matrix + torch.diag(change(middle, added)) @ matrix
                x = middle + added
            torch.testing.assert_close(result[image], matrix[0, 1:], rtol=1e-5, atol=1e-6)


class Lrp:
    """The rules of AttnLRP, written as relevance that is passed backwards, layer by layer."""

    def __init__(self, model: VisionTransformer) -> None:
        self.model: Any = model

    @staticmethod
    def linear(x: Tensor, layer: Any, relevance: Tensor) -> Tensor:
        result: Tensor = x * ((relevance / layer(x)) @ layer.weight)
        return result

    @staticmethod
    def norm(x: Tensor, layer: Any, relevance: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scale = layer.weight / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
        inner = centred * scale * relevance / layer(x)
        size = x.shape[-1]
        centring = torch.eye(size, dtype=x.dtype) - 1 / size
        result: Tensor = x * ((inner / centred) @ centring)
        return result

    def attention(self, x: Tensor, attn: Any, relevance: Tensor) -> Tensor:
        queries, keys, values = attn.qkv(x).chunk(3, dim=-1)
        contexts, parts = [], []
        for head in range(attn.num_heads):
            one = slice(7 * head, 7 * head + 7)
            scores = queries[:, one] @ keys[:, one].T / 7**0.5
            parts.append((one, scores, scores.softmax(-1)))
            contexts.append(parts[-1][2] @ values[:, one])
        context = torch.cat(contexts, dim=-1)
        of_context = self.linear(context, attn.proj, relevance)
        of_q, of_k, of_v = torch.zeros(3, *x.shape, dtype=x.dtype)
        for one, scores, weights in parts:
            share = of_context[:, one] / context[:, one]
            of_weights = weights * (share @ values[:, one].T) / 2
            of_v[:, one] = values[:, one] * (weights.T @ share) / 2
            of_scores = scores * (of_weights - weights * of_weights.sum(-1, keepdim=True))
            share = of_scores / (scores * 7**0.5)
            of_q[:, one] = queries[:, one] * (share @ keys[:, one]) / 2
            of_k[:, one] = keys[:, one] * (share.T @ queries[:, one]) / 2
        return self.linear(x, attn.qkv, torch.cat([of_q, of_k, of_v], dim=-1))

    def mlp(self, x: Tensor, mlp: Any, relevance: Tensor) -> Tensor:
        hidden = mlp.fc1(x)
        return self.linear(x, mlp.fc1, self.linear(F.gelu(hidden), mlp.fc2, relevance))

    @torch.no_grad()
    def __call__(self, image: Tensor, target: int) -> Tensor:
        model = self.model
        x = model.embedded(image[None])[0]
        kept = []
        for block in model.blocks:
            middle = x + block.attn(block.norm1(x)[None])[0]
            kept.append((x, middle, middle + block.mlp(block.norm2(middle)[None])[0]))
            x = kept[-1][2]
        pooled = model.norm(x).mean(0)
        logit = model.head(pooled)[target]
        of_pooled = pooled * model.head.weight[target]
        relevance = self.norm(x, model.norm, model.norm(x) / len(x) * of_pooled / pooled)
        assert float(logit) != 0
        for block, (before, middle, after) in zip(
            reversed(model.blocks), reversed(kept), strict=True
        ):
            of_mlp = self.mlp(block.norm2(middle), block.mlp, (after - middle) * relevance / after)
            relevance = middle * relevance / after + self.norm(middle, block.norm2, of_mlp)
            inner = (middle - before) * relevance / middle
            of_attn = self.attention(block.norm1(before), block.attn, inner)
            relevance = before * relevance / middle + self.norm(before, block.norm1, of_attn)
        pixels = cells(image[None])[0]
        embed = model.patch_embed.proj
        share = relevance / model.embedded(image[None])[0]
        result: Tensor = pixels * (share @ embed.weight.flatten(1))
        return result


def test_attnlrp_follows_its_rules_layer_by_layer() -> None:
    model, images = oblong_model("mean"), oblong_images(3)
    result = cells(attnlrp(model, images, TARGETS))
    reference = Lrp(model)
    for image in range(3):
        expected = reference(images[image], int(TARGETS[image]))
        torch.testing.assert_close(result[image], expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(explained("attnlrp", model, images), result.sum(2))


def gelu_new(x: Tensor) -> Tensor:
    """As transformers composes it, for GPT-2 and others."""
    return 0.5 * x * (1.0 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * torch.pow(x, 3.0))))


@pytest.mark.parametrize(
    "function",
    [
        *(F.gelu, F.silu, F.relu, torch.relu, F.tanh, torch.tanh, nn.Tanh(), nn.ReLU()),
        *(gelu_new, F.mish, F.hardswish, nn.LeakyReLU(), nn.ReLU(inplace=True)),
        *(lambda x: x * torch.sigmoid(1.702 * x), lambda x: x / (1 + torch.exp(-x))),
        *(lambda x: F.relu(x) ** 2, lambda x: x + gelu_new(x)),
    ],
)
def test_relevance_passes_element_wise_functions_unchanged(
    function: Callable[[Tensor], Tensor],
) -> None:
    x = torch.linspace(-2, 2, 7, dtype=torch.float64, requires_grad=True)  # 0 among them
    weight = torch.linspace(1, 3, 7, dtype=torch.float64)
    expected = function(x.detach().clone())
    with _Rules():
        y = function(1 * x)
        (gradient,) = torch.autograd.grad((weight @ y).sum(), x)
    torch.testing.assert_close(y.detach(), expected)
    torch.testing.assert_close(x * gradient, weight * expected)


def test_attnlrp_does_not_depend_on_the_operations_of_an_activation() -> None:
    images, classes = torch.randn(2, 3, 15, 21), torch.tensor([3, 5])
    maps = []
    for activation in ("gelu_new", "gelu_pytorch_tanh"):  # the same function
        torch.manual_seed(0)
        model = transformers_vit(hidden_act=activation).eval()
        nn.init.normal_(model.get_parameter("classifier.weight"))
        maps.append(attnlrp(model, images, classes))
    torch.testing.assert_close(*maps, rtol=1e-3, atol=1e-5)
    assert maps[0].abs().max() > 0.01


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (2 * x - 0.3) / 5,
        lambda x: (x / 7**0.5).softmax(-1),
        lambda x: (x / 7**0.5).exp() / (x / 7**0.5).exp().sum(-1, keepdim=True),
    ],
)
def test_affine_functions_and_softmax_keep_their_gradients(
    function: Callable[[Tensor], Tensor],
) -> None:
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(function(x)[:, 0].sum(), x)
    with _Rules():
        (gradient,) = torch.autograd.grad(function(x)[:, 0].sum(), x)
    torch.testing.assert_close(gradient, expected)


def test_a_gate_and_what_it_multiplies_get_half_of_the_relevance_each() -> None:
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    gate, value = torch.randn(2, 5, 4, dtype=torch.float64)
    with _Rules():
        y = F.silu(F.linear(x, gate)) * F.linear(x, value)
        (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close((x * gradient).sum(), y.sum())


def test_random_numbers_are_determined_by_the_seed_and_differ_between_images() -> None:
    model, images = oblong_model(), oblong_images(3)
    one, same, other = (
        explained(RANDOM, model, images, seed=seed, batch_size=2) for seed in (4, 4, 5)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert len(one.unique()) == one.numel()


def torchvision_vit() -> nn.Module:
    from torchvision.models import VisionTransformer as TorchvisionVit

    model: nn.Module = TorchvisionVit(
        image_size=21, patch_size=7, num_layers=2, num_heads=3, hidden_dim=12, mlp_dim=17
    )
    nn.init.normal_(model.heads.head.weight)  # type: ignore[union-attr, arg-type]
    return model


@pytest.mark.parametrize("make", slow_after(1, [transformers_vit, torchvision_vit]))
def test_all_methods_explain_models_of_other_libraries(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearhead.insight.attribution.PATH_POINTS", 3)
    torch.manual_seed(0)
    model = make().eval()
    images = torch.randn(2, 3, 21 if make is torchvision_vit else 15, 21)
    options: dict[str, Any] = {"grid": Grid(3, 3, 1), "baseline": Baseline()}
    for method in METHODS:
        result = attribute(method, model, images, **options)
        assert result.shape == (2, 9)
        assert result.isfinite().all()
        assert float(result.std(1).min()) > 0, method
    with torch.no_grad(), capture() as recording:
        model(images)
    torch.testing.assert_close(
        attribute(RAW, model, images, **options), recording[-1].weights.mean(1)[:, 0, 1:].double()
    )
    for score in ("logit", "probability"):
        exact = shapley(model, images, score=score, **options)
        result = attribute("shapley", model, images, score=score, **options)
        torch.testing.assert_close(result, exact.values)
    without_first = images.clone()
    without_first[:, :, : images.shape[2] // 3, :7] = 0.0
    with torch.no_grad():
        fall = model_logits(model, images) - model_logits(model, without_first)
    result = attribute("occlusion", model, images, score="logit", **options)[:, 0]
    predicted = model_logits(model, images).argmax(1, keepdim=True)
    torch.testing.assert_close(result, fall.gather(1, predicted)[:, 0], atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match="10 tokens"):
        attribute(RAW, model, images, grid=Grid(3, 3, 2), baseline=Baseline())


def test_the_same_weights_give_the_same_maps_in_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    monkeypatch.setattr("clearhead.insight.attribution.PATH_POINTS", 3)
    ours = oblong_model("class")
    theirs = timm.models.VisionTransformer(
        img_size=(35, 33), patch_size=(7, 11), in_chans=2, embed_dim=14, num_heads=2, depth=3,
        mlp_ratio=2.0, num_classes=11,
    ).double().eval()  # fmt: skip
    theirs.load_state_dict(ours.state_dict())
    images = oblong_images(3)
    for method in set(METHODS) - {"shapley", "random"}:
        expected = explained(method, ours, images)
        result = explained(method, theirs, images)
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6, msg=method)


CHOOSING = ("shapley", "occlusion", "gradient", "attnlrp", "legrad", "relevance", "rollout")


@pytest.mark.unchecked
@pytest.mark.parametrize("classes", [[3, 0], [3, 0, 11], -1, [0.5] * 3, [[3], [0], [9]], "3"])
@pytest.mark.parametrize("method", [pytest.param("shapley", marks=pytest.mark.slow), *CHOOSING[1:]])
def test_classes_must_exist_one_for_each_image_or_for_all(method: str, classes: Any) -> None:
    if isinstance(classes, list):
        classes = torch.tensor(classes)
    with pytest.raises(
        InputError, match=r"one class, or one for each of 3|from 0 to 10 .* got \[(-1|11)\]"
    ):
        attribute(method, oblong_model(), oblong_images(3), baseline=BASELINE, classes=classes)


@pytest.mark.parametrize("method", slow_after(3, CHOOSING[1:]))
def test_classes_of_any_integer_type_and_one_for_all(method: str) -> None:
    model, images = oblong_model(), oblong_images(2)
    options: dict[str, Any] = {"baseline": BASELINE, "batch_size": 7}
    expected = attribute(method, model, images, classes=torch.tensor([4, 4]), **options)
    for classes in (4, [4, 4], torch.tensor([4, 4], dtype=torch.uint8)):
        result = attribute(method, model, images, classes=classes, **options)
        torch.testing.assert_close(result, expected, rtol=0, atol=0)


@cache
def map_of_oblong_model(method: str) -> Tensor:
    return attribute(method, oblong_model(), oblong_images(2), baseline=BASELINE)


@pytest.mark.parametrize("trained", ["head", "blocks.2", ""])
def test_parts_of_a_model_may_be_frozen_and_callers_in_inference_mode(trained: str) -> None:
    frozen, images = oblong_model(), oblong_images(2)
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad_(bool(trained) and name.startswith(trained))
    before = [x.requires_grad for x in frozen.parameters()]
    for method in CHOOSING[1:]:
        with torch.inference_mode():
            result = attribute(method, frozen, images.clone(), baseline=BASELINE)
        torch.testing.assert_close(result, map_of_oblong_model(method))
    assert [x.requires_grad for x in frozen.parameters()] == before


@pytest.mark.unchecked
@pytest.mark.parametrize("method", ["shapley", "ink", "relevance", "gradient"])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 2, 35, 33, dtype=torch.uint8), r"floats of shape .* got torch.uint8 \(2"),
        (torch.zeros(2, 35, 33), r"got torch.float32 \(2, 35, 33\)"),
        ([[0.0]], "got list"),
        (torch.zeros(0, 2, 35, 33), "at least one image"),
        (torch.zeros(1, 2, 36, 33), "divided evenly"),
    ],
)
def test_inputs_that_are_not_a_batch_of_normalised_images_are_refused(
    method: str, images: Any, message: str
) -> None:
    options: dict[str, Any] = {"grid": GRID, "baseline": BASELINE, "classes": 0}
    with pytest.raises(InputError, match=message):
        attribute(method, oblong_model(), images, **options)


def test_attentions_without_effect_on_the_class_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SigLIP's classifier averages tokens, and runs an attention pooling that it does not use."""
    import transformers

    monkeypatch.setattr("clearhead.insight.attribution.PATH_POINTS", 3)
    torch.manual_seed(0)
    vision: Any = SMALL | {"image_size": 15, "patch_size": 5}
    options: dict[str, Any] = {"vision_config": vision, "text_config": SMALL, "num_labels": 7}
    config = transformers.SiglipConfig(**options)
    model: Any = transformers.SiglipForImageClassification(config)
    model.eval()
    nn.init.normal_(model.classifier.weight)
    images = torch.randn(2, 3, 15, 15)
    for method in METHODS[1:]:
        result = attribute(method, model, images, baseline=Baseline())
        layers = "*.encoder.layers.*"
        chosen = attribute(method, model, images, layers=layers, baseline=Baseline())
        torch.testing.assert_close(result, chosen)
    with pytest.raises(InputError, match="does not depend on"):
        attribute(RAW, model, images, layers="*head*", baseline=Baseline())


@pytest.mark.slow
def test_compiled_models_have_the_maps_of_the_same_models_uncompiled() -> None:
    import timm

    torch.manual_seed(0)
    model = timm.models.VisionTransformer(
        img_size=14, patch_size=7, in_chans=2, embed_dim=6, depth=2, num_heads=2, num_classes=5
    ).eval()
    images, classes = torch.randn(2, 2, 14, 14), torch.tensor([3, 0])
    options: dict[str, Any] = {"baseline": BASELINE, "classes": classes}
    expected = {method: attribute(method, model, images, **options) for method in METHODS}
    compiled: Any = torch.compile(model, backend="eager")
    for _ in range(2):  # before and after it is compiled
        for method in METHODS:
            result = attribute(method, compiled, images, **options)
            torch.testing.assert_close(result, expected[method], msg=method)
        tokens = class_relevance(compiled, images, classes).tokens
        torch.testing.assert_close(tokens[:, 1:], expected[RELEVANCE])
        with torch.no_grad():
            compiled(images)


QUICK_METHODS = (RAW, INK, RELEVANCE, "tokentm")
LONG_METHODS = ("shapley", "integrated gradients")


@pytest.mark.parametrize(
    "method",
    slow_after(4, [*QUICK_METHODS, *(x for x in METHODS if x not in QUICK_METHODS + LONG_METHODS)]),
)
def test_images_are_given_in_the_type_of_the_model(method: str) -> None:
    model, images = oblong_model("class"), oblong_images(3)
    expected = explained(method, model, images)
    torch.testing.assert_close(
        explained(method, model, images.float()), expected, atol=1e-3, rtol=1e-3
    )
    half = explained(method, oblong_model("class").bfloat16(), images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = explained(method, oblong_model("class").float(), images.float())
    for result in (half, mixed):
        rho = torch.corrcoef(torch.stack([result.flatten(), expected.flatten()]))
        assert float(rho[0, 1]) > 0.9, method


class Gated(nn.Module):
    """An attention whose output is normalised before its projection `out_proj`."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.norm, self.out_proj = nn.Linear(14, 42), nn.LayerNorm(14), nn.Linear(14, 14)

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, 2, 7)).permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        output: Tensor = self.out_proj(self.norm(context))
        return output


def test_a_projection_of_something_else_is_not_that_of_the_attention() -> None:
    model: Any = oblong_model()
    for block in model.blocks:
        block.attn = Gated().double()
    with pytest.raises(InputError, match=r"no linear layer follows blocks\.2\.attn"):
        explained(VALUES, model, oblong_images(3))


def test_the_grid_is_that_of_the_size_of_the_images() -> None:
    import timm

    torch.manual_seed(0)
    model = timm.models.VisionTransformer(
        img_size=14, patch_size=7, in_chans=2, embed_dim=6, depth=1, num_heads=2, num_classes=11,
        dynamic_img_size=True,
    )  # fmt: skip
    images = torch.randn(1, 2, 21, 14)
    for method in ("rollout", "shapley"):
        result = attribute(method, model, images, baseline=BASELINE)
        assert result.shape == (1, 6)
    assert shapley(model, images, baseline=BASELINE).values.shape == (1, 6)


@pytest.mark.unchecked
def test_wrong_arguments_are_refused_and_models_are_unchanged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clearhead.insight.attribution.PATH_POINTS", 3)
    model, images = oblong_model().train(), oblong_images(2)
    with pytest.raises(ConfigError, match="method must be one of shapley, "):
        attribute("grad-cam", model, images)
    with pytest.raises(ConfigError, match="score must be one of"):
        attribute("occlusion", model, images, score="loss")  # type: ignore[arg-type]
    for method in ("gradient", "value-weighted", "attnlrp", "rollout"):
        with pytest.raises(InputError, match=r"must be an nn\.Module, got a function"):
            attribute(method, lambda x: x, images, grid=GRID)  # type: ignore[arg-type]
    for method in set(METHODS) - {"shapley"}:
        attribute(method, model, images, baseline=BASELINE)
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
