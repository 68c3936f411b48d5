import pytest

from clearhead.studies.claims.c08_number_of_heads import STUDY
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import made_up, outcomes_of


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(
    ("accuracies", "outcomes"),
    [
        ({1: 90.0, 8: 92.0, 32: 92.2}, [True, True]),
        ({1: 90.0, 8: 90.0, 32: 90.0}, [False, True]),  # the number makes no difference
        ({1: 90.0, 8: 92.0, 32: 94.0}, [True, False]),  # no saturation yet
        ({1: 92.0, 8: 92.1, 32: 88.0}, [False, False]),
    ],
)
def test_more_heads_help_first_and_make_no_difference_later(
    budget: Budget, accuracies: dict[int, float], outcomes: list[bool]
) -> None:
    def values(trial: Trial) -> Values:
        accuracy = accuracies.get(trial.settings["heads"], 91.0)
        return {"accuracy": accuracy + trial.seed % 3}

    assert outcomes_of(STUDY, values, budget=budget) == outcomes


def test_the_line_joins_means_over_the_seeds_that_all_numbers_of_heads_have() -> None:
    def values(trial: Trial) -> Values:
        if trial.settings["heads"] == 8:  # with all seeds far better than with the two shared ones
            return {"accuracy": 91.0 if trial.seed < 102 else 96.2}
        return {"accuracy": 91.5}

    figure = STUDY.figure(made_up(STUDY, values))

    (line,) = (x for x in figure.axes[0].get_lines() if x.get_linestyle() == "-")
    assert list(line.get_xdata()) == [1, 2, 4, 8, 16, 32, 64]  # type: ignore[arg-type]
    assert list(line.get_ydata()) == [91.5, 91.5, 91.5, 91.0, 91.5, 91.5, 91.5]  # type: ignore[arg-type]


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
