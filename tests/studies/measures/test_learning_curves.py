import pytest
from matplotlib.figure import Figure

from clearhead.studies.measures.learning_curves import (
    LONG,
    STEPS,
    draw_learning_curves,
    learning_trials,
    long_trainings,
    mean_accuracies,
    run_learning,
)
from clearhead.studies.table import Outcome, Trial


def outcome(arm: str, seed: int, digits: int, accuracy: float) -> Outcome:
    trial = Trial(study="s", condition=arm, seed=seed, settings={"digits": digits})
    return Outcome(trial=trial, values={"accuracy": accuracy})


def test_each_arm_and_seed_has_a_trial_of_the_usual_length() -> None:
    trials = learning_trials("s", ("vit", "mlp"), range(5, 8), digits=1_000)

    assert {(trial.condition, trial.seed) for trial in trials} == {
        (arm, seed) for arm in ("vit", "mlp") for seed in (5, 6, 7)
    }
    assert {trial.settings["steps"] for trial in trials} == {STEPS[1_000]}
    assert learning_trials("s", ("vit",), range(1), digits=1_000, steps=7)[0].settings["steps"] == 7


def test_steps_are_whole_epochs() -> None:
    for digits, steps in (*STEPS.items(), (10_000, LONG)):
        assert steps % (digits // 100) == 0


def test_means_are_of_one_arm_by_digits() -> None:
    outcomes = [
        outcome("vit", 0, 100, 60.0),
        outcome("vit", 1, 100, 70.0),
        outcome("vit", 0, 1_000, 90.0),
        outcome("mlp", 0, 100, 11.0),
    ]

    assert mean_accuracies(outcomes, "vit") == {100: 65.0, 1_000: 90.0}
    assert mean_accuracies(outcomes, "cnn") == {}


def test_curves_are_errors_with_a_point_for_each_trial() -> None:
    outcomes = [
        outcome("vit", 0, 100, 60.0),
        outcome("vit", 1, 100, 70.0),
        outcome("vit", 0, 1_000, 100.0),
    ]
    axes = Figure().subplots()

    draw_learning_curves(axes, outcomes)

    points, means = axes.get_lines()
    assert points.get_ydata() == pytest.approx([40.0, 30.0, 0.01])
    assert means.get_ydata() == pytest.approx([35.0, 0.01])
    assert means.get_label() == "ViT"


def test_a_trial_reads_as_many_digits_as_it_is_told(mnist_train: object) -> None:
    settings = {"digits": 100, "steps": 2, "unseen": 40}

    values = run_learning(Trial(study="s", condition="mlp", seed=3, settings=settings))

    assert values["accuracy"] * 40 / 100 == pytest.approx(round(values["accuracy"] * 40 / 100))
    assert values == run_learning(Trial(study="s", condition="mlp", seed=3, settings=settings))


def test_long_trainings_are_kept_apart_and_told_beside_the_usual_ones_of_their_seeds() -> None:
    usual = [
        Outcome(
            trial=Trial(
                study="s", condition="vit", seed=seed, settings={"digits": 10_000, "steps": 500}
            ),
            values={"accuracy": accuracy},
        )
        for seed, accuracy in ((0, 90.0), (1, 92.0), (2, 50.0))
    ]
    long = [
        Outcome(
            trial=Trial(
                study="s", condition="vit", seed=seed, settings={"digits": 10_000, "steps": LONG}
            ),
            values={"accuracy": accuracy},
        )
        for seed, accuracy in ((0, 97.0), (1, 98.0))
    ]
    axes = Figure().subplots()

    draw_learning_curves(axes, usual + long)

    assert mean_accuracies(usual + long, "vit") == {10_000: pytest.approx(232 / 3)}
    assert mean_accuracies(usual + long, "vit", long=True) == {10_000: 97.5}
    told = long_trainings(usual + long, {"vit": "ViT"}, 10_000)
    assert told is not None
    assert "with 2,000 steps instead of 500" in told
    assert "accuracy went from 91.0 to 97.5 % (ViT), in 2 trainings" in told
    assert long_trainings(usual, {"vit": "ViT"}, 10_000) is None
    assert axes.get_lines()[-1].get_ydata() == pytest.approx([2.5])
