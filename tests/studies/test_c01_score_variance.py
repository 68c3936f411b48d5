from typing import Any

import pytest
import torch

from clearhead.data import ImageDataset
from clearhead.studies._unconverted import Check
from clearhead.studies.claims import c01_score_variance as c01
from clearhead.studies.table import Outcome, Trial


def made_up(miss: float, median_head: float) -> list[Outcome]:
    head_dims = list(c01.HEAD_DIMS)
    variance = {
        distribution: {
            "unscaled": [float(d) for d in head_dims],
            "1/√d_k": [1.0] * (len(head_dims) - 1) + [1.0 + miss],
            "1/d_k": [1.0 / d for d in head_dims],
        }
        for distribution in c01.DISTRIBUTIONS
    }
    heads = {
        "scaled": [0.5, 2.0, 3.0],
        "unscaled": [4.0, 8.0, 2.0],
        "if_unrelated": [4.0, 4.0, 2.0],
        "per_component": [median_head, median_head, median_head * 7],
    }
    reader = {"head_dim": 4, "heads": heads, "relative_scale": [0.9, 1.0, 1.25]}
    outcomes = []
    for seed in (3, 4):
        outcomes += [
            outcome("drawn", seed, {"head_dims": head_dims, "variance": variance}),
            outcome("shipped", seed, reader),
            outcome("trained sqrt", seed, reader, head_dim=4),
            outcome("trained learned", seed, reader, head_dim=4),
        ]
    return outcomes


def outcome(arm: str, seed: int, values: dict[str, Any], **settings: Any) -> Outcome:
    trial = Trial(study="score-variance", condition=arm, seed=seed, settings=settings)
    return Outcome(trial=trial, values=values)


def as_claimed(outcomes: list[Outcome]) -> list[bool]:
    checks = c01.evidence(outcomes)
    assert all(isinstance(check, Check) for check in checks)
    return [
        all(check.low <= x <= check.high for x in check.values)
        for check in checks
        if isinstance(check, Check)
    ]


def test_drawn_components_follow_theory_at_every_scale() -> None:
    settings = {"pairs": 5_000, "head_dims": (4, 64)}
    found = c01.run(Trial(study="score-variance", condition="drawn", seed=11, settings=settings))
    for variances in found["variance"].values():
        assert variances["unscaled"] == pytest.approx([4, 64], rel=0.1)
        assert variances["1/√d_k"] == pytest.approx([1, 1], rel=0.1)
        assert variances["1/d_k"] == pytest.approx([1 / 4, 1 / 64], rel=0.1)


@pytest.mark.parametrize("distribution", c01.DISTRIBUTIONS)
def test_every_distribution_has_mean_0_and_variance_1(distribution: str) -> None:
    x = c01.drawn(distribution, (40_000,), torch.Generator().manual_seed(2))
    assert float(x.mean()) == pytest.approx(0, abs=0.02)
    assert float(x.var()) == pytest.approx(1, rel=0.03)


def test_other_seeds_draw_other_components_and_the_same_seed_the_same() -> None:
    settings = {"pairs": 50, "head_dims": (4,)}
    first, again, other = (
        c01.run(Trial(study="score-variance", condition="drawn", seed=seed, settings=settings))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_evidence_both_ways() -> None:
    assert as_claimed(made_up(miss=0.02, median_head=1.2)) == [True, True]
    assert as_claimed(made_up(miss=0.02, median_head=1 / 1.2)) == [True, True]
    assert as_claimed(made_up(miss=0.02, median_head=1.7)) == [True, False]
    assert as_claimed(made_up(miss=0.02, median_head=1 / 1.7)) == [True, False]
    assert as_claimed(made_up(miss=-0.2, median_head=1.2)) == [False, True]


def test_a_scale_of_1_over_d_k_would_be_found_out() -> None:
    settings = {"pairs": 2_000, "head_dims": (4, 64)}
    trial = Trial(study="score-variance", condition="drawn", seed=11, settings=settings)
    honest = c01.run(trial)
    wrong = {
        "head_dims": honest["head_dims"],
        "variance": {
            distribution: {**of, "1/√d_k": of["1/d_k"]}
            for distribution, of in honest["variance"].items()
        },
    }
    others = [x for x in made_up(0.0, 1.0) if x.trial.condition != "drawn"]
    assert as_claimed([*others, Outcome(trial=trial, values=honest)])[0]
    assert not as_claimed([*others, Outcome(trial=trial, values=wrong)])[0]


def test_a_small_reader_is_trained_and_read(
    mnist_train: ImageDataset, mnist_test: ImageDataset
) -> None:
    settings = {"digits": 60, "epochs": 1, "images": 7, "head_dim": 32, "scale": "learned"}
    trial = Trial(study="score-variance", condition="trained learned", seed=5, settings=settings)
    found = c01.run(trial)
    assert found["head_dim"] == 32
    assert {len(x) for x in found["heads"].values()} == {c01.DEPTH * 2}
    assert any(x != 1 for x in found["relative_scale"])


def test_sentences_and_figure_tell_what_was_measured() -> None:
    outcomes = made_up(miss=0.021, median_head=1.7)
    told = " ".join(c01.sentences(outcomes))
    assert "2.1%" in told
    assert "1.7 times at d_k 4 (means over seeds; above d_k in 6 of 6 heads)" in told
    assert "0.90 to 1.25" in told
    axes = c01.figure(outcomes).axes
    assert [x.get_ylabel() for x in axes] == ["variance of the scores", "variance"]


def test_departures_are_told_by_d_k_and_the_many_heads_of_small_d_k_do_not_drown_others() -> None:
    def readers(head_dim: int, per_component: list[float], seed: int) -> Outcome:
        heads = {"per_component": per_component, "scaled": [1.0], "unscaled": [1.0]}
        values = {"head_dim": head_dim, "heads": {**heads, "if_unrelated": [1.0]}}
        return outcome("trained sqrt", seed, values, head_dim=head_dim)

    others = [x for x in made_up(0.0, 1.0) if x.trial.condition != "trained sqrt"]
    trained = [
        readers(4, [2.0] * 15 + [1.0], 3),
        readers(4, [0.25] * 15 + [1.0], 4),  # a fourth departs as far as four times
        readers(64, [12.0], 3),
        readers(64, [9.0], 4),
    ]

    told = c01.sentences([*others, *trained])[1]

    assert "3.0 times at d_k 4, 10.5 times at d_k 64 (means over seeds; above d_k in 17 of" in told
    _, departure = c01.evidence([*others, *trained])
    assert isinstance(departure, Check)
    assert departure.values == (2.0, 4.0, 12.0, 9.0)


def test_every_sample_of_the_shipped_reader_is_told() -> None:
    outcomes = made_up(0.0, 1.0)
    second = next(x for x in outcomes if (x.trial.condition, x.trial.seed) == ("shipped", 4))
    heads = {**second.values["heads"], "scaled": [0.5, 2.0, 77.0]}
    changed = outcome("shipped", 4, {**second.values, "heads": heads})

    told = c01.sentences([changed if x is second else x for x in outcomes])[2]

    assert "3 heads have variances from 0.5 to 77 over 2 samples of digits;" in told


def test_budgets_cost_what_they_say_and_trials_differ() -> None:
    quick, full = (c01.trials(budget, range(7, 9)) for budget in ("quick", "full"))
    for trials in (quick, full):
        assert len({trial.name for trial in trials}) == len(trials)
        assert {trial.seed for trial in trials} == {7, 8}
    assert len(quick) < len(full)
