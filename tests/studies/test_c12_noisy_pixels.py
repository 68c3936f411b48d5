import pytest
import torch
from scipy.spatial.distance import jensenshannon

from clearhead.data import CORRUPTIONS
from clearhead.insight.foreground import Foreground
from clearhead.models import build
from clearhead.studies.claims.c12_noisy_pixels import (
    BLANK,
    GRID,
    NOISES,
    STUDY,
    drifted,
    noisy_blanks,
    robustness,
)
from clearhead.studies.measures.classifiers import COMPARED_MODELS, unseen_digits
from clearhead.studies.table import Budget, Outcome, Trial, Values
from tests.studies.made_up import as_claimed, check_study, check_trials, comparisons_of, made_up

NAMES = (*CORRUPTIONS, BLANK)
ON_BLANK = {"clean": 0.3, "noisy": 0.2}
Outcomes = tuple[Outcome, ...]


def test_trials_are_whole() -> None:
    check_trials(STUDY)


@pytest.mark.parametrize("budget", ["quick", "full"])
@pytest.mark.parametrize(
    ("falls", "claimed"),
    [
        ({"vit": 10.0, "uniform": 20.0, "cnn": 15.0}, [True, True, True, True, True]),
        ({"vit": 10.0, "uniform": 10.0, "cnn": 10.0}, [False, False, False, False, True]),
        ({"vit": 10.0, "uniform": 20.0, "cnn": 2.0}, [True, False, True, False, True]),
    ],
)
def test_falls_and_not_accuracies_are_compared(
    budget: Budget, falls: dict[str, float], claimed: list[bool]
) -> None:
    start = {"vit": 90.0, "uniform": 80.0, "cnn": 97.0}

    def values(trial: Trial) -> Values:
        spoilt = start[trial.condition] - falls[trial.condition]
        vit = trial.condition == "vit"
        return {
            "clean": start[trial.condition],
            "accuracy": dict.fromkeys(NAMES, spoilt),
            "drift": {name: [0.1, 0.2] for name in NAMES} if vit else {},
            "on_blank": {"clean": 0.3, "noisy": 0.2} if vit else {"clean": 0.2, "noisy": 0.9},
        }

    outcomes = made_up(STUDY, values, budget=budget)

    assert [as_claimed(x) for x in comparisons_of(STUDY, outcomes)] == claimed
    check_study(STUDY, outcomes)


def test_only_the_two_noises_decide_beside_blank_patches() -> None:
    def values(trial: Trial) -> Values:
        vit = trial.condition == "vit"
        spoilt = dict.fromkeys(NAMES, 10.0 if vit else 90.0)  # the ViT falls with everything else
        spoilt |= dict.fromkeys((*NOISES, BLANK), 90.0 if vit else 10.0)
        return {"clean": 95.0, "accuracy": spoilt, "drift": {}, "on_blank": ON_BLANK}

    found = comparisons_of(STUDY, made_up(STUDY, values))

    assert all(as_claimed(comparison) for comparison in found)


def of_falls(noise: dict[str, float], blank: dict[str, float], on_blank: Values) -> Outcomes:
    def values(trial: Trial) -> Values:
        spoilt = dict.fromkeys(NAMES, 95.0 - noise[trial.condition])
        spoilt[BLANK] = 95.0 - blank[trial.condition]
        drift = {name: [0.1, 0.2] for name in NAMES}
        return {"clean": 95.0, "accuracy": spoilt, "drift": drift, "on_blank": on_blank}

    return made_up(STUDY, values)


def test_the_cnn_is_held_against_the_vit_on_blank_patches_as_well() -> None:
    noise = {"vit": 10.0, "uniform": 20.0, "cnn": 20.0}

    worse, better = (
        comparisons_of(STUDY, of_falls(noise, {**noise, "cnn": cnn}, ON_BLANK))
        for cnn in (20.0, 8.0)
    )

    assert [as_claimed(x) for x in worse] == [True] * 5
    assert [as_claimed(x) for x in better] == [True, True, True, False, True]
    assert better[3].differences == pytest.approx((-2.0,) * 12)


@pytest.mark.parametrize(("noisy", "claimed"), [(0.1, True), (0.16, False), (0.31, False)])
def test_attention_leaves_noise_or_does_not(noisy: float, claimed: bool) -> None:
    falls = {"vit": 10.0, "uniform": 20.0, "cnn": 20.0}

    outcomes = of_falls(falls, falls, {"clean": 0.17, "noisy": noisy})

    leaves = comparisons_of(STUDY, outcomes)[-1]
    assert as_claimed(leaves) == claimed
    assert leaves.differences == pytest.approx((17 - 100 * noisy,) * 12)
    told = STUDY.sentences(outcomes)[1]
    assert f"those patches had 17 % without the noise and {100 * noisy:.0f} % with it" in told
    assert f"the share fell in {12 if noisy < 0.17 else 0} of 12 trainings" in told


def test_drift_is_the_mean_jensen_shannon_divergence_in_bits() -> None:
    generator = torch.Generator().manual_seed(1)
    one, other = (torch.rand(2, 3, 5, 7, generator=generator).softmax(dim=-1) for _ in range(2))

    expected = [
        jensenshannon(a.numpy(), b.numpy(), base=2) ** 2
        for a, b in zip(one.flatten(0, 2), other.flatten(0, 2), strict=True)
    ]

    assert drifted(one, other) == pytest.approx(sum(expected) / len(expected), rel=1e-3)
    assert drifted(one, one) == 0
    eye = torch.eye(4).expand(1, 1, 4, 4)
    assert drifted(eye, eye.roll(1, dims=-1)) == pytest.approx(1)


def test_noise_on_blank_patches_leaves_the_digit_alone(mnist_test: object) -> None:
    images = unseen_digits(30, 2).images

    spoilt = noisy_blanks(images, torch.Generator().manual_seed(3))

    blank = Foreground.of(images, GRID).background
    changed = (spoilt != images)[:, 0].unfold(1, 7, 7).unfold(2, 7, 7).flatten(3).any(dim=3)
    assert not bool(changed.flatten(1)[~blank].any())
    assert float(changed.flatten(1)[blank].double().mean()) > 0.9


@pytest.mark.parametrize("arm", ["uniform", "cnn"])
def test_uniform_attention_cannot_drift_and_a_cnn_has_none(arm: str, mnist_test: object) -> None:
    torch.manual_seed(2)
    model = build(COMPARED_MODELS[arm].config).eval()

    found = robustness(model, 40, 1)

    assert set(found["accuracy"]) == set(NAMES)
    if arm == "cnn":
        assert (found["drift"], found["on_blank"]) == ({}, {})
    else:
        assert all(x == pytest.approx(0, abs=1e-6) for row in found["drift"].values() for x in row)
        assert found["on_blank"]["clean"] == pytest.approx(found["on_blank"]["noisy"])
    assert found == robustness(model, 40, 1)
