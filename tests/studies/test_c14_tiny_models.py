import pytest

from clearhead.models import build
from clearhead.studies.claims.c14_tiny_models import BASELINE, SIZES, STUDY, TINY
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import check_study, made_up, samples_of, supported


def test_sizes_have_the_parameters_that_their_names_say() -> None:
    for name, config in SIZES.items():
        number, unit = name.split()
        expected = float(number) * {"k": 1e3, "M": 1e6}[unit]
        size = sum(x.numel() for x in build(config).parameters())
        assert size == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(("accuracy", "outcome"), [(97.4, True), (96.9, False), (90.0, False)])
def test_the_tiny_size_in_the_right_set_up_is_compared_with_neighbours_on_the_same_digits(
    budget: Budget, accuracy: float, outcome: bool
) -> None:
    def values(trial: Trial) -> Values:
        decides = trial.condition == "right" and trial.settings["size"] == TINY
        sample = trial.seed % 5  # of the test digits, as hard for both
        if trial.condition == BASELINE:
            return {"accuracy": 96.9 + sample}
        return {"accuracy": accuracy + sample if decides else 99.0, "parameters": 10_000}

    measured = made_up(STUDY, values, budget=budget)

    (comparison,) = samples_of(STUDY, measured)
    assert comparison.values == pytest.approx((accuracy - 96.9,) * STUDY.seeds[budget])
    assert supported(comparison) == outcome
    check_study(STUDY, measured)


@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_both_set_ups_train_the_same_size_on_the_same_digits() -> None:
    settings = {"size": "3 k", "digits": 400, "epochs": 2, "unseen": 50}

    right, plain = (
        STUDY.run(Trial(study=STUDY.name, condition=condition, seed=2, settings=settings))
        for condition in ("right", "plain")
    )

    assert right["parameters"] == plain["parameters"]
    assert right["nll"] != plain["nll"]
