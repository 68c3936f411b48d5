"""Attribution through layers that our models do not have: other normalisations, LayerScale."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clearhead import insight
from clearhead.errors import InputError
from clearhead.insight._attnlrp import _Rules
from clearhead.insight.relevance import pixel_gradient

IMAGE: dict[str, Any] = {"img_size": 12, "patch_size": 6, "in_chans": 1, "num_classes": 5}
SIZES = IMAGE | {"embed_dim": 12, "depth": 2, "num_heads": 2}
BLACK = insight.Baseline()


def vit(**options: Any) -> Any:
    """A Vision Transformer of timm for 2 x 2 patches and a class token."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(**SIZES, **options).double().eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def by_hand(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def in_place(x: Tensor) -> Tensor:
    return x.clone().mul_(x.pow(2).mean(-1, keepdim=True).add_(1e-6).rsqrt_())


@pytest.mark.parametrize(
    "norm",
    [
        *(in_place, lambda x: x * x.square().mean(-1).rsqrt()[..., None]),
        *(
            lambda x: x / x.norm(dim=-1).unsqueeze(-1).clamp(min=1e-6),
            lambda x: x / torch.einsum("btd,btd->bt", x, x).sqrt()[..., None].expand_as(x),
        ),
        *(by_hand, lambda x: F.rms_norm(x, (6,), eps=1e-6), nn.RMSNorm(6).double()),
        *(lambda x: x / x.norm(dim=-1, keepdim=True), lambda x: F.normalize(x, dim=-1)),
        *(
            lambda x: x * (x**2).mean(-1, keepdim=True) ** -0.5,
            lambda x: x / x.std(-1, keepdim=True),
        ),
        *(nn.GroupNorm(2, 4).double(), nn.LayerNorm(6).double()),
        lambda x: (x - x.mean(-1, True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt(),
    ],
)
def test_normalisation_is_a_division_by_a_constant(norm: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 4, 6, dtype=torch.float64)
    expected = norm(x)
    with _Rules():
        y = norm(x)
    torch.testing.assert_close(y, expected)
    (gradient,) = torch.autograd.grad((weight * y).sum(), x)
    torch.testing.assert_close((x * gradient).sum(), (weight * y).sum())


@pytest.mark.parametrize("root", [torch.sqrt, lambda x: torch.pow(x, exponent=0.5)])
def test_a_root_of_each_element_passes_relevance_unchanged(
    root: Callable[[Tensor], Tensor],
) -> None:
    x = torch.rand(3, 5, dtype=torch.float64, requires_grad=True)
    with _Rules():
        (gradient,) = torch.autograd.grad(root(1 * x).mul(2.0).sum(), x)
    torch.testing.assert_close(x * gradient, 2 * x.sqrt())


@pytest.mark.parametrize(
    "code",
    [
        lambda x: x.sqrt(),  # of grey pictures
        lambda x: x.square().mean(1, keepdim=True).sqrt()[:, 0],  # pooled by root mean square
    ],
)
def test_roots_that_normalise_nothing_keep_their_relevance(
    code: Callable[[Tensor], Tensor],
) -> None:
    weight = torch.randn(6, 5, dtype=torch.float64)
    with _Rules():
        x = torch.rand(3, 1, 6, dtype=torch.float64).clone().requires_grad_()
        (gradient,) = torch.autograd.grad((code(x) @ weight).sum(), x)
    torch.testing.assert_close((x * gradient).sum(), (code(x) @ weight).sum())


@pytest.mark.parametrize("options", [{"init_values": 0.5}, {"init_values": 0.5, "reg_tokens": 2}])
def test_tokentm_includes_the_factors_of_a_layer_scale(options: dict[str, Any]) -> None:
    """A LayerScale whose factors are multiplied into the layer before it changes no map."""
    model, merged = vit(**options), vit(**options)
    for block in merged.blocks:
        for layer, scale in ((block.attn.proj, block.ls1), (block.mlp.fc2, block.ls2)):
            layer.weight.data *= scale.gamma.data[:, None]
            layer.bias.data *= scale.gamma.data
        block.ls1, block.ls2 = nn.Identity(), nn.Identity()
    images = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    maps = [insight.attribute("tokentm", x, images, baseline=BLACK) for x in (model, merged)]
    torch.testing.assert_close(*maps)


def test_tokentm_allows_for_rounding_beside_the_small_factors_of_a_new_layer_scale() -> None:
    from timm.layers.layer_scale import LayerScale

    model = vit()
    for block in model.blocks:
        for name in ("ls1", "ls2"):
            setattr(block, name, LayerScale(12, init_values=1e-5).double())
    images = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    expected = insight.attribute("tokentm", model, images, baseline=BLACK)
    result = insight.attribute("tokentm", model.float(), images.float(), baseline=BLACK)
    torch.testing.assert_close(result, expected, rtol=0.02, atol=0.0)


def test_tokentm_refuses_blocks_of_another_kind() -> None:
    from timm.models.vision_transformer import ParallelThingsBlock, ResPostBlock

    images = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    for block in (ResPostBlock, ParallelThingsBlock):
        with pytest.raises(InputError, match="block"):
            insight.attribute("tokentm", vit(block_fn=block), images, baseline=BLACK)
    post_norm = vit()
    options: dict[str, Any] = {"dropout": 0.0, "batch_first": True, "dtype": torch.float64}
    post_norm.blocks = nn.Sequential(
        *[nn.TransformerEncoderLayer(12, 2, 8, **options) for _ in range(2)]
    ).eval()
    with pytest.raises(InputError, match="block"):
        insight.attribute("tokentm", post_norm, images, baseline=BLACK)


@pytest.mark.parametrize("method", ["legrad", "tokentm"])
def test_layers_in_no_list_are_refused(method: str) -> None:
    model = vit()
    model.blocks = model.blocks[0]
    images = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    with pytest.raises(InputError, match=r"blocks.attn is in no block"):
        insight.attribute(method, model, images, baseline=BLACK)


class DictBlock(nn.Module):
    """A block that returns its tokens in a dictionary, and takes them from one."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Any) -> dict[str, Tensor]:
        return {"tokens": self.block(x["tokens"] if isinstance(x, dict) else x)}


@pytest.mark.parametrize("method", ["legrad", "tokentm"])
def test_blocks_that_return_no_tensor_are_refused(method: str) -> None:
    model = vit()
    attention = [block.attn for block in model.blocks]
    model.blocks = nn.Sequential(*map(DictBlock, attention))
    model.norm = nn.Sequential(TokensOfDict(), model.norm)
    images = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    with pytest.raises(InputError, match=r"block of blocks.0.block must take a tensor"):
        insight.attribute(method, model, images, baseline=BLACK)


class TokensOfDict(nn.Module):
    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return x["tokens"]


class Gated(nn.Module):
    """Multiplies features with factors that are parameters, or computed from the image."""

    def __init__(self, factors: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        options: dict[str, Any] = {"bias": False, "dtype": torch.float64}
        self.gate = nn.Parameter(torch.randn(1, 6, dtype=torch.float64))
        self.first, self.last = nn.Linear(9, 6, **options), nn.Linear(6, 5, **options)
        self.factors = nn.Linear(9, factors, **options) if factors else None

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        factors = self.gate.exp() if self.factors is None else self.factors(x)
        logits: Tensor = self.last(self.first(x) * factors)
        return logits


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("factors", [0, 1, 6])
def test_a_factor_gets_half_of_the_relevance_if_it_depends_on_the_image(
    factors: int, batch: int
) -> None:
    model, classes = Gated(factors), torch.arange(batch)
    images = torch.randn(batch, 1, 3, 3, dtype=torch.float64)
    with _Rules():
        relevance = images * pixel_gradient(model, images, classes)
    torch.testing.assert_close(relevance.sum((1, 2, 3)), model(images)[classes, classes].detach())
    assert all(parameter.requires_grad for parameter in model.parameters())
