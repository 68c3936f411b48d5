import json
from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest

from clearhead.errors import ConfigError, InputError
from clearhead.studies.hypotheses import (
    Hypothesis,
    bound,
    difference,
    equivalence,
    estimate,
    exact,
    non_inferiority,
)
from clearhead.studies.study import Grid, Paper, Part, PerBudget, Study, Summary, parts
from clearhead.studies.table import Budget, Cell, Outcome, Table, Trial, Values


def outcome(condition: str, seed: int, score: float, **settings: object) -> Outcome:
    trial = Trial(study="toy", condition=condition, seed=seed, settings=settings)
    return Outcome(trial=trial, values={"score": score, "nested": {"list": [score, -score]}})


TABLE = Table(
    [
        outcome("b", 2, 20.0),
        outcome("a", 2, 2.0, size=3),
        outcome("a", 1, 1.0, size=3),
        outcome("b", 1, 10.0),
        outcome("a", 1, 7.0, size=4),
    ]
)


@pytest.mark.parametrize(
    ("measure", "values"),
    [
        ("score", (1.0, 2.0)),
        (("nested", "list", -1), (-1.0, -2.0)),
        (lambda values: values["score"] ** 2, (1.0, 4.0)),
    ],
)
def test_a_cell_has_one_number_per_seed_in_the_order_of_seeds(
    measure: Any, values: tuple[float, ...]
) -> None:
    cell = Cell("a", measure, {"size": 3})
    assert TABLE.series(cell) == dict(zip((1, 2), values, strict=True))


def test_a_cell_needs_outcomes_and_only_one_per_seed() -> None:
    with pytest.raises(InputError, match="got none"):
        TABLE.series(Cell("c", "score"))
    with pytest.raises(InputError, match=r"one outcome per seed .* \[1, 1, 2\]"):
        TABLE.series(Cell("a", "score"))


def test_a_comparison_pairs_by_seed_and_refuses_other_seeds() -> None:
    comparison = difference(
        "b minus a", "1", Cell("b", "score"), Cell("a", "score", {"size": 3}), margin=1.0
    )
    assert comparison.sample(TABLE).values == (9.0, 18.0)
    shifted = [outcome("a", seed, seed**2, size=3) for seed in (1, 2, 3)]
    shifted += [outcome("b", seed, seed**2) for seed in (2, 3, 4)]
    with pytest.raises(InputError, match=r"b minus a: .*same seeds, got \[2, 3, 4\] and \[1, 2, 3"):
        comparison.sample(Table(shifted))


@pytest.mark.parametrize("shift", [-3, -1, 1, 2])
def test_one_condition_measured_again_with_shifted_seeds_is_refused(shift: int) -> None:
    comparison = difference("b minus a", "1", Cell("b", "score"), Cell("a", "score"), margin=1.0)

    def outcomes(shift: int, noise: float) -> Table:
        seeds = range(100, 112)
        a = [outcome("a", seed, seed**2) for seed in seeds]
        return Table([*a, *(outcome("b", x, (x + shift) ** 2 + noise) for x in seeds)])

    with pytest.raises(InputError, match=r"b minus a: .* with shifted seeds"):
        comparison.sample(outcomes(shift, 0.0))
    assert len(comparison.sample(outcomes(0, 0.0)).values or ()) == 12
    assert len(comparison.sample(outcomes(shift, 1e-9)).values or ()) == 12


def test_few_distinct_values_are_not_a_shifted_copy() -> None:
    comparison = difference("b minus a", "1", Cell("b", "score"), Cell("a", "score"), margin=1.0)
    shares = [0.0, 0.5, 0.5, 1.0, 0.5, 0.5]
    rows = [outcome("a", seed, x) for seed, x in enumerate(shares)]
    rows += [outcome("b", seed, x) for seed, x in enumerate([*shares[1:], 1.0])]
    assert len(comparison.sample(Table(rows)).values or ()) == 6


def test_a_side_may_be_a_constant_or_the_best_level_of_a_setting() -> None:
    comparison = difference(
        "best a, against 5", "1", Cell("a", "score", best_of="size"), 5, margin=1.0
    )
    rows = [outcome("a", seed, 10.0 * size - seed, size=size) for seed in (1, 2) for size in (3, 4)]
    assert comparison.sample(Table(rows)).values == (34.0, 33.0)
    scores = {3: (20.0, 0.0), 4: (11.0, 12.0)}  # the level with the highest mean
    rows = [outcome("a", seed, x[seed - 1], size=n) for n, x in scores.items() for seed in (1, 2)]
    assert comparison.sample(Table(rows)).values == (6.0, 7.0)


def test_the_name_of_a_trial_follows_from_its_settings_in_any_order() -> None:
    made = [
        Trial(study="s", condition="a", seed=seed, settings=settings)
        for seed, settings in ((1, {"x": 1, "y": 2}), (1, {"y": 2, "x": 1}), (1, {"x": 2, "y": 1}))
    ]
    assert made[0].name == made[1].name != made[2].name


@pytest.mark.parametrize(
    ("kind", "fields", "region"),
    [
        (difference, {"margin": 2.0}, (2.0, inf)),
        (non_inferiority, {"margin": 2.0}, (-2.0, inf)),
        (equivalence, {"margin": 2.0}, (-2.0, 2.0)),
        (bound, {"low": 1.0}, (1.0, inf)),
        (bound, {"low": 1.0, "high": 2.0}, (1.0, 2.0)),
        (estimate, {}, (-inf, inf)),
    ],
)
def test_each_type_predicts_its_range(
    kind: Any, fields: dict[str, float], region: tuple[float, float]
) -> None:
    hypothesis = kind("", "", Cell("a", "score"), **fields)
    assert hypothesis.region == region
    doubled = hypothesis.scaled(2).region
    assert doubled == (tuple(2 * x for x in region) if "margin" in fields else region)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (difference, {"margin": 0.0}, "margin must be above 0, got 0.0"),
        (bound, {}, "expected low < high"),
        (bound, {"low": 2.0, "high": 1.0}, "expected low < high"),
        (bound, {"low": 1.0, "high": 1.0}, "expected low < high"),
        (estimate, {"second": Cell("a", "score")}, "both sides are the same cell, a"),
    ],
)
def test_a_hypothesis_that_predicts_nothing_is_refused(
    kind: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        kind("", "", Cell("a", "score"), **fields)


def test_what_is_exact_takes_every_value_of_its_cells() -> None:
    found = exact("", "", Cell("a", "score"), Cell("b", "score"), low=0)
    assert found.sample(TABLE).values == (1.0, 7.0, 2.0, 10.0, 20.0)


def test_a_hypothesis_with_values_that_are_not_finite_is_read_back_from_its_json() -> None:
    made = difference("d", "1", Cell("a", "x"), 0.0, margin=1.0)
    made = made.paired({1: nan, 2: inf, 3: 2.0}, {1: 0.0, 2: 0.0, 3: 0.5})
    read = Hypothesis.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False)))
    assert read.declared() == made.declared()
    assert read.values == pytest.approx((nan, nan, 1.5), nan_ok=True)
    assert read.first == pytest.approx({1: nan, 2: nan, 3: 2.0}, nan_ok=True)
    assert read.second == {1: 0.0, 2: 0.0, 3: 0.5}


def test_a_trial_of_a_condition_that_the_grid_lacks_is_refused() -> None:
    hypothesis = compared(Cell("a", "score"), Cell("b", "score"))
    made = study(hypothesis, grid=(Grid(("a", "b"), lambda _: {}),))
    with pytest.raises(ConfigError, match="study x: no condition 'c' in its grid"):
        made.run(outcome("c", 1, 1.0).trial)


def test_groups_by_a_number_are_in_ascending_order() -> None:
    sizes = (8, 1, 32, 2)
    table = Table(
        Outcome(trial=Trial(study="s", condition="a", seed=0, settings={"size": x}), values={})
        for x in sizes
    )
    assert list(table.groups("size")) == [1, 2, 8, 32]


def test_groups_are_by_condition_or_setting() -> None:
    assert {key: len(rows) for key, rows in TABLE.groups().items()} == {"b": 2, "a": 3}
    assert {key: len(rows) for key, rows in TABLE.where("a").groups("size").items()} == {3: 2, 4: 1}


def test_a_grid_crosses_conditions_settings_and_seeds() -> None:
    grid = Grid(
        ("a", "b"),
        run,
        settings={"digits": PerBudget(quick=10, full=100)},
        vary={"heads": (1, 2), "rate": PerBudget(quick=(0.1,), full=(0.1, 0.2))},
        num_seeds=PerBudget(quick=1, full=None),
    )
    quick, full = (grid.trials("toy", budget, range(5, 8)) for budget in ("quick", "full"))
    assert [(x.condition, x.seed, dict(x.settings)) for x in quick] == [
        (condition, 5, {"digits": 10, "heads": heads, "rate": 0.1})
        for condition in ("a", "b")
        for heads in (1, 2)
    ]
    assert len({x.name for x in full}) == len(full) == 3 * 2 * 2 * 2
    assert {x.settings["digits"] for x in full} == {100}


WORDS = ("name", "claim", "statement", "question", "conditions", "measure")


def run(trial: Trial) -> Values:
    return {"score": 1.0}


def study(*hypotheses: Hypothesis, grid: tuple[Grid, ...], **fields: Any) -> Study:
    words: dict[str, Any] = dict.fromkeys(WORDS, "x")
    seeds: dict[Budget, int] = {"quick": 2, "full": 12}
    return Study(**words | fields, seeds=seeds, grid=grid, parts=(Part("part", hypotheses),))


def compared(first: Cell, second: Cell) -> Hypothesis:
    return difference("a, b", "1", first, second, margin=1.0)


A, B = Cell("a", "score"), Cell("b", "score")


@pytest.mark.parametrize(
    ("hypotheses", "grid", "message"),
    [
        ((compared(A, Cell("c", "x")),), (Grid(("a", "b"), run),), "no condition 'c'"),
        (
            (compared(A, B),),
            (Grid(("a",), run), Grid(("b",), run, num_seeds=2)),
            r"x, a, b: .*'full' .*\[0, 1, 2.*; \[0, 1\]; give both sides the same seeds",
        ),
        (
            (compared(A, B),),
            (Grid(("a", "b"), run, vary={"size": (1, 2)}),),
            r"seeds \[0, 0, 1, 1\].*once each",
        ),
        ((compared(A, B),) * 2, (Grid(("a", "b"), run),), "several named {'a, b'}"),
        (
            (compared(A, B),),
            (Grid(("a", "b"), run), Grid(("b",), lambda _: {}, {"digits": 3})),
            "condition 'b' has grids with different `run`",
        ),
    ],
)
def test_a_study_that_cannot_be_paired_by_seed_is_refused(
    hypotheses: tuple[Hypothesis, ...], grid: tuple[Grid, ...], message: str
) -> None:
    twice = hypotheses if len(hypotheses) == 1 else (hypotheses[0], replace(hypotheses[1], unit=""))
    with pytest.raises(ConfigError, match=message):
        study(*twice, grid=grid)


def test_the_seeds_of_a_comparison_are_counted_however_many_they_are() -> None:
    many = replace(study(compared(A, B), grid=(Grid(("a", "b"), run),)), seeds={"full": 60})
    assert many.seeds_of(compared(A, B), "full") == 60


def test_literature_names_a_hypothesis() -> None:
    grid = (Grid(("a", "b"), run),)
    papers = (Paper(source="Somebody 2020", found="2 points", beside="a, c"),)
    with pytest.raises(ConfigError, match=r"none named \{'a, c'\}"):
        study(compared(A, B), grid=grid, literature=papers)


def test_a_part_has_comparisons_or_what_is_exact() -> None:
    found = exact("", "", A, low=0)
    for hypotheses in ((), (compared(A, B), found)):
        with pytest.raises(ConfigError, match="part 'p': expected comparisons or what is exact"):
            Part("p", hypotheses)


def test_parts_have_the_premises_of_their_conditions_and_the_variants_of_their_names() -> None:
    premise, other = bound("p", "1", Cell("a", "known"), low=0), compared(A, Cell("b", "other"))
    about_b = [exact("b", "", B, low=0), exact("b again", "", B, high=9)]
    hypotheses: dict[str, Any] = {"both": compared(A, B), "b": about_b}
    made = parts(hypotheses, premises={"a": premise}, variants={"both": {"other": other}})
    assert made == (
        Part("both", (compared(A, B),), (premise,), {"other": (other,)}),
        Part("b", tuple(about_b)),
    )


def test_a_summary_gives_mean_and_range_of_each_group() -> None:
    summary = Summary("Score", "score", conditions=("b",))
    assert summary.text(TABLE, {"b": "B!"}) == "Score: B! 15 (10 to 20, n = 2)"
    by_size = Summary("List", ("nested", "list"), conditions=("a",), by="size")
    assert by_size.text(TABLE, {}) == "List: size 3 1.5, -1.5; size 4 7, -7"
    above = Summary("Above 1", lambda values: values["score"] > 1, by="size")
    assert "size 3 1 of 2 (95 % interval 1% to 99%)" in above.text(TABLE, {})
