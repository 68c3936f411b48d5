from typing import cast

import numpy as np
import pytest
import torch

from clearhead.data.pixels import normalize
from clearhead.errors import InputError
from clearhead.inference import ModelInput, predict_inputs
from clearhead.models.build import build
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.layers import Block
from clearhead.models.pretrained import ImageModel
from clearhead.models.vit import VisionTransformer
from clearhead.serve.attention import attention_of
from clearhead.serve.work import Done, Work, worker

from .reference import attention_in_float64
from .served import tensor


def pictures(rows: int, seed: int = 0) -> tuple[ModelInput, ...]:
    return tuple(ModelInput(torch.from_numpy(row)) for row in tensor(rows, seed))


def test_every_request_gets_its_own_answers_and_its_own_attention(model: ImageModel) -> None:
    batch = [
        Work(pictures=pictures(2, seed=1)),
        Work(pictures=pictures(3, seed=2), explain=True),
        Work(pictures=pictures(1, seed=3)),
        Work(pictures=pictures(1, seed=4), explain=True),
    ]
    done = worker(model, attention_of)(batch)
    for one, asked in zip(done, batch, strict=True):
        assert isinstance(one, Done)
        expected = predict_inputs(model, asked.pictures)
        assert [p.label for p in one.predictions] == [p.label for p in expected]
        np.testing.assert_allclose(
            [p.probabilities for p in one.predictions],
            [p.probabilities for p in expected],
            atol=1e-6,
        )
        assert (one.attention is not None) == asked.explain
        if one.attention is not None:
            assert one.attention.shape == (3, len(asked.pictures), 5, 17, 17)
            for place, picture in enumerate(asked.pictures):
                np.testing.assert_allclose(
                    one.attention[:, place],
                    attention_in_float64(model, picture.pixels.numpy()),
                    atol=2e-5,
                )


def test_what_breaks_the_forward_pass_breaks_no_answer_but_its_own(model: ImageModel) -> None:
    bad = ModelInput(torch.zeros(1, 28, 27, dtype=torch.uint8))
    batch = [Work(pictures=one) for one in (pictures(1), (bad,), pictures(2, seed=5))]
    first, second, third = worker(model, attention_of)(batch)
    assert isinstance(second, RuntimeError)
    for one, asked in ((first, batch[0]), (third, batch[2])):
        assert isinstance(one, Done)
        assert one.predictions == tuple(predict_inputs(model, asked.pictures))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_answers_nan_gives_errors_not_answers(value: float) -> None:
    broken = build(CNNConfig(widths=(2,)))
    with torch.no_grad():
        broken.head.bias[5] = value
    done = worker(broken, attention_of)([Work(pictures=pictures(1)), Work(pictures=pictures(2))])
    assert [type(one) for one in done] == [InputError, InputError]


@pytest.mark.parametrize("scale", ["none", "learned", 0.7])
def test_attention_follows_the_models_scale_and_leaves_its_mode(scale: str | float) -> None:
    config = ViTConfig(embed_dim=20, num_heads=5, depth=2, attention_scale=scale, dropout=0.5)
    torch.manual_seed(3)
    network = build(config)
    assert isinstance(network, VisionTransformer)
    blocks = cast("list[Block]", list(network.blocks))
    seen = []
    for block in blocks:
        block.attn.proj.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        if block.attn.learned_scale is not None:
            torch.nn.init.uniform_(block.attn.learned_scale, 0.1, 2)
    network.eval()
    weights = attention_of(network, torch.from_numpy(tensor(3)))
    for layer, block in enumerate(blocks):
        tokens = block.norm1(_before(network, layer)).detach()
        value = block.attn.qkv(tokens)[..., 40:].unflatten(-1, (5, 4)).transpose(1, 2)
        context = (weights[layer].float() @ value).transpose(1, 2).flatten(2)
        torch.testing.assert_close(context, seen[layer], atol=1e-5, rtol=1e-5)


def _before(network: VisionTransformer, layer: int) -> torch.Tensor:
    tokens = network.embedded(normalize(torch.from_numpy(tensor(3)), network.config))
    for block in list(network.blocks)[:layer]:
        tokens = block(tokens)
    return tokens


def test_a_model_without_attention_has_none_to_give() -> None:
    with pytest.raises(InputError, match="ConvNet"):
        attention_of(build(CNNConfig(widths=(2,))), torch.from_numpy(tensor(1)))
