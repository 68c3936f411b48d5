from typing import Any

import pytest

from clearhead.studies.claims.c01_score_variance import STUDY
from clearhead.studies.measures.scores import DISTRIBUTIONS, HEAD_DIMS
from clearhead.studies.table import Trial, Values
from tests.studies.made_up import made_up, outcomes_of, samples_of, supported


def random_scores(error: float) -> Values:
    scales = {
        "unscaled": [float(d) for d in HEAD_DIMS],
        "1/√d_k": [1.0] * (len(HEAD_DIMS) - 1) + [1.0 + error],
        "1/d_k": [1 / d for d in HEAD_DIMS],
    }
    return {"head_dims": list(HEAD_DIMS), "variance": dict.fromkeys(DISTRIBUTIONS, scales)}


def in_model(head_dim: int, per_component: list[float]) -> Values:
    heads = {"scaled": [0.5, 2.0], "unscaled": [4.0, 8.0], "if_unrelated": [4.0, 4.0]}
    return {
        "head_dim": head_dim,
        "heads": heads | {"per_component": per_component},
        "relative_scale": [0.9, 1.25],
    }


@pytest.mark.parametrize(
    ("error", "median", "outcomes"),
    [
        (0.02, 1.2, [True, True]),
        (0.02, 1 / 1.2, [True, True]),
        (0.02, 1.7, [True, False]),
        (0.02, 1 / 1.7, [True, False]),  # a departure below d_k counts as one above
        (-0.2, 1.2, [False, True]),
    ],
)
def test_each_check_has_its_own_bound(error: float, median: float, outcomes: list[bool]) -> None:
    def values(trial: Trial) -> Values:
        if trial.condition == "drawn":
            return random_scores(error)
        return in_model(trial.settings.get("head_dim", 16), [median, median, median * 7])

    exact, trained = outcomes
    assert outcomes_of(STUDY, values) == [exact, *[trained] * 3]


def test_one_head_dim_alone_can_contradict_the_claim() -> None:
    def values(trial: Trial) -> Values:
        settings: Any = trial.settings
        if trial.condition == "drawn":
            return random_scores(0.0)
        # Small d_k has many heads, which must not outvote the one head of the largest d_k.
        return in_model(16, [9.0] if settings.get("head_dim") == 64 else [1.0] * 16)

    assert [supported(x) for x in samples_of(STUDY, made_up(STUDY, values))] == [
        *[True] * 3,
        False,
    ]
