import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearhead.data import ImageDataset
from clearhead.studies._unconverted import Check, Comparison
from clearhead.studies.claims import c02_saturation as c02
from clearhead.studies.table import Outcome, Trial


def drawn_trial(seed: int, **changes: Any) -> Trial:
    told = {"rows": 100, "keys": c02.KEYS, "head_dims": c02.HEAD_DIMS, **changes}
    return Trial(study="saturation", condition="drawn", seed=seed, settings=told)


def trained(seed: int) -> list[Outcome]:
    return [
        Outcome(
            trial=Trial(
                study="saturation",
                condition="trained",
                seed=seed,
                settings={"head_dim": 64, "scale": scale},
            ),
            values={
                "relative_entropy": 0.9,
                "largest": largest,
                "jacobian": 0.2,
                "jacobian_median": 0.2,
                "accuracy": 0.9,
            },
        )
        for scale, largest in (("none", 0.31), ("sqrt", 0.12), ("learned", 0.14))
    ]


def measured(seeds: range) -> list[Outcome]:
    trials = [drawn_trial(seed) for seed in seeds]
    return [Outcome(trial=trial, values=c02.run(trial)) for trial in trials]


@given(st.integers(0, 2**32), st.integers(2, 9), st.floats(0.1, 8))
@settings(deadline=None, max_examples=25)
def test_the_jacobian_is_that_of_autograd(seed: int, keys: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(keys, generator=generator, dtype=torch.float64) * size
    jacobian = torch.autograd.functional.jacobian(lambda x: torch.softmax(x, dim=0), scores)
    found = c02.jacobian_norm(torch.softmax(scores, dim=0))
    assert float(found) == pytest.approx(float(jacobian.norm()), abs=1e-7)


def test_what_reaches_the_query_is_that_of_autograd() -> None:
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(5, generator=generator, dtype=torch.float64)
    key = torch.randn(7, 5, generator=generator, dtype=torch.float64)

    def weights(x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(key @ x * 0.3, dim=0)

    jacobian = torch.autograd.functional.jacobian(weights, query)
    found = c02.query_gradient_norm(weights(query)[None], key[None], 0.3)
    assert float(found) == pytest.approx(float(jacobian.norm()))


def test_the_density_of_a_zero_gap() -> None:
    assert c02.zero_gap_density(2) == pytest.approx(1 / math.sqrt(math.pi))
    x = torch.randn(200_000, 16, generator=torch.Generator().manual_seed(4)).topk(2).values
    near = ((x[:, 0] - x[:, 1]) < 0.05).double().mean() / 0.05
    assert c02.zero_gap_density(16) == pytest.approx(float(near), rel=0.08)


def test_measurement_agrees_with_theory_where_d_k_is_large() -> None:
    found = c02.run(drawn_trial(5, rows=2_000, head_dims=(256,)))["measured"]
    for scale in c02.SCALES:
        for measure in ("relative_entropy", "largest", "jacobian"):
            assert found[scale][measure] == pytest.approx(
                found[f"theory {scale}"][measure], abs=0.02
            )


def test_evidence_both_ways() -> None:
    one_hot, gradient, reaching, steady = c02.evidence(measured(range(2)))
    assert isinstance(one_hot, Check)
    assert isinstance(gradient, Comparison)
    assert isinstance(reaching, Comparison)
    assert isinstance(steady, Comparison)
    assert all(x >= one_hot.low for x in one_hot.values)
    assert all(x > gradient.margin for x in gradient.differences)
    assert all(x < 0 for x in reaching.differences)  # in the mean it grows, whatever rows lose
    assert all(abs(x) < steady.margin for x in steady.differences)


def test_a_scale_that_is_none_would_be_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c02, "SCALES", {"unscaled": 0.0, "1/√d_k": 0.0, "1/d_k": -1.0})
    _, gradient, reaching, steady = c02.evidence(measured(range(2)))
    assert isinstance(gradient, Comparison)
    assert isinstance(reaching, Comparison)
    assert isinstance(steady, Comparison)
    assert gradient.differences == reaching.differences == (0.0, 0.0)
    assert all(x > 5 * steady.margin for x in steady.differences)


def test_scaled_scores_beside_scaled_ones_do_not_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c02, "SCALES", {"unscaled": -0.5, "1/√d_k": -0.5, "1/d_k": -1.0})
    one_hot, gradient, _, _ = c02.evidence(measured(range(2)))
    assert isinstance(one_hot, Check)
    assert isinstance(gradient, Comparison)
    assert all(x < one_hot.low for x in one_hot.values)
    assert gradient.differences == (0.0, 0.0)


def made_up(changed: dict[tuple[str, str], float]) -> list[Outcome]:
    """Drawn rows whose every measure is 0.5 but those that are changed, by scale and measure."""
    measures = ("relative_entropy", "largest", "jacobian", "query_gradient")
    names = [*measures, "jacobian_median", "query_gradient_median"]
    numbers = {
        scale: {name: [0.5] * 7 + [changed.get((scale, name), 0.5)] for name in names}
        for scale in c02.SCALES
    }
    values = {"head_dims": list(c02.HEAD_DIMS), "keys": c02.KEYS, "measured": numbers}
    return [Outcome(trial=drawn_trial(seed), values=values) for seed in (0, 1, 2)]


@pytest.mark.parametrize("measure", ["jacobian", "query_gradient"])
def test_both_gradients_are_asked_for_each_by_itself(measure: str) -> None:
    halved_twice = {("unscaled", measure): 0.125}

    gradients = c02.evidence(made_up(halved_twice))[1:3]

    for one, name in zip(gradients, ("jacobian", "query_gradient"), strict=True):
        assert isinstance(one, Comparison)
        assert one.differences == ((2.0,) * 3 if name == measure else (0.0,) * 3)
        assert (min(one.differences) >= one.margin) == (name == measure)


def test_a_mean_that_few_rows_carry_is_told_beside_the_median_row() -> None:
    changed = {
        ("1/√d_k", "jacobian"): 0.305,
        ("unscaled", "jacobian"): 0.073,
        ("unscaled", "jacobian_median"): 5.9e-4,
        ("1/√d_k", "query_gradient"): 0.31,
        ("unscaled", "query_gradient"): 1.64,
        ("1/√d_k", "query_gradient_median"): 0.30,
        ("unscaled", "query_gradient_median"): 0.013,
    }

    told = c02.sentences([*made_up(changed), *trained(0)])[1]

    assert "a mean norm of 0.305 with 1/√d_k and 0.073 without" in told
    assert "in the median row 0.500 and 5.9e-04" in told
    assert "what reaches the query has 0.31 and 1.64 in the mean, 0.30 and 0.013 in" in told


def test_a_small_reader_is_trained_and_read(
    mnist_train: ImageDataset, mnist_test: ImageDataset
) -> None:
    told = {"digits": 60, "epochs": 1, "images": 7, "head_dim": 32, "scale": "none"}
    found = c02.run(Trial(study="saturation", condition="trained", seed=5, settings=told))
    assert 0 < found["relative_entropy"] <= 1
    assert 1 / 16 <= found["largest"] <= 1


def test_sentences_and_figure_tell_what_was_measured() -> None:
    outcomes = [*measured(range(2)), *trained(0), *trained(1)]
    told = c02.sentences(outcomes)
    assert "0.31 without scaling" in told[2]
    assert len(c02.figure(outcomes).axes) == 4


def test_trained_readers_get_fewer_seeds() -> None:
    for budget in ("quick", "full"):
        trials = c02.trials(budget, range(100, 112))
        arms = [trial.condition for trial in trials]
        assert arms.count("drawn") == 12
        seeds = {trial.seed for trial in trials if trial.condition == "trained"}
        assert len(seeds) == c02.TRAINED_SEEDS[budget]
        assert len({trial.name for trial in trials}) == len(trials)
