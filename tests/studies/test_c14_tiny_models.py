import pytest

from clearhead.models import build
from clearhead.studies.claims.c14_tiny_models import SIZES, STUDY, TINY
from clearhead.studies.table import Budget, Trial, Values
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
        decides = trial.condition == "right" and trial.settings["size"] == TINY
        return {"accuracy": accuracy if decides else 99.0, "parameters": 10_000}

    outcomes = made_up(STUDY, values, budget=budget)

    (comparison,) = comparisons_of(STUDY, outcomes)
    assert len(comparison.first) == STUDY.seeds[budget]
    assert as_claimed(comparison) == claimed
    check_study(STUDY, outcomes)


def test_both_set_ups_train_the_same_size_on_the_same_digits(mnist_train: object) -> None:
    settings = {"size": "3 k", "digits": 400, "epochs": 2, "unseen": 50}

    right, plain = (
        STUDY.run(Trial(study=STUDY.name, condition=arm, seed=2, settings=settings))
        for arm in ("right", "plain")
    )

    assert right["parameters"] == plain["parameters"]
    assert right["nll"] != plain["nll"]


def test_every_size_but_the_largest_sees_the_digits_as_often_as_the_tiny_one() -> None:
    epochs = {x.settings["size"]: x.settings["epochs"] for x in STUDY.trials("full", range(3))}

    assert epochs == {"3 k": 5, "10 k": 5, "30 k": 5, "100 k": 5, "1 M": 1}


def test_sentences_say_what_differs_and_that_sizes_make_no_law() -> None:
    read = {"3 k": 95.0, "10 k": 97.5, "30 k": 98.0, "100 k": 98.5, "1 M": 93.0}

    def values(trial: Trial) -> Values:
        plain = trial.condition == "plain"
        return {
            "accuracy": 61.25 if plain else read[trial.settings["size"]],
            "parameters": 9_658,
        }

    first, plain, sizes = STUDY.sentences(made_up(STUDY, values))

    assert "97.50 % of unseen digits (97.50 to 97.50 over 12 trainings)" in first
    assert "61.2 % (2 trainings): optimiser, rate and warm-up differ at once" in plain
    assert "3 k: 95.0 %; 30 k: 98.0 %; 100 k: 98.5 %; 1 M: 93.0 %; 1 M saw every" in sizes
    assert "no scaling law" in sizes
    assert len(STUDY.sentences(made_up(STUDY, values, budget="quick"))) == 1
