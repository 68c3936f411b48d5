import pytest

from clearhead.studies.claims.c10_convolution import STUDY
from clearhead.studies.measures.learning_curves import LONG
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import check_study, made_up, samples_of, supported


@pytest.mark.parametrize(("lead", "outcome"), [(2.0, True), (0.0, False), (-2.0, False)])
@pytest.mark.parametrize("budget", ["quick", "full"])
def test_the_vit_is_compared_with_the_cnn_seed_by_seed(
    budget: Budget, lead: float, outcome: bool
) -> None:
    def values(trial: Trial) -> Values:
        return {"accuracy": 80.0 + trial.seed % 7 + (lead if trial.condition == "vit" else 0.0)}

    measured = made_up(STUDY, values, budget=budget)

    for comparison in samples_of(STUDY, measured):
        assert comparison.values == pytest.approx((lead,) * len(comparison.values))
        assert supported(comparison) == outcome
    check_study(STUDY, measured)


def test_few_and_many_digits_are_compared_apart() -> None:
    def values(trial: Trial) -> Values:
        few = trial.settings["digits"] == 1_000
        return {"accuracy": 90.0 + (3.0 if few == (trial.condition == "vit") else 0.0)}

    few, many = samples_of(STUDY, made_up(STUDY, values))

    assert (supported(few), supported(many)) == (True, False)
    assert "1,000" in few.hypothesis.name


@pytest.mark.parametrize("long_lead", [5.0, -5.0])
def test_long_trainings_decide_nothing(long_lead: float) -> None:
    def values(trial: Trial) -> Values:
        lead = long_lead if trial.settings["steps"] == LONG else 1.0
        return {"accuracy": 90.0 + (lead if trial.condition == "vit" else 0.0)}

    measured = made_up(STUDY, values)

    assert all(supported(x) and len(x.values) == 12 for x in samples_of(STUDY, measured))
    assert f"ViT {90 + long_lead:g} " in STUDY.text(measured)[-1]
