import pytest

from clearhead.studies.claims.c12_noisy_pixels import NOISES, STUDY
from clearhead.studies.measures.robustness import ALL_CORRUPTIONS, BLANK
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import not_supported, part_outcomes

UNIFORM, CNN = "the ViT falls less than uniform attention", "the ViT falls less than CNN"
UNDER = " and ".join(NOISES)


def values_of(trial: Trial, **changes: dict[str, float] | float) -> Values:
    common = trial.condition == "common digit"
    names = ("vit",) if common else ("vit", "uniform", "cnn")
    noise = changes.get("noise", {"vit": 10.0, "uniform": 20.0, "cnn": 15.0})
    blank = changes.get("blank", noise)
    assert isinstance(noise, dict)
    assert isinstance(blank, dict)
    falls = {
        name: dict.fromkeys(ALL_CORRUPTIONS, 30.0)
        | dict.fromkeys(NOISES, noise[name])
        | {BLANK: blank[name]}
        for name in names
    }
    on_blank = {"clean": 30.0, "noisy": changes.get("on_blank", 20.0)}
    found: Values = {
        "clean": dict.fromkeys(names, 90.0),
        "common": 0.8,
        "falls": falls,
        "drift": {},
        "on_blank": {"vit": on_blank},
    }
    if common:
        floor = {"with_attention": 89.0, "floor": 33.0}
        return found | floor | {"twin": changes.get("twin", 20.0), "others": 10.0}
    return found | {"inked": changes.get("inked", 9.0), "blank": 4.0}


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, set()),
        (
            {"noise": {"vit": 10.0, "uniform": 20.0, "cnn": 2.0}},
            {f"{CNN} under {UNDER}", f"{CNN} under {BLANK}"},
        ),
        (
            {"blank": {"vit": 10.0, "uniform": 10.0, "cnn": 30.0}},
            {f"{UNIFORM} under {BLANK}"},
        ),
        ({"inked": 5.0}, {"patches attend to neighbours with ink (digits)"}),
        ({"twin": 9.0}, {"patches attend to the digit that decides (common digit)"}),
        (
            {"on_blank": 41.0},
            {f"attention avoids noisy patches ({x})" for x in ("digits", "common digit")},
        ),
    ],
)
def test_each_comparison_decides_its_part(
    changes: dict[str, dict[str, float] | float], failing: set[str]
) -> None:
    assert not_supported(part_outcomes(STUDY, lambda x: values_of(x, **changes))) == failing


@pytest.mark.usefixtures("small_trainings")
@pytest.mark.parametrize(
    "condition", [pytest.param("digits", marks=pytest.mark.slow), "common digit"]
)
def test_each_condition_is_measured(condition: str) -> None:
    settings = {"digits": 100, "steps": 4, "unseen": 40, "examples": 100, "epochs": 1}

    found = STUDY.run(Trial(study=STUDY.name, condition=condition, seed=3, settings=settings))

    assert ("inked" in found) == (condition == "digits")
    assert ("twin" in found) == (condition == "common digit")
    assert set(found["on_blank"]) <= {"vit", "uniform"}
