import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import clearhead as ch
from clearhead.errors import ConfigError, InputError
from clearhead.insight.maps.rollout import HeadFusion, read_out, rollout, rollout_by_layer
from clearhead.recording import capture

from ..plain_forward import oblong_images, oblong_model


def random_layers(layers: int = 3, tokens: int = 7, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (5, 2, tokens, tokens)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).mul(2).softmax(dim=-1)
        for _ in range(layers)
    ]


def plain_rollout(
    layers: list[Tensor], residual: float, fusion: str, discard_ratio: float
) -> np.ndarray:
    result = np.empty((5, 7, 7))
    for image in range(5):
        flow = np.eye(7)
        for layer in layers:
            fused = getattr(np, fusion)(layer[image].numpy(), axis=0)
            step = np.zeros((7, 7))
            for query in range(7):
                row = fused[query].copy()
                for key in np.argsort(row, kind="stable")[: int(7 * discard_ratio)]:
                    row[key] = 0.0
                step[query] = (1 - residual) * row / row.sum()
                step[query, query] += residual
            flow = step @ flow
        result[image] = flow
    return result


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("residual", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("discard_ratio", [0.0, 0.45])
def test_rollout_is_the_product_of_what_each_layer_passes_on(
    fusion: HeadFusion, residual: float, discard_ratio: float
) -> None:
    layers = random_layers()
    found = rollout(layers, residual=residual, head_fusion=fusion, discard_ratio=discard_ratio)
    np.testing.assert_allclose(
        found, plain_rollout(layers, residual, fusion, discard_ratio), atol=1e-12
    )


@given(
    residual=st.floats(0.0, 0.99),
    fusion=st.sampled_from(["mean", "max", "min"]),
    discard_ratio=st.floats(0.0, 0.99),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_every_row_stays_a_distribution(
    residual: float, fusion: HeadFusion, discard_ratio: float, seed: int
) -> None:
    found = rollout(
        random_layers(seed=seed),
        residual=residual,
        head_fusion=fusion,
        discard_ratio=discard_ratio,
    )
    assert bool((found >= 0).all())
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(5, 7, dtype=torch.float64))


def test_rows_and_not_columns_are_made_to_sum_to_one() -> None:
    sharp = torch.tensor([[[[0.9, 0.1], [0.6, 0.4]], [[0.2, 0.8], [0.5, 0.5]]]])
    found = rollout([sharp], residual=0.0, head_fusion="max")
    expected = torch.tensor([[[0.9 / 1.7, 0.8 / 1.7], [0.6 / 1.1, 0.5 / 1.1]]])
    torch.testing.assert_close(found, expected.double())


def test_the_first_layer_is_applied_first() -> None:
    first, second = random_layers(2)
    forward, backward = rollout([first, second]), rollout([second, first])
    step = [0.5 * x.mean(dim=1) + 0.5 * torch.eye(7, dtype=torch.float64) for x in (first, second)]
    torch.testing.assert_close(forward, step[1] @ step[0])
    assert not torch.allclose(forward, backward)


def test_each_layer_has_its_own_rollout() -> None:
    layers = random_layers()
    found = rollout_by_layer(layers)
    assert found.shape == (5, 3, 7, 7)
    for count in (1, 2, 3):
        torch.testing.assert_close(found[:, count - 1], rollout(layers[:count]))


def test_heads_that_attend_to_nothing_leave_a_token_with_what_it_has() -> None:
    empty = torch.zeros(1, 2, 3, 3)
    assert torch.equal(rollout([empty])[0], torch.eye(3, dtype=torch.float64))


def test_one_image_does_not_change_another() -> None:
    layers = random_layers()
    whole = rollout(layers, discard_ratio=0.4)
    for image in range(5):
        alone = rollout([layer[[image]] for layer in layers], discard_ratio=0.4)
        torch.testing.assert_close(whole[[image]], alone)


def test_a_captured_model_with_a_class_token_gives_rollout_over_all_tokens() -> None:
    with torch.no_grad(), capture() as seen:
        oblong_model("class")(oblong_images(5))
    found = rollout(seen)
    assert found.shape == (5, 16, 16)
    torch.testing.assert_close(found, rollout([record.weights for record in seen.records]))


def test_the_answer_is_read_from_one_token_some_or_all() -> None:
    matrix = rollout(random_layers())
    torch.testing.assert_close(read_out(matrix, 0), matrix[:, 0])
    torch.testing.assert_close(read_out(matrix, [1, 4]), (matrix[:, 1] + matrix[:, 4]) / 2)
    torch.testing.assert_close(read_out(matrix, "mean").sum(dim=-1), torch.ones(5).double())


@pytest.mark.parametrize("readout", [7, -8, [], [0, 9]])
def test_tokens_that_are_not_there_are_not_read(readout: int | list[int]) -> None:
    with pytest.raises(InputError, match="readout must name tokens among 7"):
        read_out(rollout(random_layers()), readout)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"residual": 1.0}, "residual must be at least 0 and below 1"),
        ({"residual": -0.1}, "residual must be at least 0 and below 1"),
        ({"discard_ratio": 1.0}, "discard_ratio must be at least 0 and below 1"),
        ({"head_fusion": "median"}, 'head_fusion must be "mean", "max" or "min"'),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rollout(random_layers(), **settings)  # type: ignore[arg-type]


def test_layers_over_other_tokens_are_refused() -> None:
    with pytest.raises(InputError, match="from all tokens to all tokens"):
        rollout([torch.rand(5, 2, 1, 7)])
    with pytest.raises(InputError, match="choose layers over the same tokens"):
        rollout([torch.rand(5, 2, 7, 7), torch.rand(5, 2, 3, 3)])


def test_several_forward_passes_are_no_one_flow() -> None:
    model, images = ch.load(), torch.zeros(2, 1, 28, 28)
    with torch.no_grad(), ch.capture() as seen:
        model(images)
        model(images)
    with pytest.raises(InputError, match="2 forward passes of 6 layers"):
        rollout(seen)
    assert rollout(list(seen.records)[:6]).shape == (2, 16, 16)
