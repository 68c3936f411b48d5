import pytest

from clearhead.studies.claims.c08_number_of_heads import STUDY
from clearhead.studies.measures.slopes import WIDTHS
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import made_up, not_supported, part_outcomes

EIGHT, AS_GOOD = "8 heads are better than 1 (digits)", "32 heads are as good as 8 (digits)"


def values_of(trial: Trial, digits: dict[int, float], one: float = 80.0) -> Values:
    if trial.condition == "heads":
        return {"accuracy": digits.get(trial.settings["heads"], 91.0) + trial.seed % 3}
    if trial.condition == "widths":
        return {str(width): {"1": 90.0, "8": 91.0} for width in WIDTHS}
    return {"with_attention": 90.0, "one": one, "floor": 33.0}


@pytest.mark.parametrize(
    ("digits", "failing"),
    [
        ({1: 90.0, 8: 92.0, 32: 92.2}, set()),
        ({1: 90.0, 8: 90.0, 32: 90.0}, {EIGHT}),  # the number makes no difference
        ({1: 90.0, 8: 92.0, 32: 94.0}, {AS_GOOD}),  # no saturation yet
        ({1: 92.0, 8: 92.1, 32: 88.0}, {EIGHT, AS_GOOD}),
    ],
)
def test_more_heads_help_first_and_make_no_difference_later(
    digits: dict[int, float], failing: set[str]
) -> None:
    assert not_supported(part_outcomes(STUDY, lambda x: values_of(x, digits))) == failing


def test_where_attention_is_needed_four_heads_are_compared_with_one() -> None:
    digits = {1: 90.0, 8: 92.0, 32: 92.2}

    found = part_outcomes(STUDY, lambda x: values_of(x, digits, one=89.5))

    tasks = ("common digit", "recall")
    assert not_supported(found) == {f"4 heads are better than 1 ({x})" for x in tasks}


def test_the_line_joins_means_over_the_seeds_that_all_numbers_of_heads_have() -> None:
    def values(trial: Trial) -> Values:
        if trial.condition != "heads":
            return values_of(trial, {})
        if trial.settings["heads"] == 8:  # with all seeds far better than with the two shared ones
            return {"accuracy": 91.0 if trial.seed < 102 else 96.2}
        return {"accuracy": 91.5}

    figure = STUDY.figure(made_up(STUDY, values))

    (line,) = (x for x in figure.axes[0].get_lines() if x.get_linestyle() == "-")
    assert list(line.get_xdata()) == [1, 2, 4, 8, 16, 32]  # type: ignore[arg-type]
    assert list(line.get_ydata()) == [91.5, 91.5, 91.5, 91.0, 91.5, 91.5]  # type: ignore[arg-type]


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


@pytest.mark.usefixtures("small_trainings")
@pytest.mark.parametrize("condition", ["widths", "common digit", "recall"])
def test_each_condition_is_measured(condition: str) -> None:
    settings = {"digits": 50, "epochs": 1, "unseen": 20, "widths": (16,), "examples": 100}

    found = STUDY.run(Trial(study=STUDY.name, condition=condition, seed=3, settings=settings))

    if condition == "widths":
        assert set(found["16"]) == {"1", "8"}
    else:
        assert all(0 <= found[x] <= 100 for x in ("with_attention", "floor", "one"))
