import pytest

from clearhead.studies.claims.c03_scaling_in_training import STUDY
from clearhead.studies.measures.saturation import PROBED
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import made_up, part_outcomes, samples_of


def training(accuracy: float, *, lost: bool = False) -> Values:
    probe = {"query_gradient": [0.2, 0.1], "key_gradient": [0.2, 0.1], "entropy": [[2.0], [1.0]]}
    return {
        "accuracy": accuracy,
        "lost": 100.0 * lost,
        "not_a_number_after": 5 if lost else -1,
        "probes": [{"step": step, **probe} for step in PROBED],
    }


@pytest.mark.parametrize(
    ("none", "matched", "less_effective", "beyond_first_scores"),
    [
        (80.0, 85.0, "supported", "supported"),
        (80.0, 90.0, "supported", "contradicted"),
        (95.0, 90.0, "contradicted", "contradicted"),
    ],
)
def test_the_size_of_the_first_scores_is_controlled_for(
    none: float, matched: float, less_effective: str, beyond_first_scores: str
) -> None:
    means = {"sqrt": 90.0, "none": none, "matched": matched}

    found = part_outcomes(STUDY, lambda x: training(means[x.condition] + x.seed % 3))

    for name, outcome in found.items():
        if name.startswith("training"):
            assert outcome == less_effective, name
        elif name.startswith("…"):
            assert outcome == beyond_first_scores, name
    assert list(found.values()).count("described") == 1


def test_each_condition_is_taken_at_its_best_rate() -> None:
    by_rate = {
        "sqrt": {"low": 80.0, "usual": 90.0, "high": 60.0},
        "none": {"low": 89.5, "usual": 75.0, "high": 60.0},
        "matched": {"usual": 80.0},
    }

    def values(trial: Trial) -> Values:
        return training(by_rate[trial.condition].get(trial.settings["rate"], 50.0))

    samples = {x.hypothesis.name: x.values for x in samples_of(STUDY, made_up(STUDY, values))}

    usual = samples["scaled, against unscaled: d_k 64, queries and keys of variance 1"]
    best = samples["scaled, against unscaled: d_k 64, variance 1, each at its best rate"]
    assert usual == pytest.approx((15.0,) * 12)
    assert best == pytest.approx((0.5,) * 12)


def test_lost_trainings_are_counted_with_exact_intervals() -> None:
    def values(trial: Trial) -> Values:
        lost = (trial.condition, trial.settings["rate"], trial.seed) == ("none", "high", 103)
        return training(90.0, lost=lost)

    text = "\n".join(STUDY.text(made_up(STUDY, values)))

    assert "1/√d_k 0 of 12 (95 % interval 0% to 26%)" in text
    assert "unscaled 1 of 12 (95 % interval 0% to 38%)" in text
