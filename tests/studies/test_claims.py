"""Every claim, on the published trials: what it declares, compares, says and draws."""

import gzip
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from clearhead.insight.roles import NO_CLEAR_ROLE
from clearhead.studies.claims import ENTRIES, Entry, find_source, load_study
from clearhead.studies.published import part_to_dict
from clearhead.studies.registration import fingerprint, registered
from clearhead.studies.table import Outcome, Table, Trial, Values, measured

TRIALS = Path(__file__).parents[2] / "docs" / "results" / "trials.json.gz"
of_each_claim = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


@cache
def published() -> dict[str, Any]:
    return {x["name"]: x for x in json.loads(gzip.decompress(TRIALS.read_bytes()))["studies"]}


def outcomes_of(name: str) -> tuple[Outcome, ...]:
    """The published outcomes, the last first: nothing may depend on their order."""
    return tuple(
        Outcome(
            trial=Trial(study=name, **{key: x[key] for key in ("condition", "seed", "settings")}),
            values=x["values"],
        )
        for x in reversed(published()[name]["trials"])
    )


@of_each_claim
def test_a_design_is_the_registered_one_and_compares_what_was_published(entry: Entry) -> None:
    """Also with its variants. A design that is registered anew has no published values yet."""
    study, data = load_study(entry.source), published()[entry.name]
    design = registered()["studies"][entry.name]["fingerprint"]
    assert fingerprint(study, "full") == design
    if design == data["fingerprint"]:
        table = Table(outcomes_of(entry.name))
        assert [part_to_dict(part, table) for part in study.parts] == data["parts"]


@of_each_claim
def test_summaries_are_numbers_and_figures_have_labelled_axes(entry: Entry) -> None:
    study, outcomes = load_study(entry.source), outcomes_of(entry.name)
    lines = study.text(outcomes)
    assert bool(lines) == bool(study.summaries)
    assert not any("nan" in line for line in lines)
    figure = study.figure(outcomes)
    figure.draw_without_rendering()
    assert len(figure.axes) == len(study.panels)
    assert all(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes)
    assert all(axes.lines or axes.images for axes in figure.axes)


MODELS = ("causal", "asked at it", "asked afterwards", "untrained", "untrained causal")


def known(*accuracies: float) -> Values:
    return {
        model: {"known": {"place": {"unseen": x}}}
        for model, x in zip(MODELS, accuracies, strict=True)
    }


@pytest.mark.parametrize(
    ("claim", "name", "values", "expected"),
    [
        ("C1", "departure", {"heads": {"per_component": [0.5, 0.5, 4.0]}}, 2.0),
        ("C1", "departure", {"heads": {"per_component": [3.0, 3.0, 1.0]}}, 3.0),
        ("C4", "rows of weights", {"not_numbers": 1.0, "sum_error": 0.1}, math.nan),
        ("C4", "rows of weights", {"not_numbers": 0.0, "sum_error": 0.1}, 0.1),
        ("C4", "weights: farthest", {"outside": 0.2, "forbidden": 0.1}, 0.2),
        ("C4", "weights: farthest", {"outside": 0.1, "forbidden": 0.2}, 0.2),
        ("C5", "random tensors", {"own_row": 0.1, "own_column": 0.2}, 0.1),
        ("C5", "random tensors", {"own_row": 0.2, "own_column": 0.1}, 0.1),
        ("C7", "small: heads with", {"roles": ["its own row", NO_CLEAR_ROLE]}, 50.0),
        ("C12", "fall of CNN", {"falls": {"cnn": {"shot noise": 1, "impulse noise": 3}}}, 2.0),
        ("C16", "accuracy on the position", known(0.6, 0.8, 0.9, 0.1, 0.1), 0.6),
        ("C16", "accuracy on the position", known(0.9, 0.6, 0.8, 0.1, 0.1), 0.6),
        ("C16", "accuracy on the position", known(0.9, 0.8, 0.6, 0.1, 0.1), 0.6),
    ],
)
def test_measures_that_are_functions_of_the_values(
    claim: str, name: str, values: Values, expected: float
) -> None:
    hypotheses = load_study(find_source(claim)).hypotheses
    cell = next(x.cells[0] for x in hypotheses if x.name.startswith(name))
    assert measured(values, cell.measure) == pytest.approx(expected, nan_ok=True)
