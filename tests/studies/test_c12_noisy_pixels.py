import pytest

from clearhead.studies.claims.c12_noisy_pixels import NOISES, STUDY
from clearhead.studies.measures.robustness import ALL_CORRUPTIONS, BLANK
from clearhead.studies.table import Budget, Trial, Values
from tests.studies.made_up import made_up, outcomes_of, samples_of, supported

ACCURACY = {"vit": 90.0, "uniform": 80.0, "cnn": 97.0}


def values_of(
    trial: Trial,
    noise: dict[str, float],
    blank: dict[str, float] | None = None,
    on_blank: float = 0.2,
    others: float = 30.0,
) -> Values:
    """Losses under the two noises, on blank patches (as under noise by default), and others."""
    clean = ACCURACY[trial.condition]
    losses = dict.fromkeys(ALL_CORRUPTIONS, others)
    losses |= dict.fromkeys(NOISES, noise[trial.condition])
    losses[BLANK] = (blank or noise)[trial.condition]
    vit = trial.condition == "vit"
    return {
        "clean": clean,
        "accuracy": {name: clean - x for name, x in losses.items()},
        "drift": {name: [0.1, 0.2] for name in ALL_CORRUPTIONS},
        "on_blank": {"clean": 0.3, "noisy": on_blank if vit else 0.9},
    }


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(
    ("uniform", "cnn", "outcomes"),
    [
        (20.0, 15.0, [True, True, True, True, True]),
        (10.0, 10.0, [False, False, False, False, True]),
        (20.0, 2.0, [True, False, True, False, True]),
    ],
)
def test_losses_and_not_accuracies_are_compared(
    budget: Budget, uniform: float, cnn: float, outcomes: list[bool]
) -> None:
    losses = {"vit": 10.0, "uniform": uniform, "cnn": cnn}

    assert outcomes_of(STUDY, lambda trial: values_of(trial, losses), budget=budget) == outcomes


def test_noise_and_blank_patches_decide_apart_and_other_corruptions_not_at_all() -> None:
    noise, blank = ({"vit": 10.0, "uniform": 20.0, "cnn": x} for x in (20.0, 8.0))

    comparisons = samples_of(STUDY, made_up(STUDY, lambda x: values_of(x, noise, blank)))

    assert [supported(x) for x in comparisons] == [True, True, True, False, True]
    assert comparisons[3].values == pytest.approx((-2.0,) * 12)


@pytest.mark.parametrize(("noisy", "outcome"), [(0.2, True), (0.26, False), (0.41, False)])
def test_attention_leaves_the_noise_or_does_not(noisy: float, outcome: bool) -> None:
    measured = made_up(STUDY, lambda trial: values_of(trial, ACCURACY, on_blank=noisy))

    comparison = samples_of(STUDY, measured)[-1]

    assert supported(comparison) == outcome
    assert comparison.values == pytest.approx((30 - 100 * noisy,) * 12)
