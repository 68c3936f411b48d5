"""The table of studies says what the studies say, and nobody is imported for it."""

import importlib
import subprocess
import sys
from importlib import resources

import pytest

from clearhead.errors import ConfigError
from clearhead.studies import registry
from clearhead.studies.registry import ENTRIES, Entry, find_source, load_study


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = (
        Entry("c01_score_variance", "score-variance", "Variance is d_k"),
        Entry("c02_saturation", "saturation", "Softmax saturates"),
        Entry("c12_noise", "noise", "Noise does not matter"),
    )
    monkeypatch.setattr(registry, "ENTRIES", entries)


def test_every_study_is_in_the_table_and_as_it_calls_itself() -> None:
    folder = resources.files("clearhead.studies.claims")
    modules = sorted(
        name.removesuffix(".py")
        for name in (path.name for path in folder.iterdir())
        if name.endswith(".py") and name[0] == "c" and name[1:3].isdigit()
    )
    assert [entry.module for entry in ENTRIES] == modules
    for entry in ENTRIES:
        study = importlib.import_module(f"clearhead.studies.claims.{entry.module}").STUDY
        line = f'Entry("{entry.module}", "{study.name}", "{study.statement}"),'
        assert (entry.name, entry.statement) == (study.name, study.statement), line
        assert entry.claim == study.claim


@pytest.mark.usefixtures("three")
def test_a_study_is_found_by_name_and_by_claim() -> None:
    assert find_source("noise") == "clearhead.studies.claims.c12_noise:STUDY"
    assert find_source("C12") == find_source("c12") == find_source("noise")
    assert find_source("my.module:MINE") == "my.module:MINE"


@pytest.mark.usefixtures("three")
def test_a_wrong_name_gets_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"no study 'scorevariance'; did you mean score-variance"):
        find_source("scorevariance")
    with pytest.raises(ConfigError, match=r"no study 'zzz'; `clearhead study list` names them"):
        find_source("zzz")


@pytest.mark.usefixtures("toys")
def test_a_study_of_ones_own_is_found_in_the_current_folder() -> None:
    assert load_study("toy:STUDY").name == load_study("toy:").name == "toy"
    with pytest.raises(ConfigError, match="there is no module 'toyy'"):
        load_study("toyy:STUDY")
    with pytest.raises(ConfigError, match="'toy:nothing' names no Study"):
        load_study("toy:nothing")


def test_a_module_that_lacks_a_library_of_its_own_says_which(
    toys: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pathlib import Path

    Path("lacking.py").write_text("import no_such_library\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load_study("lacking:STUDY")


def test_the_table_costs_nothing() -> None:
    code = (
        "import sys, clearhead.studies.registry; "
        "print(sorted({'torch', 'numpy', 'scipy', 'matplotlib'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
