"""Small trials of the claims: that each condition is measured, and what differs between them."""

from typing import Any

import pytest

from clearhead.models import build
from clearhead.studies._panels import draw_panels
from clearhead.studies.claims import find_source, load_study
from clearhead.studies.claims.c11_without_attention import STUDY as WITHOUT_ATTENTION
from clearhead.studies.measures import cost
from clearhead.studies.measures.classifiers import COMPARED_MODELS, SIZES
from clearhead.studies.measures.trainings import STEPS
from clearhead.studies.study import Study
from clearhead.studies.table import Outcome, Table, Trial, Values

ON_DIGITS = {"digits": 100, "steps": 1}
ON_TASKS = {"examples": 40, "epochs": 1}
SMALL = ON_DIGITS | ON_TASKS | {"images": 10, "unseen": 20}


def study_of(claim: str) -> Study:
    return load_study(find_source(claim))


def measured(claim: str, condition: str, **settings: Any) -> Values:
    study = study_of(claim)
    return study.run(Trial(study=study.name, condition=condition, seed=3, settings=settings))


TASK = {"with_attention", "floor"}
HEADS = {"accuracy", "exchanged", "shared", "falls"}


@pytest.mark.usefixtures("small_trainings")
@pytest.mark.parametrize(
    ("claim", "condition", "settings", "measures"),
    [
        ("C7", "recall", {}, TASK | HEADS | {"chosen", "others"}),
        ("C8", "widths", {"digits": 50, "epochs": 1, "widths": (16,)}, {"16"}),
        ("C8", "common digit", {}, TASK | {"one"}),
        pytest.param("C8", "recall", {}, TASK | {"one"}, marks=pytest.mark.slow),
        ("C10", "digits", {"budgets": [1, 2], "unseen": 30}, {"1", "2"}),
        ("C10", "common digit", {}, TASK | {"conv"}),
        (
            "C12",
            "common digit",
            {"unseen": 40},
            TASK | {"clean", "common", "falls", "on_blank", "twin", "others"},
        ),
        ("C13", "common digit", {}, TASK | {"distance", "hubs", "seen", "single"}),
        ("C13", "recall", {}, TASK | {"single"}),
        ("C13", "depths", {"depths": [3]}, {"3"}),
    ],
)
def test_a_condition_has_its_measures(
    claim: str,
    condition: str,
    settings: dict[str, Any],
    measures: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clearhead.studies.measures.layers.PROBED", 20)
    found = measured(claim, condition, **SMALL | settings)
    assert found.keys() == measures
    assert all(0 <= found[x] <= 100 for x in measures & {*TASK, "one", "conv", "accuracy"})
    layers = found.get("3", found)
    assert {len(layers[x]) for x in ("distance", "hubs", "seen", "single") if x in layers} <= {
        3 if condition == "depths" else 2
    }


def test_the_number_of_heads_leaves_the_parameters_as_they_are(mnist_train: object) -> None:
    few, many = (
        measured("C8", "heads", heads=heads, digits=100, epochs=1, unseen=50) for heads in (1, 32)
    )
    assert few["parameters"] == many["parameters"]
    assert few["nll"] != many["nll"]


def test_the_line_joins_means_over_the_seeds_that_all_numbers_of_heads_have() -> None:
    def values(trial: Trial) -> Values:
        if trial.condition != "heads":
            widths = {x: {"1": 90.0, "8": 91.0} for x in ("16", "32", "64")}
            return widths | {"with_attention": 90.0, "one": 80.0, "floor": 33.0}
        if trial.settings["heads"] == 8:  # with all seeds far better than with the two shared ones
            return {"accuracy": 91.0 if trial.seed < 2 else 96.2}
        return {"accuracy": 91.5}

    study = study_of("C8")
    trials = study.trials("full", range(12))
    figure = draw_panels(study, Table(Outcome(trial=x, values=values(x)) for x in trials))
    (line,) = (x for x in figure.axes[0].get_lines() if x.get_linestyle() == "-")
    assert list(line.get_xdata()) == [1, 2, 4, 8, 16, 32]  # type: ignore[arg-type]
    assert list(line.get_ydata()) == [91.5, 91.5, 91.5, 91.0, 91.5, 91.5]  # type: ignore[arg-type]
    ticks = zip(figure.axes[0].get_xticks(), figure.axes[0].get_xticklabels(), strict=True)
    assert [(x, label.get_text().split()[0]) for x, label in ticks] == [
        (x, str(x)) for x in (1, 2, 4, 8, 16, 32)
    ]


@pytest.mark.parametrize("name", ["ViT", "CNN"])
@pytest.mark.usefixtures("mnist_test")
def test_fields_of_an_untrained_model_are_measured(name: str) -> None:
    found = measured("C9", f"{name} untrained", images=3, unseen=5)
    assert len(found["reached"]) == len(found["seen"]) == 6
    assert ("distance" in found) == (name == "ViT")
    assert found["reached"][0] == (1.0 if name == "ViT" else 9 / 784)
    assert max(map(max, found["first_field"])) == 1.0
    least, most = (found["cut_offs"][x] for x in ("20 %", "1 %"))
    assert least <= found["seen"][0] <= most
    assert least < most


def test_uniform_attention_does_not_use_queries_and_keys() -> None:
    model = build(COMPARED_MODELS["uniform"].config)
    unused = sum(
        block.attn.qkv.weight[:64].numel() + block.attn.qkv.bias[:64].numel()
        for block in model.blocks  # type: ignore[union-attr]
    )
    assert unused == 4_224
    assert unused / sum(x.numel() for x in model.parameters()) == pytest.approx(0.15, abs=0.005)
    assert "4,224 parameters (15 %)" in WITHOUT_ATTENTION.conditions
    assert all(steps % (digits // 100) == 0 for digits, steps in STEPS.items())  # whole epochs


def test_sizes_have_the_parameters_that_their_names_say() -> None:
    for name, config in SIZES.items():
        size = sum(x.numel() for x in build(config).parameters())
        assert size == pytest.approx(1_000 * float(name.removesuffix(" k")), rel=0.1)


@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_both_set_ups_train_the_same_size_on_the_same_digits() -> None:
    settings = {"size": "3 k", "digits": 400, "epochs": 2, "unseen": 50}
    right, plain = (measured("C14", condition, **settings) for condition in ("right", "plain"))
    assert right["parameters"] == plain["parameters"]
    assert right["nll"] != plain["nll"]


@pytest.mark.parametrize("condition", ["explicit", "fused", "streamed", "recurrent"])
def test_costs_are_measured(condition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "cpu_count", lambda: 1)
    settings = {"lengths": (64, 128), "chain_lengths": (4, 8), "repeats": 1}
    found = measured("C15", condition, **settings, gain_length=16, width=8)
    assert found["lengths"] == [64, 128]
    assert all(x >= 0 for x in found["seconds"])
    assert found["gain"] is None
    if condition == "recurrent":
        assert found["chain"][1] > 1.8 * found["chain"][0]
    else:
        assert found["chain"][0] == found["chain"][1]
    if condition == "explicit":
        assert found["bytes"][1] > 3.5 * found["bytes"][0]
