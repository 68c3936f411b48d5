import pytest
import torch
from torch import nn

from clearhead.attention import MultiHeadAttention
from clearhead.data.datasets import ImageDataset
from clearhead.studies import c06_positions as c06
from clearhead.studies.study import Check, Comparison, Outcome, Trial


def made_up(
    error: float = 1e-15, learned: float = 0.95, none: float = 0.8, shuffled: float = 0.4
) -> list[Outcome]:
    outcomes = []
    for seed in (1, 2, 3):
        trial = Trial(study="positions", arm="layers", seed=seed)
        values = {"error": error, "error_with_positions": 0.4}
        outcomes.append(Outcome(trial=trial, values=values))
        for arm in c06.ARMS:
            right = none if arm == "none" else learned
            fell = none if arm == "none" else shuffled
            reader = Trial(study="positions", arm=arm, seed=seed, settings={"digits": 6_000})
            values = {"accuracy": right + seed / 1000, "shuffled": fell, "error": 1e-15}
            outcomes.append(Outcome(trial=reader, values=values))
    return outcomes


def as_claimed(outcomes: list[Outcome]) -> list[bool]:
    return [
        all(one.low <= x <= one.high for x in one.values)
        if isinstance(one, Check)
        else all(x >= one.margin for x in one.differences)
        for one in c06.evidence(outcomes)
    ]


def test_attention_permutes_with_its_tokens_and_positions_end_that() -> None:
    found = c06.run(Trial(study="positions", arm="layers", seed=3, settings={"layers": 5}))
    assert found["error"] <= c06.ROUNDING
    assert found["error_with_positions"] > 0.01


def test_a_layer_with_a_causal_mask_is_caught() -> None:
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = MultiHeadAttention(6, 2).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(x, is_causal=True)
            return found

    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert c06.equivariance_error(Causal(), x, order) > 1e-3
    assert c06.equivariance_error(Causal().layer, x, order) <= c06.ROUNDING


@pytest.mark.parametrize("tokens", [2, 3, 7])
def test_in_a_random_order_nothing_stays(tokens: int) -> None:
    for seed in range(5):
        order = c06._all_moved(tokens, torch.Generator().manual_seed(seed))
        assert sorted(order.tolist()) == list(range(tokens))
        assert not (order == torch.arange(tokens)).any()


def test_patches_are_shuffled_whole() -> None:
    images = torch.arange(2 * 1 * 4 * 6, dtype=torch.uint8).reshape(2, 1, 4, 6)
    order = torch.tensor([[3, 1, 2, 0, 5, 4], [0, 1, 2, 3, 4, 5]])
    moved = c06.shuffle_patches(images, order, patch=(2, 2))
    assert torch.equal(moved[1], images[1])
    assert torch.equal(moved[0, :, 0:2, 0:2], images[0, :, 2:4, 0:2])  # place 0 shows patch 3
    assert torch.equal(moved[0, :, 2:4, 2:4], images[0, :, 2:4, 4:6])  # place 4 shows patch 5
    assert torch.equal(moved[0, :, 0:2, 2:4], images[0, :, 0:2, 2:4])
    same = c06.shuffle_patches(images, order[0], patch=(2, 2))
    assert torch.equal(same[0], moved[0])
    assert not torch.equal(same[1], images[1])


def test_a_reader_without_positions_answers_shuffled_digits_alike(
    mnist_train: ImageDataset, mnist_test: ImageDataset
) -> None:
    told = {"digits": 60, "epochs": 1, "unseen": 50}
    found = c06.run(Trial(study="positions", arm="none", seed=3, settings=told))
    assert found["accuracy"] == found["shuffled"]
    assert found["error"] <= c06.ROUNDING
    shuffled = Trial(study="positions", arm=c06.ONE_SHUFFLE, seed=3, settings=told)
    assert 0 <= c06.run(shuffled)["accuracy"] <= 1


def test_evidence_both_ways() -> None:
    assert as_claimed(made_up()) == [True] * 4
    assert as_claimed(made_up(error=1e-9)) == [False, True, True, True]
    assert as_claimed(made_up(none=0.949)) == [True, False, False, True]
    assert as_claimed(made_up(shuffled=0.95)) == [True, True, True, False]


def test_equal_arms_show_no_difference() -> None:
    for one in c06.evidence(made_up(learned=0.9, none=0.9, shuffled=0.9)):
        if isinstance(one, Comparison):
            assert all(abs(x) < one.margin / 4 for x in one.differences)


def test_sentences_and_figure_tell_what_was_measured() -> None:
    told = c06.sentences(made_up())
    assert "95.2% with learned positions, 95.2% with sine-cosine and 80.2% with none" in told[1]
    assert "40.0%" in told[2]
    assert len(c06.figure(made_up()).axes) == 1
