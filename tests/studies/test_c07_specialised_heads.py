from typing import Any, cast

import pytest
import torch

from clearhead.insight.measures import measure_records
from clearhead.insight.roles import NO_CLEAR_ROLE
from clearhead.insight.tokens import Grid
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.recording import capture, intervene
from clearhead.studies.claims.c07_specialised_heads import (
    STUDY,
    apart,
    beside_untrained,
    exchanged,
    other_weights,
    shared,
)
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import as_claimed, check_study, check_trials, comparisons_of, made_up


def reader(seed: int = 1) -> VisionTransformer:
    torch.manual_seed(seed)
    model = VisionTransformer(ViTConfig(depth=2, embed_dim=12, num_heads=3)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def values(apart: float, roles: list[str], exchanged: float, fresh: float = 5.0) -> Values:
    places = {"entropy": [1.0, 2.0], "distance": [1.0, 1.5]}
    return {
        "apart": apart,
        "apart_fresh": fresh,
        "apart_sharp": 30.0,
        "roles": roles,
        "roles_untrained": [NO_CLEAR_ROLE] * 4,
        "heads": places,
        "heads_untrained": places,
        "accuracy": 92.0,
        "exchanged": exchanged,
        "shared": 50.0,
        "falls": [3.0, 0.5],
    }


def test_trials_are_whole() -> None:
    check_trials(STUDY)


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(
    ("measured", "claimed"),
    [
        (values(40.0, ["along its own row"] * 4, 60.0), [True, True, True, True]),
        (values(30.0, [NO_CLEAR_ROLE] * 4, 92.0), [True, False, False, False]),
        (
            values(20.0, ["local", NO_CLEAR_ROLE, NO_CLEAR_ROLE, "x"], 91.5),
            [True, False, True, False],
        ),
        (values(20.0, ["local"] * 4, 60.0, fresh=16.0), [False, False, True, True]),
    ],
)
def test_heads_are_held_against_untrained_and_exchanged_ones(
    budget: Budget, measured: Values, claimed: list[bool]
) -> None:
    def of(trial: Trial) -> Values:  # the shipped reader decides nothing
        return measured if trial.condition == "small" else values(99.0, ["x"] * 24, 1.0)

    outcomes = made_up(STUDY, of, budget=budget)

    assert [as_claimed(x) for x in comparisons_of(STUDY, outcomes)] == claimed
    check_study(STUDY, outcomes)


def test_both_kinds_of_untrained_heads_are_told() -> None:
    measured = values(81.0, ["local", NO_CLEAR_ROLE, NO_CLEAR_ROLE, NO_CLEAR_ROLE], 25.4, fresh=0.5)

    told = STUDY.sentences(made_up(STUDY, lambda _: measured))

    assert "untrained ones as they are 0.5 and as sharp as the trained 30" in told[0]
    assert "25 % of heads earned a role, of untrained ones as sharp 0 %" in told[0]
    assert (
        "25.4 % when every head got another one's weights (which shows that heads diff" in told[1]
    )
    assert "(untrained 0.5, as sharp 30)" in told[2]


def test_equal_heads_are_not_apart_and_heads_without_a_common_key_wholly() -> None:
    same = torch.rand(3, 1, 4, 4).softmax(dim=-1).expand(-1, 2, -1, -1)
    eye = torch.eye(4).expand(3, 1, 4, 4)
    disjoint = torch.cat([eye, eye.roll(1, dims=-1)], dim=1)
    grid = Grid(2, 2)

    assert apart(measure_records([same], grid)) == pytest.approx(0, abs=0.1)
    assert apart(measure_records([disjoint], grid)) == pytest.approx(100)


@pytest.mark.parametrize("by", [1, 2])
def test_exchanged_heads_have_each_others_weights_on_their_own_values(by: int) -> None:
    model = reader()
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    with torch.no_grad(), capture("blocks.0.attn") as seen:
        model(images)
    before = seen[0]

    with torch.no_grad(), capture("blocks.1.attn") as then, intervene(exchanged(by)):
        model(images)

    expected = torch.stack(
        [before.weights[:, (head - by) % 3] @ before.value[:, head] for head in range(3)], dim=1
    )
    with torch.no_grad():
        tokens = model.embedded(images)
        first, second = (cast("Any", block) for block in model.blocks)
        tokens = tokens + first.attn.proj(expected.transpose(1, 2).flatten(2))
        tokens = tokens + first.mlp(first.norm2(tokens))
        projected = second.attn.qkv(second.norm1(tokens))
    torch.testing.assert_close(then[0].query.transpose(1, 2).flatten(2), projected[..., :12])


def test_sharing_gives_every_head_the_mean() -> None:
    model = reader()
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    with torch.no_grad(), capture() as seen:
        model(images)

    found = shared(seen[0])

    torch.testing.assert_close(found, seen[0].weights.mean(dim=1, keepdim=True) @ seen[0].value)


def test_equal_heads_can_be_exchanged_and_others_cannot(mnist_test: object) -> None:
    model, images = reader(), torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    with torch.no_grad(), intervene(exchanged(1)):
        moved = model(images)
    with torch.no_grad():
        assert float((moved - model(images)).abs().max()) > 0.1
    for block in model.blocks:
        qkv = cast("Any", block).attn.qkv
        for part in (0, 1):  # queries and keys of all heads as those of the first
            first = slice(12 * part, 12 * part + 4)
            for head in (1, 2):
                rows = slice(12 * part + 4 * head, 12 * part + 4 * head + 4)
                qkv.weight.data[rows] = qkv.weight.data[first]
                qkv.bias.data[rows] = qkv.bias.data[first]

    alike = other_weights(model, 200, 3)

    assert alike["exchanged"] == pytest.approx(alike["accuracy"])
    assert alike["shared"] == pytest.approx(alike["accuracy"])
    assert len(alike["falls"]) == 6


def test_an_untrained_reader_has_no_roles_and_lies_as_far_apart_as_others(
    mnist_test: object,
) -> None:
    torch.manual_seed(9)
    model = VisionTransformer(ViTConfig(depth=1, embed_dim=16, num_heads=2)).eval()

    found = beside_untrained(model, 12, 4)

    assert found["roles"] == [NO_CLEAR_ROLE] * 2
    assert found["apart"] == pytest.approx(found["apart_fresh"], abs=1.0)
    assert len(found["heads"]["entropy"]) == 2
