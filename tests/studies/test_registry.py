"""Studies by name, without importing them."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from clearhead.errors import ConfigError
from clearhead.studies.claims import ENTRIES, Entry, find_source, load_study
from clearhead.studies.registration import plan_study
from clearhead.studies.verdict import MIN_SEEDS


def test_entries_equal_the_studies_in_the_files() -> None:
    assert [entry.claim for entry in ENTRIES] == [f"C{number}" for number in range(1, 18)]
    for entry in ENTRIES:
        study = importlib.import_module(f"clearhead.studies.claims.{entry.module}").STUDY
        assert (entry.name, entry.claim, entry.statement) == (
            study.name,
            study.claim,
            study.statement,
        )


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
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


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
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
def test_a_study_is_loaded_from_the_current_folder() -> None:
    assert load_study("toy:STUDY").name == load_study("toy:").name == "toy"
    with pytest.raises(ConfigError, match="there is no module 'toyy'"):
        load_study("toyy:STUDY")
    with pytest.raises(ConfigError, match="'toy:nothing' is not a Study"):
        load_study("toy:nothing")
    Path("lacking.py").write_text("import no_such_library\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load_study("lacking:STUDY")


def test_listing_imports_no_study() -> None:
    code = (
        "import sys; from clearhead.studies.claims import ENTRIES; "
        "[entry.statement for entry in ENTRIES]; "
        "print({'torch', 'numpy', 'scipy', 'matplotlib'} & sys.modules.keys())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
