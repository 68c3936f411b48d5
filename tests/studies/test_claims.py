"""Every claim: found by name, and on the published trials what it declares, says and draws."""

import gzip
import json
import math
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from clearhead.errors import ConfigError
from clearhead.insight.roles import NO_CLEAR_ROLE
from clearhead.studies._panels import draw_panels
from clearhead.studies.claims import ENTRIES, Entry, _words, find_source, load_study
from clearhead.studies.hypotheses import Hypothesis
from clearhead.studies.registration import fingerprint, plan_study, registered
from clearhead.studies.study import each_hypothesis
from clearhead.studies.table import Outcome, Table, Trial, Values, measured
from clearhead.studies.verdict import MIN_SEEDS, judge_study
from tests.frozen.test_frozen import assert_same
from tests.marks import slow_after

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
        found = [each_hypothesis(vars(x.sample(table)), Hypothesis.to_dict) for x in study.parts]
        assert_same(found, data["parts"], rel=1e-9, abs=1e-12)  # slopes differ by rounding


@of_each_claim
def test_summaries_are_numbers_and_figures_have_labelled_axes(entry: Entry) -> None:
    study, outcomes = load_study(entry.source), outcomes_of(entry.name)
    lines = study.text(outcomes)
    assert bool(lines) == bool(study.summaries)
    assert not any("nan" in line for line in lines)
    figure = draw_panels(study, Table(outcomes))
    assert len(figure.axes) == len(study.panels)
    assert all(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes)
    assert all(axes.lines or axes.images for axes in figure.axes)


@pytest.mark.parametrize("entry", slow_after(1, ENTRIES))
def test_a_figure_can_be_drawn(entry: Entry) -> None:
    table = Table(outcomes_of(entry.name))
    draw_panels(load_study(entry.source), table).draw_without_rendering()


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


@pytest.mark.parametrize("known", [{"common digit"}, {"recall"}, {"common digit", "recall"}])
def test_a_part_about_a_task_is_decided_where_attention_is_needed_for_it(known: set[str]) -> None:
    study = load_study(find_source("C8"))
    tasks = {"common digit", "recall"}
    outcomes = [
        Outcome(
            trial=Trial(study=study.name, condition=task, seed=seed),
            values={
                "with_attention": 95 + seed / 9,
                "one": 70,
                "floor": 30 + 50 * (task not in known),
            },
        )
        for task in tasks
        for seed in range(12)
    ]
    parts = {x.name: x for x in judge_study(study, Table(outcomes)).parts}
    for task in tasks:
        part = parts[f"4 heads are better than 1 ({task})"]
        premise = f"{task}: with attention, against the floor without"
        expected = ("supported", ()) if task in known else ("undecided", (premise,))
        assert (part.outcome, part.failed) == expected
        assert [x.n for x in part.premises] == [12]


def test_each_claim_has_a_file_and_words() -> None:
    claims = [f"C{number}" for number in range(1, 18)]
    assert [entry.claim for entry in ENTRIES] == list(_words()) == claims


@of_each_claim
def test_trials_differ_and_have_their_seeds_and_study(entry: Entry) -> None:
    study = load_study(find_source(entry.name))
    for budget in ("quick", "full"):
        seeds = range(7, 7 + study.seeds[budget])
        trials = study.trials(budget, seeds)
        assert len({trial.name for trial in trials}) == len(trials)
        assert {trial.study for trial in trials} == {study.name}
        assert {trial.seed for trial in trials} == set(seeds)
    tests = [x for x in plan_study(study, "full") if x.kind not in ("exact", "estimate")]
    assert all((x.seeds or 0) >= MIN_SEEDS for x in tests)  # fewer decide nothing
    assert study.exclusive == (entry.claim == "C15")


@of_each_claim
def test_parts_about_the_two_tasks_suppose_that_attention_is_needed(entry: Entry) -> None:
    for part in load_study(entry.source).parts:
        conditions = {cell.condition for x in part.hypotheses for cell in x.cells}
        floors = [x.name for x in part.premises]
        for task in conditions & {"common digit", "recall"}:
            assert floors == [f"{task}: with attention, against the floor without"]


def test_a_study_is_found_by_name_and_by_claim() -> None:
    source = "clearhead.studies.claims.c08_number_of_heads:STUDY"
    assert {find_source(name) for name in ("number-of-heads", "C8", "c8")} == {source}
    assert find_source("my.module:MINE") == "my.module:MINE"


def test_an_unknown_name_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="unknown study 'depht'; did you mean depth"):
        find_source("depht")
    with pytest.raises(ConfigError, match="unknown study 'zzz'; `clearhead study list` lists them"):
        find_source("zzz")


@pytest.mark.usefixtures("toys")
def test_a_study_is_loaded_from_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [x for x in sys.path if x not in ("", str(Path.cwd()))])
    assert load_study("toy:STUDY").name == load_study("toy:").name == "toy"
    with pytest.raises(ConfigError, match="there is no module 'toyy'"):
        load_study("toyy:STUDY")
    with pytest.raises(ConfigError, match="'toy:nothing' is not a Study"):
        load_study("toy:nothing")
    Path("lacking.py").write_text("import no_such_library\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load_study("lacking:STUDY")


LISTING = """
from clearhead.studies.claims import ENTRIES
[entry.statement for entry in ENTRIES]
"""
DESIGN = """
from clearhead.studies._worker import measure
from toy import STUDY
"""


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("code", "libraries"), [(LISTING, {"numpy"}), (DESIGN, set())], ids=["list", "design"]
)
def test_the_list_and_the_designs_of_studies_import_little(code: str, libraries: set[str]) -> None:
    heavy = {"torch", "scipy", "matplotlib", *libraries}
    code += f"import sys; print({heavy} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
