"""Attribution in models that run layers again or in parallel, compute again, or overflow."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clearhead.errors import InputError
from clearhead.insight import METHODS, Baseline, Grid, attribute
from clearhead.insight.attribution import RAW, RELEVANCE, ROLLOUT, VALUES
from clearhead.insight.relevance import class_relevance
from tests.marks import slow_after

from .reference import oblong_images, oblong_model, timm_vit

GRID, BASELINE = Grid(5, 3), Baseline(value=(0.3, -0.2))
OF_LAYERS = (RAW, ROLLOUT, RELEVANCE, VALUES, "max-flow", "legrad", "tokentm", "class_relevance")


def explained(method: str, model: nn.Module, images: Tensor, **options: Any) -> Tensor:
    classes = torch.arange(len(images)) + 3
    if method == "class_relevance":
        return class_relevance(model, images, classes).tokens
    arguments: dict[str, Any] = {"grid": GRID, "baseline": BASELINE, "classes": classes}
    return attribute(method, model, images, **(arguments | options))


class Passes(nn.Module):
    """Averages the logits of an image and of its mirror image, from one model or from two."""

    def __init__(self, *models: nn.Module, joined: bool = False) -> None:
        super().__init__()
        self.models, self.joined = nn.ModuleList(models), joined

    def forward(self, images: Tensor) -> Tensor:
        first, last = self.models[0], self.models[-1]
        if self.joined:
            one, other = first(torch.cat([images, images.flip(-1)])).chunk(2)
        else:
            one, other = first(images), last(images.flip(-1))
        logits: Tensor = (one + other) / 2
        return logits


def with_layers(count: int) -> Any:
    model: Any = oblong_model()
    model.blocks = model.blocks[:count]
    return model


def parallel() -> nn.Module:
    from timm.models.vision_transformer import ParallelThingsBlock, VisionTransformer

    sizes: dict[str, Any] = {"embed_dim": 14, "depth": 1, "num_heads": 2, "class_token": False}
    images: dict[str, Any] = {"img_size": (35, 33), "patch_size": (7, 11), "in_chans": 2}
    model: nn.Module = VisionTransformer(
        **sizes, **images, global_pool="avg", num_classes=11, block_fn=ParallelThingsBlock
    )
    return model.double().eval()


NOT_IN_SEQUENCE = [
    (lambda: Passes(oblong_model()), r"attn#2 is not computed from the output of .*2\.attn,"),
    (lambda: Passes(with_layers(1)), r"0\.attn#2 is not computed from the output of .*0\.attn"),
    (lambda: Passes(oblong_model(), with_layers(2)), r"1\.blocks\.0\.attn is not computed"),
    (parallel, r"attns\.1\.attn is not computed from the output of blocks\.0\.attns\.0\.attn"),
    (lambda: Passes(oblong_model(), joined=True), "has a batch of 4 for 2 images"),
]


@pytest.mark.parametrize(
    ("method", "make", "message"),
    [
        pytest.param(method, *case, marks=[pytest.mark.slow] * (method != RELEVANCE and number > 0))
        for method in OF_LAYERS
        for number, case in enumerate(NOT_IN_SEQUENCE)
    ],
)
def test_layers_that_do_not_follow_one_another_are_refused(
    method: str, make: Callable[[], nn.Module], message: str
) -> None:
    model, images = make(), oblong_images(2)
    with pytest.raises(InputError, match=message):
        explained(method, model, images)
    if "one another" in message:
        explained(method, model, images, layers=[0])


class Loop(nn.Module):
    """Runs all layers twice."""

    def __init__(self) -> None:
        super().__init__()
        self.model: Any = oblong_model("class")

    def forward(self, images: Tensor) -> Tensor:
        x = self.model.embedded(images)
        for block in (*self.model.blocks, *self.model.blocks):
            x = block(x)
        logits: Tensor = self.model.head(self.model.pooled(self.model.norm(x)))
        return logits


@pytest.mark.parametrize("method", OF_LAYERS)
def test_a_loop_over_shared_layers_has_the_maps_of_copies_of_the_layers(method: str) -> None:
    unrolled: Any = oblong_model("class")
    unrolled.blocks.extend([deepcopy(block) for block in unrolled.blocks])
    images, options = oblong_images(2), {"grid": Grid(5, 3, 1)}
    if method in ("legrad", "tokentm"):
        with pytest.raises(InputError, match="expected one attention in each block"):
            explained(method, Loop(), images, **options)
    else:
        expected = explained(method, unrolled, images, **options)
        assert torch.equal(explained(method, Loop(), images, **options), expected)


@pytest.mark.parametrize("method", [x for x in METHODS if x != "integrated gradients"])
def test_gradient_checkpointing_changes_no_map(method: str) -> None:
    torch.manual_seed(0)
    model: Any = timm_vit().eval()
    images = torch.randn(2, 3, 15, 21)
    options: dict[str, Any] = {"grid": Grid(3, 3, 1), "baseline": Baseline()}
    expected = explained(method, model, images, **options)
    model.set_grad_checkpointing()
    if method == "attnlrp":
        with pytest.raises(RuntimeError, match="without gradient checkpointing"):
            explained(method, model, images, **options)
    else:
        assert torch.equal(explained(method, model, images, **options), expected)


class Spoilt(nn.Module):
    """Adds something to the logits of the second image."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.model, self.value = oblong_model("class"), value

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images).clone()
        logits[1:2] += self.value
        return logits


@pytest.mark.parametrize("value", slow_after(1, [torch.nan, torch.inf]))
@pytest.mark.parametrize("method", [*METHODS[:-2], "class_relevance"])
def test_logits_and_pixels_that_are_not_finite_are_refused(method: str, value: float) -> None:
    images = oblong_images(2)
    with pytest.raises(InputError, match="NaN or infinite logits, first for image 1"):
        explained(method, Spoilt(value), images, grid=Grid(5, 3, 1))
    images[0, 0, 3, 3] = value
    with pytest.raises(InputError, match="NaN or infinite"):
        explained(method, oblong_model(), images)


class Rooted(nn.Module):
    """Has finite logits, with infinite gradients where a pixel is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.model = oblong_model()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images.abs().sqrt())
        return logits


@pytest.mark.parametrize("method", ["gradient", "gradient × input"])
def test_gradients_that_are_not_finite_are_refused(method: str) -> None:
    images = oblong_images(2)
    images[1, 0, 3, 3] = 0.0
    with pytest.raises(InputError, match=r"the map or its gradients are NaN .* for image 1"):
        explained(method, Rooted(), images)


class Steep(nn.Module):
    """Has the logits of another model, with gradients that are infinite in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.model = oblong_model().half()

    def forward(self, images: Tensor) -> Tensor:
        y = self.model(images)
        logits: Tensor = y + (y - y.detach()) * 6e4 * 6e4
        return logits


@pytest.mark.parametrize("method", [*OF_LAYERS, "gradient", "attnlrp"])
def test_gradients_that_overflow_in_half_precision_are_refused(method: str) -> None:
    with pytest.raises(InputError, match="in half precision, try float32"):
        explained(method, Steep(), oblong_images(2))


def test_relevance_takes_images_of_any_type_and_inference_tensors() -> None:
    model, images = oblong_model(), oblong_images(2)
    expected = class_relevance(model, images, [1, 2]).tokens
    with torch.inference_mode():
        result = class_relevance(model, images.clone(), torch.tensor([1, 2])).tokens
        made = oblong_model()
    torch.testing.assert_close(result, expected)
    single = class_relevance(model.float(), images, [1, 2]).tokens
    torch.testing.assert_close(single, expected, rtol=1e-3, atol=1e-4)
    for method in (RELEVANCE, RAW, "gradient", "attnlrp", "legrad", "class_relevance"):
        with pytest.raises(InputError, match=r"made inside torch\.inference_mode"):
            explained(method, made, images)


class Held(TorchDispatchMode):
    """Measures the peak of the bytes of all tensors that are held."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages: dict[int, tuple[Any, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        storages = [x.untyped_storage() for x in tree_leaves(output) if isinstance(x, Tensor)]
        self.storages |= {x._cdata: (StorageWeakRef(x), x.nbytes()) for x in storages}
        self.storages = {k: x for k, x in self.storages.items() if not x[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.storages.values()))
        return output


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("method", "bound"),
    [
        (RELEVANCE, 1.1),
        ("legrad", 1.2),
        *(
            pytest.param(method, 1.1, marks=pytest.mark.slow)
            for method in (RAW, ROLLOUT, "max-flow")
        ),
    ],
)
def test_maps_hold_little_more_than_a_forward_and_a_backward_pass(
    method: str, bound: float
) -> None:
    from timm.models.vision_transformer import VisionTransformer

    model: Any = VisionTransformer(
        img_size=24, patch_size=4, embed_dim=96, depth=6, num_heads=3, num_classes=11
    ).eval()
    images = torch.randn(2, 3, 24, 24)
    with Held() as plain:
        torch.autograd.grad(model(images).sum(), model.blocks[0].attn.proj.weight)
    with Held() as held:
        explained(method, model, images, grid=Grid(6, 6, 1), baseline=Baseline())
    assert held.peak < bound * plain.peak
