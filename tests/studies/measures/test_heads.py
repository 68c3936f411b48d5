from typing import Any, cast

import pytest
import torch

from clearhead.insight.measures import measure_records
from clearhead.insight.roles import NO_CLEAR_ROLE
from clearhead.insight.tokens import Grid
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture, intervene
from clearhead.studies.measures.heads import (
    accuracies_with_other_weights,
    compare_with_untrained,
    distance_between_heads,
    exchange_weights,
    share_weights,
)
from tests.studies.made_up import random_classifier, random_images


def classifier() -> VisionTransformer:
    return random_classifier(1, 0.5, embed_dim=12, num_heads=3)


def test_equal_heads_have_distance_0_and_heads_without_a_common_key_100() -> None:
    same = torch.rand(3, 1, 4, 4).softmax(dim=-1).expand(-1, 2, -1, -1)
    eye = torch.eye(4).expand(3, 1, 4, 4)
    disjoint = torch.cat([eye, eye.roll(1, dims=-1)], dim=1)
    grid = Grid(2, 2)

    assert distance_between_heads(measure_records([same], grid)) == pytest.approx(0, abs=0.1)
    assert distance_between_heads(measure_records([disjoint], grid)) == pytest.approx(100)


@pytest.mark.parametrize("by", [1, 2])
def test_exchanged_heads_apply_each_others_weights_to_their_own_values(by: int) -> None:
    model = classifier()
    inputs = random_images(4)
    with torch.no_grad(), capture("blocks.0.attn") as recording:
        model(inputs)
    before = recording[0]

    with torch.no_grad(), capture("blocks.1.attn") as second_layer, intervene(exchange_weights(by)):
        model(inputs)

    expected = torch.stack(
        [before.weights[:, (head - by) % 3] @ before.value[:, head] for head in range(3)], dim=1
    )
    with torch.no_grad():
        tokens = model.embedded(inputs)
        first, second = (cast("Any", block) for block in model.blocks)
        tokens = tokens + first.attn.proj(expected.transpose(1, 2).flatten(2))
        tokens = tokens + first.mlp(first.norm2(tokens))
        projected = second.attn.qkv(second.norm1(tokens))
    torch.testing.assert_close(
        second_layer[0].query.transpose(1, 2).flatten(2), projected[..., :12]
    )


def test_sharing_gives_every_head_the_mean() -> None:
    model = classifier()
    inputs = random_images(4)
    with torch.no_grad(), capture() as recording:
        model(inputs)

    found = share_weights(recording[0])

    torch.testing.assert_close(
        found, recording[0].weights.mean(dim=1, keepdim=True) @ recording[0].value
    )


def test_equal_heads_can_be_exchanged_and_others_cannot(mnist_test: object) -> None:
    model, inputs = classifier(), random_images(4)
    with torch.no_grad(), intervene(exchange_weights(1)):
        moved = model(inputs)
    with torch.no_grad():
        assert float((moved - model(inputs)).abs().max()) > 0.1
    for block in model.blocks:
        qkv = cast("Any", block).attn.qkv
        for part in (0, 1):  # queries and keys of all heads as those of the first
            first = slice(12 * part, 12 * part + 4)
            for head in (1, 2):
                rows = slice(12 * part + 4 * head, 12 * part + 4 * head + 4)
                qkv.weight.data[rows] = qkv.weight.data[first]
                qkv.bias.data[rows] = qkv.bias.data[first]

    alike = accuracies_with_other_weights(model, 200, 3)

    assert alike["exchanged"] == pytest.approx(alike["accuracy"])
    assert alike["shared"] == pytest.approx(alike["accuracy"])
    assert len(alike["falls"]) == 6


def test_an_untrained_model_has_no_roles_and_the_distances_of_others(
    mnist_test: object,
) -> None:
    torch.manual_seed(9)
    model = VisionTransformer(ViTConfig(depth=1, embed_dim=16, num_heads=2)).eval()

    found = compare_with_untrained(model, 12, 4)

    assert found["roles"] == [NO_CLEAR_ROLE] * 2
    assert found["apart"] == pytest.approx(found["apart_fresh"], abs=1.0)
    assert len(found["heads"]["entropy"]) == 2
