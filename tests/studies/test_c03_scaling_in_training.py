import math
from typing import Any, cast

import pytest
import torch

from clearhead.data import normalize
from clearhead.errors import DivergenceError
from clearhead.models.config import ViTConfig
from clearhead.models.vit import VisionTransformer
from clearhead.studies.claims import c03_scaling_in_training as c03
from clearhead.studies.claims.c03_scaling_in_training import STUDY, probed
from clearhead.studies.measures.classifiers import training_digits
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import as_claimed, check_study, check_trials, comparisons_of, made_up

TINY = {"digits": 50, "unseen": 60, "epochs": 5}


def trial(arm: str, seed: int = 3, **changed: Any) -> Trial:
    settings = {"head_dim": 64, "optimizer": "adamw", "rate": "usual", "first": "unit"}
    return Trial(study=STUDY.name, condition=arm, seed=seed, settings=settings | TINY | changed)


def values(accuracies: dict[str, float], lost: dict[str, float]) -> Any:
    def of(trial: Trial) -> Values:
        probe = {
            "query_gradient": [0.2, 0.1],
            "key_gradient": [0.2, 0.1],
            "entropy": [[2.0], [1.0]],
        }
        return {
            "accuracy": accuracies[trial.condition] + trial.seed % 3,
            "lost": lost[trial.condition],
            "not_a_number_after": -1,
            "probes": [{"step": step, **probe} for step in (0, 5, 10)],
        }

    return of


def test_trials_are_whole() -> None:
    check_trials(STUDY)


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(("unscaled", "claimed"), [(80.0, True), (90.0, False), (95.0, False)])
def test_it_holds_where_unscaled_readers_read_less(
    budget: Budget, unscaled: float, claimed: bool
) -> None:
    made = values({"sqrt": 90.0, "none": unscaled}, {"sqrt": 0.0, "none": 0.0})

    outcomes = made_up(STUDY, made, budget=budget)

    found = comparisons_of(STUDY, outcomes)
    assert [as_claimed(comparison) for comparison in found] == [claimed] * 4
    assert all(len(comparison.first) == STUDY.seeds[budget] for comparison in found)
    check_study(STUDY, outcomes)


def test_each_arm_is_taken_at_the_rate_that_is_best_for_it() -> None:
    by_rate = {
        "sqrt": {"low": 80.0, "usual": 90.0, "high": 60.0},
        "none": {"low": 89.5, "usual": 75.0, "high": 60.0},
    }

    def made(trial: Trial) -> Values:
        accuracy = by_rate[trial.condition].get(trial.settings["rate"], 50.0)
        return {**values({trial.condition: accuracy}, {trial.condition: 0.0})(trial)}

    outcomes = made_up(STUDY, made)

    *_, best = comparisons_of(STUDY, outcomes)
    assert best.differences == pytest.approx((0.5,) * 12)
    assert not as_claimed(best)  # although at the usual rate 15 points lie between them
    assert as_claimed(comparisons_of(STUDY, outcomes)[1])
    told = STUDY.sentences(outcomes)[0]
    assert "rates 91.0 % (1 times the usual) and 90.5 % (0.3 times the usual)" in told


def test_lost_trainings_are_counted_with_exact_intervals_and_judge_nothing() -> None:
    def made(trial: Trial) -> Values:
        found: Values = values({"sqrt": 90.0, "none": 80.0}, {"sqrt": 0.0, "none": 0.0})(trial)
        if (trial.condition, trial.settings["rate"], trial.seed) == ("none", "high", 103):
            found |= {"lost": 100.0, "not_a_number_after": 5}
        return found

    outcomes = made_up(STUDY, made)

    told = STUDY.sentences(outcomes)[1]
    assert f"Of all {len(outcomes)} trainings 1 ended in a loss that is no number" in told
    assert "0 of 12 (95 % interval 0 to 26 %) were lost with the factor" in told
    assert "1 of 12 (95 % interval 0 to 38 %) without it" in told
    assert not any("lost" in comparison.name for comparison in comparisons_of(STUDY, outcomes))


def test_what_became_of_the_gradient_is_told_from_the_first_probe_to_the_last() -> None:
    norms = {"sqrt": (0.012, 0.05, 0.09), "none": (0.031, 0.04, 0.46)}

    def made(trial: Trial) -> Values:
        found: Values = values({"sqrt": 90.0, "none": 80.0}, {"sqrt": 0.0, "none": 0.0})(trial)
        for probe, norm in zip(found["probes"], norms[trial.condition], strict=True):
            probe["query_gradient"] = [norm / 2, norm * 3 / 2]
        return found

    told = STUDY.sentences(made_up(STUDY, made))[2]
    assert "larger without the factor than with it at 2 of 3 times" in told
    assert "0.012 with it and 0.031 without after 0 steps" in told
    assert "0.09 with it and 0.46 without after 10 steps" in told


def test_gradients_and_entropies_are_those_of_the_loss_and_the_weights(mnist_train: object) -> None:
    torch.manual_seed(4)
    model = VisionTransformer(ViTConfig(depth=2, num_heads=2))
    digits = training_digits(40, 1)

    found = probed(model, digits)

    loss = torch.nn.functional.cross_entropy(
        model(normalize(digits.images, model.config)), digits.labels
    )
    assert all(parameter.grad is None for parameter in model.parameters())
    loss.backward()
    for layer in range(2):
        gradient = cast("Any", model.blocks[layer]).attn.qkv.weight.grad
        assert found["query_gradient"][layer] == pytest.approx(
            float(gradient[:64].norm()), rel=1e-4
        )
        assert found["key_gradient"][layer] == pytest.approx(
            float(gradient[64:128].norm()), rel=1e-4
        )
    nats = torch.tensor(found["entropy"])
    assert nats.shape == (2, 2)  # layers, heads
    assert bool((nats > 0.9 * math.log(16)).all())  # fresh attention is almost even
    assert bool((nats <= math.log(16) + 1e-5).all())


def test_a_trial_watches_and_reads(mnist_train: object) -> None:
    scaled, unscaled = STUDY.run(trial("sqrt")), STUDY.run(trial("none"))

    assert [probe["step"] for probe in scaled["probes"]] == [5]
    assert scaled["not_a_number_after"] == -1
    assert scaled["lost"] == 100.0 * (scaled["accuracy"] < 30)
    # Scores of variance 64 instead of 1: the softmax is far sharper.
    first = [x["probes"][0]["entropy"][0][0] for x in (scaled, unscaled)]
    assert first[1] < first[0] - 0.5


def test_a_training_that_runs_into_nan_is_lost_and_said_so(
    monkeypatch: pytest.MonkeyPatch, mnist_train: object
) -> None:
    def diverge(*args: object, watch: Any, **kwargs: object) -> None:
        watch.steps = 7
        raise DivergenceError("planted")

    monkeypatch.setattr(c03, "fit", diverge)

    measured = STUDY.run(trial("none", first="small"))

    assert (measured["accuracy"], measured["lost"]) == (0.0, 100.0)
    assert measured["not_a_number_after"] == 7
