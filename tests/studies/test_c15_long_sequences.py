import pytest

from clearhead.studies.claims.c15_long_sequences import CONDITIONS, STUDY
from clearhead.studies.measures import cost
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import outcomes_of

TINY = {"lengths": (64, 128), "chain_lengths": (4, 8), "repeats": 1, "gain_length": 16, "width": 8}
USUAL = {  # exponents of time, memory and chain
    "explicit": (2.0, 2.0, 0.0),
    "fused": (2.0, 1.0, 0.0),
    "streamed": (1.9, 1.0, 0.0),
    "recurrent": (1.0, 1.0, 1.0),
}
LINEAR = {"explicit": (1.0, 1.0, 0.0), "fused": (1.0, 1.0, 0.0)}
SEQUENTIAL = {"explicit": (2.0, 2.0, 1.0), "streamed": (2.0, 2.0, 0.0)}


def values_of(trial: Trial, powers: dict[str, tuple[float, float, float]]) -> Values:
    time, memory, chain = powers[trial.condition]
    lengths = list(trial.settings["lengths"])
    return {
        "lengths": lengths,
        "seconds": [1e-6 * n**time * (1 + trial.seed / 1_000) for n in lengths],
        "bytes": [4 * n**memory for n in lengths],
        "chain_lengths": [4, 8],
        "chain": [12 * n**chain for n in (4, 8)],
    }


@pytest.mark.parametrize(
    ("powers", "outcomes"),
    [
        ({}, [True, True, False, False]),
        (LINEAR, [True, True, True, True]),
        (SEQUENTIAL, [False, False, False, False]),
    ],
)
def test_each_exponent_decides_its_part(
    powers: dict[str, tuple[float, float, float]], outcomes: list[bool]
) -> None:
    assert (
        outcomes_of(STUDY, lambda trial: values_of(trial, USUAL | powers), budget="quick")
        == outcomes
    )


@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_condition_is_measured(condition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "num_cores", lambda: 1)
    result = STUDY.run(Trial(study=STUDY.name, condition=condition, seed=3, settings=TINY))

    assert result["lengths"] == [64, 128]
    assert all(x >= 0 for x in result["seconds"])
    assert result["gain"] is None
    if condition == "recurrent":
        assert result["chain"][1] > 1.8 * result["chain"][0]
    else:
        assert result["chain"][0] == result["chain"][1]
    if condition == "explicit":
        assert result["bytes"][1] > 3.5 * result["bytes"][0]
