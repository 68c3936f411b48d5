"""Plans, and registered designs: checked by a run, and printed with every change by the report."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from clearhead.errors import ConfigError, CorruptDataError
from clearhead.studies._section import judge
from clearhead.studies.claims import ENTRIES
from clearhead.studies.claims.c08_number_of_heads import STUDY
from clearhead.studies.claims.c08_number_of_heads import STUDY as HEADS
from clearhead.studies.claims.c14_tiny_models import STUDY as TINY
from clearhead.studies.claims.c16_pronoun import STUDY as PRONOUN
from clearhead.studies.registration import (
    PACKAGE,
    check_registered,
    fingerprint,
    history,
    plan_study,
    register,
)
from clearhead.studies.stats import smallest_effect
from clearhead.studies.store import open_folder, read_results, study_trials
from clearhead.studies.verdict import LEVEL


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a registration is written from the current folder, which is in no repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "registered.json"


def other(**changes: Any) -> Any:
    """The study with another first part."""
    part = STUDY.parts[0]
    hypothesis = replace(part.hypotheses[0], **changes)
    return replace(STUDY, parts=(replace(part, hypotheses=(hypothesis,)), *STUDY.parts[1:]))


def test_the_fingerprint_follows_every_decision_and_nothing_else() -> None:
    same = fingerprint(STUDY, "full")
    assert same == fingerprint(replace(STUDY, panels=(), limits=("Other words.",)), "full")
    first = STUDY.parts[0].hypotheses[0]
    given = replace(STUDY.parts[0], premises=STUDY.parts[1].hypotheses)
    changed = [
        other(low=0.6),
        other(cells=(replace(first.cells[0], settings={"heads": 32}), first.cells[1])),
        replace(STUDY, grid=STUDY.grid[:1] + STUDY.grid[2:]),
        replace(STUDY, seeds={"quick": 2, "full": 16}),
        replace(STUDY, parts=STUDY.parts[1:], literature=()),
        replace(STUDY, parts=(given, *STUDY.parts[1:])),
    ]
    found = {fingerprint(study, "full") for study in changed}
    assert len(found) == len(changed)
    assert same not in found


def test_a_registered_run_with_another_design_is_refused(registered: Path) -> None:
    assert check_registered([STUDY], "full", 4000) is None
    assert register([STUDY], "full", 4000) == registered
    content = json.loads(registered.read_bytes())
    assert content["studies"]["number-of-heads"]["seeds"] == 12
    assert content["studies"]["number-of-heads"]["hypotheses"][1]["high"] == 0.5

    found = check_registered([STUDY], "full", 4000)
    assert found is not None
    assert found["date"] == content["date"]
    assert check_registered([other(low=0.6)], "full", 5000) is None
    for studies in ([other(low=0.6)], [STUDY, TINY]):
        with pytest.raises(ConfigError, match=r"the designs of C\d+ differ from those registered"):
            check_registered(studies, "full", 4000)


def test_a_registration_is_written_to_the_repository_of_the_current_folder(
    registered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = PACKAGE / registered.name
    before = package.read_bytes()
    repository = registered.parent / "own"
    for folder in (repository / ".git", repository / "deep" / "er"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(repository / "deep" / "er")
    assert register([TINY], "full", 4000) == repository / registered.name
    assert check_registered([TINY], "full", 4000) is not None
    clone = repository / "src" / "clearhead" / "studies"
    clone.mkdir(parents=True)
    assert register([TINY], "full", 4000) == clone / registered.name
    assert register([TINY], "full", 4000, folder=repository / "deep") == (
        repository / "deep" / registered.name
    )
    assert package.read_bytes() == before


@pytest.mark.parametrize("content", ['{"first_seed": 3}', "[]"])
def test_another_file_of_that_name_is_ignored_and_not_overwritten(
    registered: Path, content: str
) -> None:
    registered.write_text(content)
    assert check_registered([TINY], "full", 4000) is None
    assert check_registered([TINY], "full", 3000) is not None  # in the package
    with pytest.raises(ConfigError, match=r"registered\.json holds no registration; rename it"):
        register([TINY], "full", 4000)
    assert registered.read_text() == content


def test_a_damaged_registration_is_refused(registered: Path) -> None:
    registered.write_text('{"first_seed": 3')
    with pytest.raises(CorruptDataError, match=r"registered\.json is damaged"):
        check_registered([TINY], "full", 4000)


def test_seeds_that_were_used_cannot_be_registered(registered: Path) -> None:
    with pytest.raises(ConfigError, match="seeds up to 3011 were used before"):
        register([STUDY], "full", 3011)
    assert not registered.exists()


@pytest.mark.usefixtures("toys")
def test_a_registered_run_says_so_in_its_results(registered: Path) -> None:
    toy = study_trials("toy:STUDY", "quick", 5000)
    assert {trial.seed for trial in toy.trials} == set(range(5000, 5008))
    register([toy.study], "quick", 5000, {"toy": {"score, with minus without": 2.5}})
    with open_folder(Path("r"), [toy], "quick", 5000, restart=False) as warnings:
        assert warnings == []
    results = read_results("r")
    assert results.registration is not None
    assert results.registration["date"] == json.loads(registered.read_bytes())["date"]
    assert results.studies[0].fingerprint == fingerprint(toy.study, "quick")
    (planned,) = judge(results)[0].plan
    assert planned.distance == pytest.approx(2.5 * smallest_effect(8, LEVEL))

    path = Path("r/toy/study.json")
    path.write_text(path.read_text().replace(results.studies[0].fingerprint, "another"))
    with open_folder(Path("r"), [toy], "quick", 5000, restart=False) as warnings:
        assert warnings == ["the design of toy differs from that in r"]


def test_history_names_known_claims_and_runs_in_order() -> None:
    runs, changes = history()
    seeds = [run[key] for run in runs for key in ("first_seed", "last_seed")]
    assert seeds == sorted(seeds)
    assert {change["after"] for change in changes} <= {run["name"] for run in runs}
    assert {claim for change in changes for claim in change["claims"]} <= {x.claim for x in ENTRIES}
    assert {change["kind"] for change in changes} == {"rule", "design"}


def test_seeds_and_distances_follow_from_grid_and_family() -> None:
    better, same, *_ = plan_study(HEADS, "full")
    assert (better.seeds, better.low, better.high) == (12, 0.5, None)
    assert (same.kind, same.low, same.high) == ("equivalence", -0.5, 0.5)
    assert better.distance_in_sd == smallest_effect(12, LEVEL / 4)
    quick = (x for x in plan_study(HEADS, "quick") if x.kind != "estimate")
    assert {(x.decides, x.distance_in_sd) for x in quick} == {(True, None)}
    assert json.loads(json.dumps([asdict(x) for x in plan_study(HEADS, "quick")]))


def test_a_premise_is_planned_outside_of_the_family() -> None:
    premise, hypothesis, *_ = plan_study(PRONOUN, "full")
    assert premise.distance_in_sd == smallest_effect(10, LEVEL)
    assert hypothesis.distance_in_sd == smallest_effect(10, LEVEL / 4)


def test_a_known_spread_gives_the_distance_in_its_unit() -> None:
    (part, *_) = HEADS.parts
    (hypothesis,) = part.hypotheses
    known = replace(part, hypotheses=(replace(hypothesis, spread=0.6),))
    (planned,) = plan_study(replace(HEADS, parts=(known,), literature=()), "full")
    assert planned.distance == pytest.approx(0.6 * smallest_effect(12, LEVEL))


def test_a_spread_of_an_earlier_run_is_used_where_none_is_declared() -> None:
    names = [f"{task}: 4 heads, against 1" for task in ("common digit", "recall")]
    plan = {
        x.name: x for x in plan_study(HEADS, "full", {names[0]: 0.6, "8 heads, against 1": 9.0})
    }
    assert plan[names[0]].distance == pytest.approx(0.6 * smallest_effect(12, LEVEL / 4))
    assert plan[names[1]].distance is None
    assert plan["8 heads, against 1"].distance == pytest.approx(
        0.5 * smallest_effect(12, LEVEL / 4)
    )
