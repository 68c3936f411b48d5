import pytest

from clearhead.studies.measures.learning_curves import (
    LONG,
    MANY,
    STEPS,
    error_rate,
    measure_accuracy,
    training_grid,
)
from clearhead.studies.table import Trial


def test_steps_are_whole_epochs() -> None:
    for digits, steps in (*STEPS.items(), (MANY, LONG)):
        assert steps % (digits // 100) == 0


def test_trainings_have_the_usual_steps_or_those_given() -> None:
    trials = training_grid(("vit", "mlp"), 1_000).trials("s", "full", range(5, 8))

    assert {(trial.condition, trial.seed) for trial in trials} == {
        (condition, seed) for condition in ("vit", "mlp") for seed in (5, 6, 7)
    }
    assert {trial.settings["steps"] for trial in trials} == {STEPS[1_000]}
    (trial,) = training_grid(("vit",), 1_000, steps=7).trials("s", "full", range(1))
    assert trial.settings["steps"] == 7


@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_accuracy_is_that_of_the_digits_that_the_settings_name() -> None:
    settings = {"digits": 100, "steps": 2, "unseen": 40}
    trial = Trial(study="s", condition="mlp", seed=3, settings=settings)

    values = measure_accuracy(trial)

    assert values["accuracy"] * 40 / 100 == pytest.approx(round(values["accuracy"] * 40 / 100))
    assert values == measure_accuracy(trial)


def test_an_error_rate_has_a_place_on_a_logarithmic_axis() -> None:
    assert error_rate({"accuracy": 98.5}) == 1.5
    assert error_rate({"accuracy": 100.0}) == 0.01
