import pytest

from clearhead.models.build import build
from clearhead.studies.c14_tiny_models import SIZES, STUDY, TINY
from clearhead.studies.study import Budget, Trial, Values
from tests.studies.made_up import as_claimed, check_study, check_trials, comparisons_of, made_up


def test_trials_are_whole() -> None:
    check_trials(STUDY)


def test_sizes_are_what_they_are_called() -> None:
    for called, config in SIZES.items():
        number, unit = called.split()
        expected = float(number) * {"k": 1e3, "M": 1e6}[unit]
        size = sum(x.numel() for x in build(config).parameters())
        assert size == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(("accuracy", "claimed"), [(97.4, True), (96.9, False), (90.0, False)])
def test_only_the_tiny_size_in_the_right_set_up_decides(
    budget: Budget, accuracy: float, claimed: bool
) -> None:
    def values(trial: Trial) -> Values:
        decides = trial.arm == "right" and trial.settings["size"] == TINY
        return {"accuracy": accuracy if decides else 99.0, "parameters": 10_000}

    outcomes = made_up(STUDY, values, budget=budget)

    (comparison,) = comparisons_of(STUDY, outcomes)
    assert len(comparison.first) == STUDY.seeds[budget]
    assert as_claimed(comparison) == claimed
    check_study(STUDY, outcomes)


def test_both_set_ups_train_the_same_size_on_the_same_digits(mnist_train: object) -> None:
    settings = {"size": "3 k", "digits": 400, "epochs": 2, "unseen": 50}

    right, plain = (
        STUDY.run(Trial(study=STUDY.name, arm=arm, seed=2, settings=settings))
        for arm in ("right", "plain")
    )

    assert right["parameters"] == plain["parameters"]
    assert right["nll"] != plain["nll"]
