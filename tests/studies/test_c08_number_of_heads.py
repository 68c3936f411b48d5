import pytest

from clearhead.studies.c08_number_of_heads import STUDY
from clearhead.studies.study import Budget, Trial, Values
from tests.studies.made_up import as_claimed, check_study, check_trials, comparisons_of, made_up


def test_trials_are_whole() -> None:
    check_trials(STUDY)


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(
    ("accuracies", "claimed"),
    [
        ({1: 90.0, 8: 92.0, 32: 92.2}, [True, True]),
        ({1: 90.0, 8: 90.0, 32: 90.0}, [False, True]),  # the number makes no difference
        ({1: 90.0, 8: 92.0, 32: 94.0}, [True, False]),  # no saturation yet
        ({1: 92.0, 8: 92.1, 32: 88.0}, [False, False]),
    ],
)
def test_more_at_first_and_no_difference_later(
    budget: Budget, accuracies: dict[int, float], claimed: list[bool]
) -> None:
    def values(trial: Trial) -> Values:
        accuracy = accuracies.get(trial.settings["heads"], 91.0)
        return {"accuracy": accuracy + trial.seed % 3}

    outcomes = made_up(STUDY, values, budget=budget)

    assert [as_claimed(x) for x in comparisons_of(STUDY, outcomes)] == claimed
    check_study(STUDY, outcomes)


def test_parameters_are_constant_and_heads_are_not(mnist_train: object) -> None:
    few, many = (
        STUDY.run(
            Trial(
                study=STUDY.name,
                arm="heads",
                seed=3,
                settings={"heads": heads, "digits": 100, "epochs": 1, "unseen": 50},
            )
        )
        for heads in (1, 32)
    )

    assert few["parameters"] == many["parameters"]
    assert few["nll"] != many["nll"]
