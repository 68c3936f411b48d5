import pytest

from clearhead.data import ImageDataset
from clearhead.insight.tokens import Grid
from clearhead.studies._unconverted import Check, Comparison
from clearhead.studies.claims import c09_receptive_fields as c09
from clearhead.studies.table import Outcome, Trial, Values


def made_up(
    vit_first: float = 0.7, reached: float = 1.0, cnn_last: float = 0.9, shipped: float = 0.8
) -> list[Outcome]:
    rising = [0.01, 0.03, 0.1, 0.2, 0.6]
    vit: Values = {
        "reached": [reached, 1, 1, 1, 1, 1],
        "seen": [vit_first, 0.9, 1, 1, 1, 1],
        "first_field": [[0.1, 1.0]],
        "distance": [1.2, 1.4, 1.6, 1.8, 1.9, 1.7],
        "even_distance": 2.01,
    }
    cnn: Values = {"reached": [*rising, 1], "seen": [*rising, cnn_last], "first_field": [[1.0, 0]]}
    arms = {
        "ViT trained": vit,
        "ViT untrained": vit,
        "CNN trained": cnn,
        "CNN untrained": cnn,
        "shipped trained": {**vit, "seen": [shipped, 0.9, 0.9, 0.9, 0.9, 1]},
    }
    arms["shipped trained"]["first_field"] = first_field(elsewhere=0.041)
    return [
        Outcome(trial=Trial(study="receptive-fields", condition=arm, seed=seed), values=values)
        for seed in (1, 2, 3)
        for arm, values in arms.items()
    ]


def first_field(elsewhere: float) -> list[list[float]]:
    """Gradients of the third patch of four in either direction, and less of every other."""
    field = [[elsewhere] * 28 for _ in range(28)]
    for row in range(14, 21):
        field[row][14:21] = [1.0] * 7
    return field


def as_claimed(outcomes: list[Outcome]) -> list[bool]:
    return [
        all(one.low <= x <= one.high for x in one.values)
        if isinstance(one, Check)
        else all(x >= one.margin for x in one.differences)
        for one in c09.evidence(outcomes)
    ]


def test_even_attention_reaches_the_mean_distance_of_two_patches() -> None:
    assert c09.even_distance(Grid(1, 3)) == pytest.approx((0 + 1 + 2 + 1 + 0 + 1 + 2 + 1 + 0) / 9)


@pytest.mark.parametrize("name", c09.CONFIGS)
def test_an_untrained_model_is_measured(name: str, mnist_test: ImageDataset) -> None:
    trial = Trial(
        study="receptive-fields",
        condition=f"{name} untrained",
        seed=3,
        settings={"images": 3, "unseen": 5},
    )
    found = c09.run(trial)
    assert len(found["reached"]) == len(found["seen"]) == c09.LAYERS
    assert ("distance" in found) == (name == "ViT")
    assert found["reached"][0] == (1.0 if name == "ViT" else 9 / 784)


def test_a_small_model_is_trained_and_measured(
    mnist_train: ImageDataset, mnist_test: ImageDataset
) -> None:
    told = {"images": 3, "unseen": 5, "digits": 60, "epochs": 1}
    trained = c09.run(
        Trial(study="receptive-fields", condition="ViT trained", seed=3, settings=told)
    )
    fresh = c09.run(
        Trial(study="receptive-fields", condition="ViT untrained", seed=3, settings=told)
    )
    assert trained["first_field"] != fresh["first_field"]


def test_evidence_both_ways() -> None:
    assert as_claimed(made_up()) == [True] * 5
    assert as_claimed(made_up(vit_first=0.06)) == [True, False, True, False, True]
    assert as_claimed(made_up(reached=0.99)) == [False, True, True, True, True]
    assert as_claimed(made_up(cnn_last=0.1)) == [True, True, True, True, False]
    assert as_claimed(made_up(shipped=0.06)) == [True, True, False, True, True]


def test_one_training_below_the_line_does_not_make_a_mean() -> None:
    outcomes = made_up(vit_first=0.7)
    first = next(x for x in outcomes if x.trial.condition == "ViT trained")
    changed = {**first.values, "seen": [0.49, *first.values["seen"][1:]]}
    again = [Outcome(trial=x.trial, values=changed) if x is first else x for x in outcomes]

    field = c09.evidence(again)[1]

    assert isinstance(field, Comparison)
    assert field.differences == (0.49, 0.7, 0.7)
    assert field.margin == 0.5


def test_sentences_and_figure_tell_what_was_measured() -> None:
    told = c09.sentences(made_up(shipped=0.06))
    assert "the trained ViT sees 70%, 90%, 100%" in told[1]
    assert "sees 6%, 90%, 90%" in told[1]
    assert "its own patch (6.25% of the picture)" in told[2]
    assert "there lies 100% of what the shipped reader sees in its first layer" in told[2]
    assert "no pixel elsewhere has more than 4.1% of the largest gradient" in told[2]
    assert "1.20 patches" in told[2]
    assert len(c09.figure(made_up()).axes) == 4


def test_the_shipped_readers_numbers_are_means_over_all_samples() -> None:
    outcomes = made_up(shipped=0.0625)
    last = next(x for x in outcomes if (x.trial.condition, x.trial.seed) == ("shipped trained", 3))
    changed = {
        **last.values,
        "seen": [0.0625, 0.3, 0.9, 0.9, 0.9, 1],
        "distance": [2.7, 1.4, 1.6, 1.8, 1.9, 1.7],
        "first_field": first_field(elsewhere=0.5),
    }
    again = [Outcome(trial=x.trial, values=changed) if x is last else x for x in outcomes]

    told = c09.sentences(again)

    assert "trained far longer, sees 6%, 70%, 90%" in told[1]  # (0.9 + 0.9 + 0.3) / 3
    assert "1.70 and 1.70 in the shipped reader's" in told[2]  # (1.2 + 1.2 + 2.7) / 3
    # 49 of 49 pixels twice, and 49 of 784 once: 147 of 882.
    assert "there lies 17% of what the shipped reader sees" in told[2]
    assert "no pixel elsewhere has more than 50.0%" in told[2]
