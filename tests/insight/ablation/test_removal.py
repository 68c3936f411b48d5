"""Removing a part, against forward passes written out by hand and against other libraries."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import timm
import torch
import torchvision
import transformers
from torch import Tensor, nn

from clearhead.errors import ConfigError, InputError
from clearhead.insight.ablation.parts import Part
from clearhead.insight.ablation.removal import Method, by_image, reference_means, removing
from clearhead.insight.answers import Model, probabilities
from clearhead.recording._capture import intervene

from ..plain_forward import oblong_images, oblong_model, plain_probabilities
from .test_parts import Twice

CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12}
POOLS = ["mean", "class"]
METHODS: tuple[Method, ...] = ("mean", "zero", "mask")


def without(
    part: Part,
    model: Model,
    images: Tensor,
    *,
    method: Method,
    reference: Tensor | None = None,
    first_patch: int = 0,
) -> Tensor:
    """In uneven batches."""
    means = None if reference is None else reference_means(model, reference, batch_size=2)
    return probabilities(
        model,
        images,
        batch_size=3,
        around=lambda n: intervene(removing(part, method, means, first_patch, n)),
    )


class Recorder:
    """What each head gave, layer by layer, for every image of one plain forward pass."""

    def __init__(self) -> None:
        self.outputs: dict[tuple[int, int], Tensor] = {}
        self.values: dict[tuple[int, int], Tensor] = {}

    def __call__(self, layer: int, head: int, weights: Tensor, values: Tensor) -> Tensor:
        self.outputs[layer, head] = weights @ values
        self.values[layer, head] = values
        return self.outputs[layer, head]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("part", [Part(layer="blocks.1.attn", head=1), Part(head=0), Part()])
@pytest.mark.parametrize("method", ["mean", "zero"])
def test_a_head_gives_every_query_its_mean_or_nothing(
    pool: str, part: Part, method: Method
) -> None:
    model, images, reference = oblong_model(pool), oblong_images(7), oblong_images(5, seed=2)
    plain = Recorder()
    plain_probabilities(model, reference, plain)

    def removed(layer: int, head: int, weights: Tensor, values: Tensor) -> Tensor:
        output = weights @ values
        hit = part.layer in (None, f"blocks.{layer}.attn") and part.head in (None, head)
        if not hit:
            return output
        if method == "zero":
            return torch.zeros_like(output)
        return plain.outputs[layer, head].mean(0, keepdim=True).expand_as(output)

    found = without(part, model, images, method=method, reference=reference)
    expected = plain_probabilities(model, images, removed)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert not torch.allclose(found, plain_probabilities(model, images), atol=1e-3)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    "part", [Part(patch=4), Part(layer="blocks.2.attn", patch=13), Part(head=1, patch=0)]
)
@pytest.mark.parametrize("method", ["mean", "zero", "mask"])
def test_a_patch_answers_with_its_mean_or_nothing_or_is_not_asked(
    pool: str, part: Part, method: Method
) -> None:
    model, images, reference = oblong_model(pool), oblong_images(7), oblong_images(5, seed=2)
    plain = Recorder()
    plain_probabilities(model, reference, plain)
    key = model.num_prefix_tokens + (part.patch or 0)

    def removed(layer: int, head: int, weights: Tensor, values: Tensor) -> Tensor:
        if part.layer not in (None, f"blocks.{layer}.attn") or part.head not in (None, head):
            return weights @ values
        weights, values = weights.clone(), values.clone()
        if method == "mask":
            weights[..., key] = 0.0
            weights /= weights.sum(-1, keepdim=True)
        else:
            mean = plain.values[layer, head].mean(0)[key]
            values[:, key] = mean if method == "mean" else 0.0
        return weights @ values

    found = without(
        part,
        model,
        images,
        method=method,
        reference=reference,
        first_patch=model.num_prefix_tokens,
    )
    torch.testing.assert_close(found, plain_probabilities(model, images, removed), **CLOSE)
    assert not torch.allclose(found, plain_probabilities(model, images), atol=1e-4)


def test_only_the_call_that_is_named_is_changed() -> None:
    model, tokens = Twice().double(), torch.randn(5, 7, 10, dtype=torch.float64)
    found = without(Part(layer="attn#2"), model, tokens, method="zero")
    logits = model.head(model.attn.proj.bias).expand(5, -1)
    torch.testing.assert_close(found, logits.softmax(1).detach(), **CLOSE)
    first = without(Part(layer="attn"), model, tokens, method="zero")
    expected = model.head(model.attn(tokens + model.attn.proj.bias).mean(1)).softmax(1)
    torch.testing.assert_close(first, expected.detach(), **CLOSE)


def test_removing_what_is_never_read_changes_no_digit_of_the_answer() -> None:
    model, images = oblong_model().float(), oblong_images(7).float()
    model.get_parameter("blocks.1.attn.proj.weight").data[:, 7:] = 0.0
    before = probabilities(model, images, batch_size=3)
    for patch in (None, 2):
        part = Part(layer="blocks.1.attn", head=1, patch=patch)
        for method in METHODS if patch else METHODS[:2]:
            after = without(part, model, images, method=method, reference=images)
            assert torch.equal(after, before)


def test_a_patch_that_always_says_the_same_loses_nothing_to_its_mean() -> None:
    """Exactly, in any batch: the change is computed, and not the whole output anew."""
    model, images = oblong_model().float(), oblong_images(7).float()
    for layer in range(3):  # values are their bias
        model.get_parameter(f"blocks.{layer}.attn.qkv.weight").data[28:] = 0.0
    before = probabilities(model, images, batch_size=3)
    after = without(Part(patch=2), model, images, method="mean", reference=images)
    assert torch.equal(after, before)


def test_a_query_that_may_look_at_nothing_else_gets_zeros() -> None:
    model, images = Twice().double(), torch.randn(3, 1, 10, dtype=torch.float64)
    found = without(Part(patch=0), model, images, method="mask")
    expected = model.head(model.attn.proj.bias).softmax(0).expand(3, -1)
    torch.testing.assert_close(found, expected.detach(), **CLOSE)


@contextmanager
def replaced_inputs(layer: nn.Module, columns: slice, new: Tensor | float) -> Iterator[None]:
    """Some columns of what a linear layer is given are others."""

    def change(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        x = args[0].clone()
        x[..., columns] = new
        return (x,)

    handle = layer.register_forward_pre_hook(change)
    try:
        yield
    finally:
        handle.remove()


def mean_input(model: nn.Module, layer: nn.Module, images: Tensor) -> Tensor:
    """The mean over the images of what a linear layer is given; windows each for themselves."""
    kept: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    with torch.no_grad():
        model(images)
    handle.remove()
    windows: Tensor = kept[0].unflatten(0, (len(images), -1))
    return windows.mean(0)


def shaken(model: nn.Module) -> nn.Module:
    """In float64, its weights larger than at the start: else all attention is alike."""
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.double().eval()


def timms_vit() -> tuple[nn.Module, str, nn.Module, int, int]:
    model = shaken(
        timm.models.VisionTransformer(
            img_size=(15, 21), patch_size=(5, 7), embed_dim=12, depth=2, num_heads=3, num_classes=7
        )
    )
    return model, "blocks.1.attn", model.get_submodule("blocks.1.attn.proj"), 4, 1


def timms_swin() -> tuple[nn.Module, str, nn.Module, int, int]:
    """In windows, the second block shifted and masked."""
    model = shaken(
        timm.models.SwinTransformer(
            img_size=(16, 16),
            patch_size=2,
            embed_dim=12,
            depths=(2,),
            num_heads=(3,),
            window_size=4,
            num_classes=7,
        )
    )
    path = "layers.0.blocks.1.attn"
    return model, path, model.get_submodule(path + ".proj"), 4, 4


def transformers_vit(implementation: str) -> tuple[nn.Module, str, nn.Module, int, int]:
    model = shaken(
        transformers.ViTForImageClassification(
            transformers.ViTConfig(
                image_size=20,
                patch_size=5,
                hidden_size=12,
                num_hidden_layers=2,
                num_attention_heads=3,
                intermediate_size=17,
                num_labels=7,  # type: ignore[call-arg]
                attn_implementation=implementation,
            )
        )
    )
    linears = [name for name, x in model.named_modules() if isinstance(x, nn.Linear)]
    # the first map after the value's in the second layer is that of the joined heads
    second = [name for name in linears if ".1." in name]
    values = next(i for i, name in enumerate(second) if name.endswith(("value", "v_proj")))
    joined = second[values + 1]
    return model, "", model.get_submodule(joined), 4, 1


MAKERS: dict[str, Callable[[], tuple[nn.Module, str, nn.Module, int, int]]] = {
    "timm": timms_vit,
    "swin": timms_swin,
    "sdpa": lambda: transformers_vit("sdpa"),
    "eager": lambda: transformers_vit("eager"),
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("method", ["mean", "zero"])
def test_heads_of_other_libraries_are_removed_alike(maker: str, method: Method) -> None:
    torch.manual_seed(3)
    model, path, joined, width, windows = MAKERS[maker]()
    side = {"timm": (15, 21), "swin": (16, 16)}.get(maker, (20, 20))
    images, reference = torch.randn(2, 7, 3, *side, dtype=torch.float64)
    layer = path or next(x for x in names_of(model, images) if ".1." in x)
    columns = slice(2 * width, 3 * width)
    new: Tensor | float = 0.0
    if method == "mean":
        mean = mean_input(model, joined, reference)
        assert len(mean) == windows or windows == 1
        new = mean.repeat(len(images), 1, 1)[..., columns]
    with replaced_inputs(joined, columns, new):
        expected = probabilities(model, images, batch_size=7)
    part = Part(layer=layer, head=2)
    found = without(part, model, images, method=method, reference=reference)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(found, probabilities(model, images), atol=1e-4)


def names_of(model: nn.Module, images: Tensor) -> tuple[str, ...]:
    return tuple(reference_means(model, images).outputs)


def test_torchvisions_heads_are_removed_as_its_output_map_would_lose_them() -> None:
    torch.manual_seed(4)
    model = shaken(
        torchvision.models.VisionTransformer(
            image_size=20,
            patch_size=5,
            num_layers=2,
            num_heads=3,
            hidden_dim=12,
            mlp_dim=17,
            num_classes=7,
        )
    )
    images = torch.randn(5, 3, 20, 20, dtype=torch.float64)
    layer = names_of(model, images)[1]
    found = without(Part(layer=layer, head=1), model, images, method="zero")
    before = probabilities(model, images)
    model.get_parameter(f"{layer}.out_proj.weight").data[:, 4:8] = 0.0
    torch.testing.assert_close(found, probabilities(model, images), **CLOSE)
    assert not torch.allclose(found, before, atol=1e-4)


@pytest.mark.parametrize("method", ["mask", "zero"])
def test_a_key_is_removed_before_heads_are_mixed(method: Method) -> None:
    """CaiT mixes its heads before the softmax and after it."""
    torch.manual_seed(5)
    attn = timm.models.cait.TalkingHeadAttn(12, num_heads=3, qkv_bias=True)
    head = nn.Linear(84, 5)
    model = shaken(nn.Sequential(attn, nn.Flatten(), head))
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
    found = without(Part(patch=5), model, tokens, method=method)
    torch.testing.assert_close(found, expected, **CLOSE)


def test_a_mean_is_not_zero_for_want_of_means() -> None:
    with pytest.raises(ConfigError, match="reference_means"):
        removing(Part(), "mean", None, 0, 3)


def test_sizes_that_have_no_mean_are_refused() -> None:
    model = Twice()
    tokens = torch.randn(5, 7, 10)

    def cut(batch: Tensor) -> Tensor:
        out: Tensor = model(batch[:, : 3 + len(batch)])
        return out

    with pytest.raises(InputError, match="different sizes"):
        reference_means(cut, tokens, batch_size=3)


def test_matrices_that_belong_to_no_image_are_refused() -> None:
    with pytest.raises(InputError, match="has 6 matrices a head for 4 images"):
        by_image(torch.zeros(6, 3, 5, 2), 4, "attn")
    assert by_image(torch.zeros(6, 3, 5, 2), 2, "attn").shape == (2, 3, 3, 5, 2)
