import pytest

from clearhead.studies.claims.c10_convolution import STUDY
from clearhead.studies.measures.slopes import BUDGETS
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import not_supported, part_outcomes

ON_TASK = "attention beats convolution between patches (common digit)"


def values_of(
    trial: Trial, leads: tuple[float, ...], conv: float = 34.0, floor: float = 33.0
) -> Values:
    if trial.condition == "common digit":
        return {"with_attention": 89.0, "conv": conv, "floor": floor}
    clean = 80.0 + trial.seed % 7
    pairs = zip(BUDGETS, leads, strict=True)
    return {str(steps): {"vit": clean + lead, "conv": clean} for steps, lead in pairs}


@pytest.mark.parametrize(
    ("leads", "failing"),
    [((2.0, 2.0, 2.0), set()), ((-2.0, 2.0, 0.0), {90, 900}), ((0.4, -1.0, 0.4), {90, 300, 900})],
)
def test_each_budget_decides_a_part_of_its_own(leads: tuple[float, ...], failing: set[int]) -> None:
    found = part_outcomes(STUDY, lambda x: values_of(x, leads))

    assert not_supported(found) == {
        f"attention beats convolution between patches (digits, {x} steps)" for x in failing
    }


def test_the_common_digit_decides_once_attention_clears_the_floor() -> None:
    even = part_outcomes(STUDY, lambda x: values_of(x, (2.0,) * 3, conv=88.0))
    assert (not_supported(even), even[ON_TASK]) == ({ON_TASK}, "contradicted")
    low = part_outcomes(STUDY, lambda x: values_of(x, (2.0,) * 3, floor=80.0))
    assert (not_supported(low), low[ON_TASK]) == ({ON_TASK}, "undecided")


@pytest.mark.usefixtures("small_trainings")
def test_both_mixers_are_trained_on_the_same_digits() -> None:
    settings = {"digits": 100, "budgets": [1, 2], "unseen": 30}

    found = STUDY.run(Trial(study=STUDY.name, condition="digits", seed=3, settings=settings))

    assert found.keys() == {"1", "2"}
    assert all(set(x) == {"vit", "conv"} for x in found.values())
    settings = {"examples": 100, "epochs": 1, "unseen": 20}
    task = STUDY.run(Trial(study=STUDY.name, condition="common digit", seed=3, settings=settings))
    assert task.keys() == {"with_attention", "floor", "conv"}
