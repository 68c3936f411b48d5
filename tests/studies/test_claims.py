"""Every claim, on the published trials: what it declares, compares, says and draws."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from clearhead.studies.claims import ENTRIES, Entry, load_study
from clearhead.studies.published import part_to_dict
from clearhead.studies.registration import fingerprint, registered
from clearhead.studies.table import Outcome, Table, Trial

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
