from typing import Any

import pytest

from clearhead.errors import ConfigError, InputError
from clearhead.studies.study import Check, Comparison, Grid, PerBudget, Study, Summary
from clearhead.studies.table import Cell, Outcome, Series, Table, Trial, Values


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
    assert TABLE.series(cell) == Series((1, 2), values)


def test_a_cell_needs_outcomes_and_only_one_per_seed() -> None:
    with pytest.raises(InputError, match="got none"):
        TABLE.series(Cell("c", "score"))
    with pytest.raises(InputError, match=r"one outcome per seed .* \[1, 1, 2\]"):
        TABLE.series(Cell("a", "score"))


def test_a_comparison_pairs_by_seed_and_refuses_other_seeds() -> None:
    comparison = Comparison(
        name="b minus a",
        unit="1",
        first=Cell("b", "score"),
        second=Cell("a", "score", {"size": 3}),
        margin=1.0,
    )
    assert comparison.evaluate(TABLE).differences == (9.0, 18.0)
    shifted = [outcome("a", seed, seed**2, size=3) for seed in (1, 2, 3)]
    shifted += [outcome("b", seed, seed**2) for seed in (2, 3, 4)]
    with pytest.raises(InputError, match=r"b minus a: .*same seeds, got \[2, 3, 4\] and \[1, 2, 3"):
        comparison.evaluate(Table(shifted))


def test_a_side_may_be_a_constant_or_a_function_of_the_table() -> None:
    comparison = Comparison(
        name="doubled, against 5",
        unit="1",
        first=lambda table: Series((1, 2), tuple(2 * x for x in table.where("b").values("score"))),
        second=5,
        margin=1.0,
    )
    assert comparison.evaluate(TABLE).differences == (35.0, 15.0)


def test_a_check_takes_every_value_of_its_cells() -> None:
    check = Check(name="", unit="", cells=(Cell("a", "score"), Cell("b", "score")), low=0)
    assert check.evaluate(TABLE).values == (1.0, 7.0, 2.0, 10.0, 20.0)


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
        conditions=("a", "b"),
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


WORDS = ("name", "claim", "statement", "hypothesis", "conditions", "measure")


def run(trial: Trial) -> Values:
    return {"score": 1.0}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"remarks": ("One.", "Two.", "Three.")}, "at most 2 remarks, got 3"),
        (
            {"evidence": (Check(name="", unit="", cells=(Cell("c", "score"),)),)},
            "no condition 'c'; the grid has a, b",
        ),
    ],
)
def test_a_study_that_contradicts_itself_is_refused(fields: dict[str, Any], message: str) -> None:
    words: dict[str, Any] = dict.fromkeys(WORDS, "x")
    grid = (Grid(conditions=("a", "b")),)
    with pytest.raises(ConfigError, match=message):
        Study(**words | fields, seeds={"quick": 1}, grid=grid, run=run)


def test_a_summary_gives_mean_and_range_of_each_group() -> None:
    summary = Summary(name="Score", measure="score", conditions=("b",))
    assert summary.text(TABLE, {"b": "B!"}) == "Score: B! 15 (10 to 20, n = 2)"
    by_size = Summary(name="List", measure=("nested", "list"), conditions=("a",), by="size")
    assert by_size.text(TABLE, {}) == "List: size 3 1.5, -1.5; size 4 7, -7"
    above = Summary(name="Above 1", measure=lambda values: values["score"] > 1, by="size")
    assert "size 3 1 of 2 (95 % interval 1% to 99%)" in above.text(TABLE, {})
