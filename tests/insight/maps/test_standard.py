"""The four usual maps: what each is, and where it is read."""

import pytest
import timm
import torch
import transformers
from torch import Tensor, nn

from clearhead.errors import InputError
from clearhead.insight.maps.norms import value_norms
from clearhead.insight.maps.relevance import class_relevance
from clearhead.insight.maps.rollout import rollout
from clearhead.insight.maps.standard import RAW, RELEVANCE, ROLLOUT, VALUES, standard_maps
from clearhead.insight.tokens import Grid
from clearhead.recording._capture import capture

from ..plain_forward import oblong_images, oblong_model


@pytest.mark.parametrize(("pool", "prefix"), [("mean", 0), ("class", 1)])
def test_maps_are_read_where_the_answer_is_read(pool: str, prefix: int) -> None:
    model, images = oblong_model(pool), oblong_images(5)
    found = standard_maps(model, images, Grid(5, 3, prefix), batch_size=2)
    with torch.no_grad(), capture() as seen:
        model(images)

    def read(matrix: Tensor) -> Tensor:
        return (matrix[:, 0] if prefix else matrix.mean(1))[:, prefix:].double()

    weights = seen["blocks.2.attn"].weights
    lengths = seen["blocks.2.attn"].value.norm(dim=-1)
    expected = {
        RAW: read(weights.mean(1)),
        ROLLOUT: read(rollout(seen)),
        RELEVANCE: class_relevance(model, images).tokens[:, prefix:],
        VALUES: read((weights * lengths[:, :, None, :]).mean(1)),
    }
    assert list(found) == list(expected)
    for name, importance in expected.items():
        torch.testing.assert_close(found[name], importance.detach(), rtol=1e-6, atol=1e-9)
        assert found[name].shape == (5, 15)


def test_a_projection_measures_what_enters_the_stream() -> None:
    model, images = oblong_model(), oblong_images(3)
    projection = model.get_submodule("blocks.2.attn.proj")
    assert isinstance(projection, nn.Linear)
    found = standard_maps(model, images, Grid(5, 3), projection=projection)[VALUES]
    with torch.no_grad(), capture() as seen:
        model(images)
    expected = value_norms(seen[-1], projection).mean((1, 2))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, standard_maps(model, images, Grid(5, 3))[VALUES])


def timms() -> nn.Module:
    return timm.models.VisionTransformer(
        img_size=(15, 21), patch_size=(5, 7), embed_dim=12, depth=2, num_heads=3, num_classes=7
    )


def transformers_own() -> nn.Module:
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(
            image_size=(15, 21),
            patch_size=(5, 7),
            hidden_size=12,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=17,
            num_labels=7,  # type: ignore[call-arg]
        )
    )


@pytest.mark.parametrize("make", [timms, transformers_own])
def test_models_of_other_libraries_give_all_four(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = make().eval()
    images = torch.randn(3, 3, 15, 21)
    found = standard_maps(model, images, Grid(3, 3, 1))
    with torch.no_grad(), capture() as seen:
        model(images)
    torch.testing.assert_close(found[RAW], seen[-1].weights.mean(1)[:, 0, 1:].double())
    assert all(x.shape == (3, 9) and x.isfinite().all() for x in found.values())


def test_tokens_that_are_not_on_the_grid_are_refused() -> None:
    with pytest.raises(InputError, match="15 tokens"):
        standard_maps(oblong_model(), oblong_images(2), Grid(4, 4))
