import pytest
import torch
from torch import nn

from clearhead.attention import MultiHeadAttention
from clearhead.data import ImageDataset
from clearhead.studies._unconverted import Check, Comparison
from clearhead.studies.claims import c06_positions as c06
from clearhead.studies.table import Outcome, Trial


def made_up(error: float = 1e-15, **changed: float) -> list[Outcome]:
    """What is `changed` is named arm_measure_rate, with _ for what is not a letter."""
    measured = {"accuracy": 0.95, "shuffled": 0.4}

    def number(arm: str, measure: str, rate: str) -> float:
        usual = 0.8 if arm == "none" else measured[measure]
        name = f"{arm}_{measure}_{rate}".replace("-", "_").replace(" ", "_").replace(",", "")
        return changed.get(name, usual)

    outcomes = []
    for seed in (1, 2, 3):
        trial = Trial(study="positions", condition="layers", seed=seed)
        values = {"error": error, "error_with_positions": 0.4}
        outcomes.append(Outcome(trial=trial, values=values))
        readers = [(arm, rate) for arm in c06.ARMS for rate in c06.RATES]
        for arm, rate in [*readers, (c06.ONE_SHUFFLE, "low rate")]:
            told = {"digits": 6_000, "rate": rate}
            reader = Trial(study="positions", condition=arm, seed=seed, settings=told)
            values = {
                "accuracy": number(arm, "accuracy", rate) + seed / 1000,
                "shuffled": number(arm, "shuffled", rate),
                "error": 1e-15,
            }
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
    found = c06.run(Trial(study="positions", condition="layers", seed=3, settings={"layers": 5}))
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
    told = {"digits": 60, "epochs": 1, "unseen": 50, "rate": "usual rate"}
    found = c06.run(Trial(study="positions", condition="none", seed=3, settings=told))
    assert found["accuracy"] == found["shuffled"]
    assert found["error"] <= c06.ROUNDING
    shuffled = Trial(study="positions", condition=c06.ONE_SHUFFLE, seed=3, settings=told)
    assert 0 <= c06.run(shuffled)["accuracy"] <= 1


def test_the_rate_is_the_one_that_the_trial_names(
    mnist_train: ImageDataset, mnist_test: ImageDataset
) -> None:
    told = {"digits": 60, "epochs": 2, "unseen": 200}
    usual, low = (
        c06.run(
            Trial(study="positions", condition="learned", seed=3, settings={**told, "rate": rate})
        )
        for rate in c06.RATES
    )
    assert usual != low


def test_every_reader_that_decides_has_all_seeds_at_both_rates() -> None:
    for budget in ("quick", "full"):
        trials = c06.trials(budget, range(7, 7 + c06.STUDY.seeds[budget]))
        assert len({trial.name for trial in trials}) == len(trials)
        for arm in c06.ARMS:
            for rate in c06.RATES:
                seeds = [
                    x.seed for x in trials if (x.condition, x.settings.get("rate")) == (arm, rate)
                ]
                assert len(seeds) == c06.STUDY.seeds[budget]
        shuffled = [x for x in trials if x.condition == c06.ONE_SHUFFLE]
        assert len(shuffled) == c06.SHUFFLE_SEEDS[budget]


ROWS = (  # after the check of the formula
    *("usual, learned", "usual, learned, order", "usual, sine", "usual, sine, order"),
    *("low, learned", "low, learned, order", "low, sine", "low, sine, order"),
)


@pytest.mark.parametrize(
    ("changed", "fails"),
    [
        ({}, ()),
        ({"none_accuracy_usual_rate": 0.949}, ("usual, learned", "usual, sine")),
        ({"none_accuracy_low_rate": 0.949}, ("low, learned", "low, sine")),
        ({"learned_shuffled_usual_rate": 0.95}, ("usual, learned, order",)),
        ({"learned_shuffled_low_rate": 0.95}, ("low, learned, order",)),
        ({"sine_cosine_shuffled_usual_rate": 0.95}, ("usual, sine, order",)),
        ({"sine_cosine_shuffled_low_rate": 0.95}, ("low, sine, order",)),
        ({"sine_cosine_accuracy_low_rate": 0.81}, ("low, sine",)),
    ],
)
def test_each_row_of_evidence_can_fail(changed: dict[str, float], fails: tuple[str, ...]) -> None:
    assert as_claimed(made_up(**changed)) == [True, *(row not in fails for row in ROWS)]


def test_outputs_that_do_not_permute_are_caught() -> None:
    assert as_claimed(made_up(error=1e-9)) == [False] + [True] * 8


def test_equal_arms_show_no_difference() -> None:
    same = {
        f"{arm}_{measure}_{rate}": 0.9
        for arm in ("learned", "sine_cosine", "none")
        for measure in ("accuracy", "shuffled")
        for rate in ("usual_rate", "low_rate")
    }
    comparisons = [x for x in c06.evidence(made_up(**same)) if isinstance(x, Comparison)]
    assert len(comparisons) == 8
    for one in comparisons:
        assert all(abs(x) < one.margin / 4 for x in one.differences)


def test_sentences_and_figure_tell_what_was_measured() -> None:
    made = made_up(
        sine_cosine_accuracy_low_rate=0.86,
        sine_cosine_shuffled_usual_rate=0.79,
        learned_one_shuffle_accuracy_low_rate=0.9,
    )
    told = c06.sentences(made)
    assert "of 0.02 read 95.2% (learned positions), 95.2% (sine-cosine) and 80.2% (none)" in told[1]
    assert "at 0.006, 95.2% (learned positions), 86.2% (sine-cosine) and 80.2% (none)." in told[1]
    assert "they read 40.0% (learned positions), 79.0% (sine-cosine) and 80.0% (none)" in told[2]
    assert "and 40.0% (learned positions), 40.0% (sine-cosine) and 80.0% (none) at" in told[2]
    assert "one fixed shuffle a reader reaches 90.2%" in told[2]
    assert len(c06.figure(made).axes) == 1
