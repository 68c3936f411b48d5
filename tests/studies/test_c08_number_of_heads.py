import pytest

from clearhead.studies.claims.c08_number_of_heads import STUDY
from clearhead.studies.table import Budget, Trial, Values
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


def test_numbers_of_heads_are_compared_on_the_seeds_that_all_have() -> None:
    def values(trial: Trial) -> Values:
        heads = trial.settings["heads"]
        if heads == 8:  # with all seeds far better than with the two that others have
            return {"accuracy": 91.0 if trial.seed < 102 else 96.2}
        return {"accuracy": {1: 89.0, 16: 92.5}.get(heads, 91.5)}

    told = STUDY.sentences(made_up(STUDY, values))

    mean = (2 * 91.0 + 13 * 96.2) / 15  # 95.5
    assert f"means of 15 trainings: 1: 89.0 %, 8: {mean:.1f} %, 32: 91.5 %;" in told[0]
    assert "On the 2 seeds" in told[1]
    assert "8: 91.0 %, 16: 92.5 %" in told[1]
    assert "the highest mean was that of 16 heads (d_k 4)" in told[1]


def test_parameters_are_constant_and_heads_are_not(mnist_train: object) -> None:
    few, many = (
        STUDY.run(
            Trial(
                study=STUDY.name,
                condition="heads",
                seed=3,
                settings={"heads": heads, "digits": 100, "epochs": 1, "unseen": 50},
            )
        )
        for heads in (1, 32)
    )

    assert few["parameters"] == many["parameters"]
    assert few["nll"] != many["nll"]
